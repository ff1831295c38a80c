"""Nodes and their newest readings: pages of them, one of them, and its health by five minutes."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from services.kernel.database import Connection

ROWS_AT_ONCE: Final = 1000


class Column(NamedTuple):
    """What nodes can be sorted by, and its type."""

    expression: str
    kind: type


# Texts by code point: the same order everywhere, whatever the database's locale.
SORTS: Final = {
    "identifier": Column('identifier COLLATE "C"', str),
    "status": Column('status COLLATE "C"', str),
    "gpu_type": Column('gpu_type COLLATE "C"', str),
    "region": Column('region COLLATE "C"', str),
    "source": Column('source COLLATE "C"', str),
    "active_model": Column('active_model COLLATE "C"', str),
    "earnings_day": Column("earnings_day", Decimal),
    "earnings_total": Column("earnings_total", Decimal),
    "uptime": Column("uptime_percent", Decimal),
    "jobs": Column("jobs_day", int),
    "weight": Column("voting_weight", Decimal),
    "tokens": Column("tokens_per_sec", Decimal),
    "age": Column("-extract(epoch FROM fetched_at)", Decimal),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which nodes are meant; None: whichever. `text` is looked for in identifiers, names and models."""

    text: str | None = None
    status: Sequence[str] | None = None
    gpu_type: Sequence[str] | None = None
    region: Sequence[str] | None = None
    source: Sequence[str] | None = None
    user: UUID | None = None
    stale: bool | None = None

    def arguments(self, ttl: timedelta) -> tuple[Any, ...]:
        """$1 to $8 of the statements."""
        return (
            None if self.text is None else _like(self.text),
            self.status,
            self.gpu_type,
            self.region,
            self.source,
            self.user,
            self.stale,
            ttl,
        )


def _like(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


# 'unknown' names the nodes without a value, as in the views of earnings. A node that was never read is stale.
_WANTED: Final = """
FROM nodes LEFT JOIN node_stats_cache AS stats ON stats.node_id = nodes.id
WHERE ($1::text IS NULL OR identifier ILIKE $1 OR display_name ILIKE $1 OR active_model ILIKE $1)
    AND ($2::text[] IS NULL OR coalesce(status, 'unknown') = ANY($2))
    AND ($3::text[] IS NULL OR coalesce(gpu_type, 'unknown') = ANY($3))
    AND ($4::text[] IS NULL OR coalesce(region, 'unknown') = ANY($4))
    AND ($5::text[] IS NULL OR coalesce(source, 'unknown') = ANY($5))
    AND ($6::uuid IS NULL OR EXISTS (SELECT FROM user_nodes WHERE user_id = $6 AND user_nodes.node_id = nodes.id))
    AND ($7::boolean IS NULL OR (fetched_at IS NULL OR fetched_at < now() - $8::interval) = $7)
"""

_SHOWN: Final = """
identifier, identifier_type, display_name, gpu_type, region, status, active_model, voting_weight, jobs_day,
tokens_per_sec, uptime_percent, earnings_day, earnings_total, source, fetched_at, now() AS as_of
"""

# earnings_day is the amount of the node's newest date.
_NEWEST_DATE: Final = """
(SELECT date FROM earnings_history AS history WHERE history.node_id = {node} ORDER BY date DESC LIMIT 1)
    AS earnings_date
"""

COUNT: Final = f"SELECT count(*) {_WANTED}"

NODE: Final = f"""
SELECT id, created_at, {_SHOWN}, {_NEWEST_DATE.format(node="nodes.id")}
FROM nodes LEFT JOIN node_stats_cache AS stats ON stats.node_id = nodes.id
WHERE identifier = $1
"""  # noqa: S608 - put together from constants

# Which version of its rows a node has: whatever is written to them gives it another one.
VERSION_OF: Final = "nodes.xmin::text || '/' || coalesce(stats.xmin::text, '')"
VERSION: Final = f"""
SELECT {VERSION_OF}, fetched_at, source, now()
FROM nodes LEFT JOIN node_stats_cache AS stats ON stats.node_id = nodes.id
WHERE identifier = $1
"""  # noqa: S608 - put together from constants

FIND: Final = "SELECT id FROM nodes WHERE identifier = $1"
ALL_SOURCES: Final = "SELECT DISTINCT source FROM node_stats_cache WHERE source IS NOT NULL"

UPTIME: Final = """
SELECT span, healthy_slots, reachable_slots, uptime_percent
FROM (VALUES ('24h', interval '24 hours'), ('7d', interval '7 days'), ('30d', interval '30 days'))
    AS spans (span, length)
CROSS JOIN LATERAL node_uptime_percent(now(), length)
WHERE node_id = $1
ORDER BY length
"""

# $1: the node, $2 and $3: the first and the last date. One row per date, whether or not anything is known of it.
TIMELINE: Final = """
SELECT day::date AS date, healthy, seen, reachable
FROM generate_series($2::date, $3::date, interval '1 day') AS day
LEFT JOIN node_uptime ON node_uptime.date = day::date AND node_id = $1
LEFT JOIN (SELECT date, bit_or(reachable) AS reachable FROM source_uptime WHERE date BETWEEN $2 AND $3 GROUP BY date)
    AS sources ON sources.date = day::date
ORDER BY day
"""


@cache
def _page(sort: str, *, descending: bool, limited: bool) -> str:
    """A page's statement. After the filters: $9 whether there is a cursor, $10 its value, $11 its name, $12 the limit.

    Nodes without a value come last in either direction.
    """
    column, kind = SORTS[sort]
    later, direction = ("<", "DESC") if descending else (">", "ASC")
    value = f"$10::{_TYPES[kind]}"
    if kind is str:
        value += ' COLLATE "C"'
    return f"""
WITH page AS (
    SELECT id, {column} AS sorted, {_SHOWN} {_WANTED}
        AND (NOT $9::boolean OR CASE WHEN {value} IS NULL THEN {column} IS NULL AND identifier COLLATE "C" > $11
            ELSE {column} {later} {value} OR {column} IS NULL OR ({column} = {value} AND identifier COLLATE "C" > $11)
            END)
    ORDER BY sorted {direction} NULLS LAST, identifier COLLATE "C"
    {"LIMIT $12" if limited else ""}
)
SELECT *, {_NEWEST_DATE.format(node="page.id")} FROM page
ORDER BY sorted {direction} NULLS LAST, identifier COLLATE "C"
"""  # noqa: S608 - put together from constants


_TYPES: Final = {str: "text", Decimal: "numeric", int: "integer"}


class Page(NamedTuple):
    """Where a page begins and how long it is: the value and name of the row before it, or None."""

    sort: str
    descending: bool
    after: tuple[Any, str] | None
    limit: int


async def page(connection: Connection, wanted: Filter, ttl: timedelta, at: Page) -> tuple[list[Record], int]:
    """The rows of a page, each with what it was `sorted` by, and how many nodes pass the filter in all."""
    arguments = wanted.arguments(ttl)
    value, name = at.after or (None, "")
    rows = await connection.fetch(
        _page(at.sort, descending=at.descending, limited=True),
        *arguments,
        at.after is not None,
        value,
        name,
        at.limit,
    )
    return rows, await connection.fetchval(COUNT, *arguments)


async def every(
    connection: Connection, wanted: Filter, ttl: timedelta, sort: str, *, descending: bool
) -> AsyncIterator[list[Record]]:
    """All nodes that pass, a thousand at a time. Needs a transaction."""
    statement = _page(sort, descending=descending, limited=False)
    cursor = await connection.cursor(statement, *wanted.arguments(ttl), False, None, "")
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        yield rows


async def node(connection: Connection, identifier: str) -> Record | None:
    """The node's row, with its id and when it was first seen."""
    return await connection.fetchrow(NODE, identifier)


class Standing(NamedTuple):
    """Which version of its rows a node has, and when and by which source it was last read."""

    version: str
    fetched_at: datetime | None
    source: str | None
    as_of: datetime


async def standing(connection: Connection, identifier: str) -> Standing | None:
    """How the node stands now."""
    row = await connection.fetchrow(VERSION, identifier)
    return None if row is None else Standing(*row)


async def find(connection: Connection, identifier: str) -> UUID | None:
    """The node's id."""
    found: UUID | None = await connection.fetchval(FIND, identifier)
    return found


async def uptime(connection: Connection, node_id: UUID) -> list[Record]:
    """The node's uptime over 24 hours, 7 and 30 days; a span in which it was not seen is left out."""
    return await connection.fetch(UPTIME, node_id)


async def timeline(connection: Connection, node_id: UUID, since: date, until: date) -> list[Record]:
    """The bits of each date: healthy, seen, and reachable (by any source that probes health); NULL where none are."""
    return await connection.fetch(TIMELINE, node_id, since, until)
