"""The table that the peers write: a row of each node, of the reading's own columns.

It spares them what the cache service does besides: no nodes' ids, no facts, no uptime, no preference between sources.
Each reading is written, also one without a status, of which the cache service takes the facts only.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from bench.loads import IDENTIFIER_SQL
from services.kernel.database import OwnConnection

_TABLE = """
DROP TABLE IF EXISTS {table};
CREATE TABLE {table} (
    identifier varchar(255) PRIMARY KEY,
    source varchar(50),
    fetched_at timestamptz,
    status varchar(20),
    jobs_day integer,
    active_model varchar(255),
    voting_weight decimal(20, 8)
);
CREATE INDEX ON {table} USING brin (fetched_at);
CREATE INDEX ON {table} (status);
INSERT INTO {table}
SELECT {identifier}, 'hyperfusion', '2020-01-01', 'healthy', 0, 'none', 1 FROM generate_series(0, {nodes} - 1) AS node;
"""
_UPSERT = """
INSERT INTO {table} AS held (identifier, source, fetched_at, status, jobs_day, active_model, voting_weight)
{rows}
ON CONFLICT (identifier) DO UPDATE SET
    source = EXCLUDED.source, fetched_at = EXCLUDED.fetched_at, status = EXCLUDED.status,
    jobs_day = EXCLUDED.jobs_day, active_model = EXCLUDED.active_model, voting_weight = EXCLUDED.voting_weight
WHERE EXCLUDED.fetched_at > held.fetched_at
"""
_ONE = "VALUES ($1, $2, $3, $4, $5, $6, $7)"
_MANY = """
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::integer[], $6::text[], $7::numeric[])
"""


class Statements(NamedTuple):
    """Upserts into a table, where the newer of two rows stays."""

    one: str
    """A row, each column a parameter."""
    many: str
    """Rows of different nodes, each column an array."""


def statements(table: str) -> Statements:
    """The upserts into this table."""
    return Statements(_UPSERT.format(table=table, rows=_ONE), _UPSERT.format(table=table, rows=_MANY))


async def create(connection: OwnConnection, name: str, nodes: int) -> None:
    """Make the table anew, with the indexes of node_stats_cache, and so many nodes that everything is newer than."""
    await connection.execute(_TABLE.format(table=name, identifier=IDENTIFIER_SQL, nodes=nodes))
    for statement in ("VACUUM (ANALYZE)", "CHECKPOINT"):
        await connection.execute(statement)


class Row(msgspec.Struct):
    """A reading's columns, in the table's order. None of the contract's bounds are checked."""

    identifier: str
    source: str
    fetched_at: datetime = msgspec.field(name="observed_at")
    status: str | None = None
    jobs_day: int | None = None
    active_model: str | None = None
    voting_weight: Decimal | None = None


decode: Final = msgspec.json.Decoder(Row).decode
"""A record's value as a Row; fields that are no column are skipped."""


def newest(values: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """The newest reading of each node as a row of the table, sorted by identifier."""
    found: dict[str, Row] = {}
    for value in values:
        row = decode(value)
        held = found.get(row.identifier)
        if held is None or row.fetched_at > held.fetched_at:
            found[row.identifier] = row
    return [msgspec.structs.astuple(found[identifier]) for identifier in sorted(found)]
