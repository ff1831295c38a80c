"""What nodes earned, as rows for an accountant: from one snapshot, in a fixed order, a few thousand at a time.

Which reports count is the rule of `ledger.project`, here in SQL so that a million rows need no memory: a node's basis,
then of each period the final report of the source with the least (order, name).
"""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Final, NamedTuple
from uuid import UUID

from asyncpg import Record

from services.earnings.projection import DEFAULT_ORDER
from services.kernel.columns import Column, Kind
from services.kernel.database import Connection

ROWS_AT_ONCE: Final = 5_000


class Export(NamedTuple):
    """A query and what its columns hold. A last column beyond these tells rows that differ from the ledger."""

    columns: tuple[Column, ...]
    query: str


# $1: the nodes, or NULL for all; $2, $3: the first and the last date; $4: the place of a source that nobody knows.
# counted: the reports that count, with the date that their amount belongs to. Of a lifetime counter it is the growth
# since the date before on which the counter was seen; a smaller value than before starts again from zero.
_COUNTED: Final = """
WITH wanted AS (
    SELECT node_id, basis FROM earnings_node WHERE $1::uuid[] IS NULL OR node_id = ANY($1)
), preference AS (
    SELECT source, earnings_order AS place FROM earnings_source_order
), settled AS (
    SELECT epoch, settled_at, exact, (settled_at AT TIME ZONE 'UTC')::date AS date FROM epoch_settlement
    WHERE (settled_at AT TIME ZONE 'UTC')::date BETWEEN $2::date AND $3::date
), epochs AS (
    SELECT DISTINCT ON (node_id, period) node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka,
        final, claimed, observed_at, date, settled_at, exact
    FROM earnings_ledger JOIN wanted USING (node_id) JOIN settled ON epoch = period LEFT JOIN preference USING (source)
    WHERE basis = 'epoch' AND kind = 'epoch' AND final
    ORDER BY node_id, period, coalesce(place, $4::integer), source
), days AS (
    SELECT DISTINCT ON (node_id, period) node_id, source, kind, period, amount_ngonka, work_ngonka,
        reward_ngonka, final, claimed, observed_at, make_date(period / 10000, period / 100 % 100, period % 100) AS date
    FROM earnings_ledger JOIN wanted USING (node_id) LEFT JOIN preference USING (source)
    WHERE basis = 'day' AND kind = 'day' AND final
        AND period BETWEEN to_char($2::date, 'YYYYMMDD')::integer AND to_char($3::date, 'YYYYMMDD')::integer
    ORDER BY node_id, period, coalesce(place, $4::integer), source
), counter AS (
    SELECT DISTINCT ON (node_id) node_id, source
    FROM earnings_ledger JOIN wanted USING (node_id) LEFT JOIN preference USING (source)
    WHERE basis = 'total' AND kind = 'total'
    ORDER BY node_id, coalesce(place, $4::integer), source
), seen AS (
    SELECT node_id, source, kind, period, amount_ngonka, lag(amount_ngonka) OVER earlier AS before_ngonka,
        final AND lag(final) OVER earlier AS final, observed_at
    FROM earnings_ledger JOIN counter USING (node_id, source)
    WHERE kind = 'total'
    WINDOW earlier AS (PARTITION BY node_id ORDER BY period)
), growth AS (
    SELECT node_id, source, kind, period,
        amount_ngonka - CASE WHEN amount_ngonka >= before_ngonka THEN before_ngonka ELSE 0 END AS amount_ngonka,
        final, observed_at, make_date(period / 10000, period / 100 % 100, period % 100) AS date
    FROM seen WHERE before_ngonka IS NOT NULL
), counted AS (
    SELECT * FROM epochs
    UNION ALL
    SELECT *, NULL, NULL FROM days
    UNION ALL
    SELECT node_id, source, kind, period, amount_ngonka, NULL, NULL, final, NULL, observed_at, date, NULL, NULL
    FROM growth WHERE date BETWEEN $2::date AND $3::date
), named AS (
    SELECT *, CASE kind WHEN 'epoch' THEN period::text ELSE to_char(date, 'YYYY-MM-DD') END AS period_name FROM counted
), dated AS (
    SELECT node_id, date, min(kind) AS kind, sum(amount_ngonka) AS amount_ngonka, bool_and(final) AS final,
        array_agg(period_name ORDER BY period) AS periods,
        array_agg(settled_at ORDER BY period) FILTER (WHERE settled_at IS NOT NULL) AS settled_at,
        bool_and(exact) AS exact
    FROM named GROUP BY node_id, date
)
"""

BY_PERIOD: Final = Export(
    (
        Column("node", Kind.FREE_TEXT),
        Column("display_name", Kind.FREE_TEXT),
        Column("date", Kind.DATE),
        Column("kind", Kind.TEXT),
        Column("period", Kind.TEXT),
        Column("amount_gnk", Kind.GNK_9),
        Column("amount_ngonka", Kind.NGONKA),
        Column("work_ngonka", Kind.NGONKA),
        Column("reward_ngonka", Kind.NGONKA),
        Column("claimed", Kind.YES_NO),
        Column("settled_at", Kind.TIME),
        Column("settled_exact", Kind.YES_NO),
        Column("source", Kind.TEXT),
        Column("final", Kind.YES_NO),
        Column("observed_at", Kind.TIME),
    ),
    _COUNTED
    + """
SELECT identifier, display_name, date, kind, period_name, amount_ngonka * 0.000000001, amount_ngonka, work_ngonka,
    reward_ngonka, claimed, settled_at, exact, source, final, observed_at, false AS differs
FROM named JOIN nodes ON nodes.id = node_id
ORDER BY identifier COLLATE "C", date, period
""",
)

BY_DAY: Final = Export(
    (
        Column("node", Kind.FREE_TEXT),
        Column("display_name", Kind.FREE_TEXT),
        Column("date", Kind.DATE),
        Column("amount_gnk", Kind.GNK_8),
        Column("amount_ngonka", Kind.NGONKA),
        Column("source", Kind.TEXT),
        Column("kind", Kind.TEXT),
        Column("periods", Kind.TEXTS),
        Column("settled_at", Kind.TIMES),
        Column("settled_exact", Kind.YES_NO),
        Column("final", Kind.YES_NO),
    ),
    # What the ledger gives is beside the row, never instead of it: history is what was billed.
    _COUNTED
    + """
SELECT identifier, display_name, date, earnings_gnk, amount_ngonka, history.source, kind, periods, settled_at, exact,
    final, gnk_of_ngonka(amount_ngonka) IS DISTINCT FROM earnings_gnk AS differs
FROM earnings_history AS history JOIN nodes ON nodes.id = node_id LEFT JOIN dated USING (node_id, date)
WHERE date BETWEEN $2::date AND $3::date AND ($1::uuid[] IS NULL OR node_id = ANY($1))
ORDER BY identifier COLLATE "C", date
""",
)

FIND_NODES: Final = "SELECT identifier, id FROM nodes WHERE identifier = ANY($1::text[])"
FIND_USERS: Final = "SELECT id FROM users WHERE id::text = lower($1) OR lower(email) = lower($1)"
NODES_OF_USER: Final = "SELECT node_id FROM user_nodes WHERE user_id = $1 ORDER BY node_id"


async def earnings(
    connection: Connection, export: Export, nodes: Sequence[UUID] | None, first: date, last: date
) -> AsyncIterator[list[Record]]:
    """The rows of these nodes (None: of all) from `first` to `last`, both included, by node, date and period.

    Needs a transaction; in one of isolation `repeatable_read` everything is as of one moment.
    """
    cursor = await connection.cursor(export.query, nodes, first, last, DEFAULT_ORDER)
    while rows := await cursor.fetch(ROWS_AT_ONCE):
        yield rows


async def find_nodes(connection: Connection, identifiers: Sequence[str]) -> dict[str, UUID]:
    """The ids of those that are known."""
    return {row["identifier"]: row["id"] for row in await connection.fetch(FIND_NODES, identifiers)}


async def find_users(connection: Connection, name: str) -> list[UUID]:
    """The users with this id or e-mail address; addresses that differ only in case are told apart by the id."""
    return [row["id"] for row in await connection.fetch(FIND_USERS, name)]


async def nodes_of_user(connection: Connection, user: UUID) -> list[UUID]:
    """The nodes that the user is assigned now."""
    return [row["node_id"] for row in await connection.fetch(NODES_OF_USER, user)]
