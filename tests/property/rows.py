"""What the tables hold, in the model's shape: key → columns."""

from typing import Any, Final

from services.kernel.database import OwnConnection
from tests.property.model import Tables

_SLOTS = "generate_series(0, 287) AS slot"
_SLOT_TIME = "(date + slot * interval '5 minutes') AT TIME ZONE 'UTC'"

# Each query with the number of its columns that are the key.
CACHE: Final = {
    "stats": (
        "SELECT identifier, source, fetched_at, status, jobs_day, active_model, voting_weight "
        "FROM node_stats_cache JOIN nodes ON id = node_id WHERE num_nonnulls(fetched_at, source, status) > 0",
        1,
    ),
    "tokens": (
        "SELECT identifier, tokens_per_sec FROM node_stats_cache JOIN nodes ON id = node_id "
        "WHERE tokens_per_sec IS NOT NULL",
        1,
    ),
    "facts": (
        "SELECT identifier, field, value, source, observed_at FROM node_facts JOIN nodes ON id = node_id",
        2,
    ),
    "described": (
        "SELECT identifier, field, value FROM nodes, LATERAL (VALUES ('display_name', display_name), "
        "('gpu_type', gpu_type), ('region', region)) AS described (field, value) WHERE value IS NOT NULL",
        2,
    ),
    "uptime": (
        f"SELECT identifier, {_SLOT_TIME}, get_bit(healthy, slot) = 1 "
        f"FROM node_uptime JOIN nodes ON id = node_id, {_SLOTS} WHERE get_bit(healthy | seen, slot) = 1",
        2,
    ),
    "sources": (
        "SELECT name, preference_seconds, earnings_order, reported_at, data_at FROM tracker_sources",
        1,
    ),
    "source_uptime": (
        f"SELECT source, {_SLOT_TIME}, true FROM source_uptime, {_SLOTS} WHERE get_bit(reachable, slot) = 1",
        2,
    ),
    "epoch_totals": ("SELECT source, epoch, reported_at, total_ngonka FROM source_epoch_total", 2),
}

EARNINGS: Final = {
    "settlements": ("SELECT epoch, exact, observed_at, settled_at, source FROM epoch_settlement", 1),
    "ledger": (
        "SELECT identifier, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, "
        "method, observed_at FROM earnings_ledger JOIN nodes ON id = node_id",
        4,
    ),
    "versions": (
        "SELECT identifier, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, "
        "observed_at FROM earnings_version JOIN nodes ON id = node_id",
        9,
    ),
    "history": (
        "SELECT identifier, date, earnings_gnk, source FROM earnings_history JOIN nodes ON nodes.id = node_id",
        2,
    ),
    "totals": (
        "SELECT identifier, earnings_day, earnings_total FROM earnings_node JOIN nodes ON id = node_id "
        "JOIN node_stats_cache USING (node_id)",
        1,
    ),
    "bases": ("SELECT identifier, basis FROM earnings_node JOIN nodes ON id = node_id", 1),
}

NODES: Final = {"nodes": ("SELECT identifier, identifier_type FROM nodes", 1)}

EMPTY: Final = """
TRUNCATE nodes, epoch_settlement, earnings_source_order, tracker_sources, source_uptime, source_epoch_total
CASCADE;
ALTER SEQUENCE drawn_ids RESTART
"""


async def read_tables(connection: OwnConnection) -> Tables:
    """All rows that the services have written."""
    tables: Tables = {}
    for name, (query, width) in (NODES | CACHE | EARNINGS).items():
        rows = [tuple(row) for row in await connection.fetch(query)]
        tables[name] = {_plain(row[:width]): _plain(row[width:]) for row in rows}
        assert len(tables[name]) == len(rows)
    return tables


def _plain(columns: tuple[Any, ...]) -> Any:
    return columns[0] if len(columns) == 1 else columns


def differences(held: Tables, expected: Tables) -> dict[str, dict[Any, dict[str, Any]]]:
    """Where they differ: table → key → what is held and what is expected."""
    return {
        table: {
            key: {"held": held.get(table, {}).get(key), "expected": expected.get(table, {}).get(key)}
            for key in held.get(table, {}).keys() | expected.get(table, {}).keys()
            if held.get(table, {}).get(key, ...) != expected.get(table, {}).get(key, ...)
        }
        for table in sorted(held.keys() | expected.keys())
        if held.get(table, {}) != expected.get(table, {})
    }
