"""The earnings tables: compared with the truth, compared with those of another database, and measured."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.integration.pipeline import Pipeline
from tests.year.truth import Paid, Truth, dates_of, differences

# Complete rows, told by identifiers and dates: ids that the database generates and created_at are left out.
ROWS: Mapping[str, str] = {
    "nodes": "SELECT identifier, identifier_type FROM nodes ORDER BY identifier",
    "epoch_settlement": "SELECT * FROM epoch_settlement ORDER BY epoch",
    "earnings_ledger": """
        SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, method,
            observed_at
        FROM earnings_ledger JOIN nodes ON nodes.id = node_id ORDER BY 1, 2, 3, 4
    """,
    "earnings_ledger_version": """
        SELECT identifier, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at
        FROM earnings_version JOIN nodes ON nodes.id = node_id ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9
    """,
    "earnings_history": """
        SELECT identifier, date, earnings_gnk, source FROM earnings_history JOIN nodes ON nodes.id = node_id
        ORDER BY 1, 2
    """,
    "earnings_node": "SELECT identifier, basis FROM earnings_node JOIN nodes ON nodes.id = node_id ORDER BY 1",
    "node_stats_cache": """
        SELECT identifier, earnings_day, earnings_total FROM node_stats_cache JOIN nodes ON nodes.id = node_id
        ORDER BY 1
    """,
}

SIZES = """
SELECT relname, n_live_tup, pg_relation_size(relid), pg_indexes_size(relid), pg_total_relation_size(relid)
FROM pg_stat_user_tables
WHERE relname IN ('earnings_history', 'earnings_ledger', 'earnings_ledger_version')
ORDER BY relname
"""


class Size(NamedTuple):
    """A table's size in bytes."""

    table: str
    rows: int
    heap: int
    indexes: int
    total: int

    def __str__(self) -> str:
        per_year = self.total / max(self.rows, 1) * 365_000 / 1e6
        return (
            f"{self.table}: {self.rows:,} rows, {self.total / 1e6:.1f} MB (rows {self.heap / 1e6:.1f}, "
            f"indexes {self.indexes / 1e6:.1f}); 365,000 rows: {per_year:.0f} MB"
        )


async def sizes(pipeline: Pipeline) -> list[Size]:
    """How large the tables are, dead rows included."""
    await pipeline.execute("ANALYZE")
    return [Size(*row) for row in await pipeline.rows(SIZES)]


async def rows_of(pipeline: Pipeline) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every earnings table."""
    return {table: await pipeline.rows(query) for table, query in ROWS.items()}


async def history_differences(pipeline: Pipeline, true: Truth) -> list[str]:
    """What of earnings_history is not the sum of the epochs on its date, wherever the settlements put them."""
    settled = {row[0]: row[1] for row in await pipeline.rows("SELECT epoch, settled_at FROM epoch_settlement")}
    held = {(identifier, day): gnk for identifier, day, gnk, _ in await pipeline.rows(ROWS["earnings_history"])}
    return differences(held, true.history(dates_of(settled)), "earnings_history")


async def never_stated(pipeline: Pipeline, stated: Mapping[tuple[str, int], frozenset[Paid]]) -> list[str]:
    """Versions in the ledger that the network never stated: late zeros above all."""
    wrong = [
        (identifier, epoch, work, reward)
        for identifier, _, _, epoch, final, _, work, reward, *_ in await pipeline.rows(ROWS["earnings_ledger_version"])
        if final and Paid(int(work), int(reward)) not in stated.get((identifier, epoch), ())
    ]
    return [f"{len(wrong)} versions were never stated: {wrong[:5]}"] if wrong else []


async def all_differences(pipeline: Pipeline, true: Truth, source: str) -> list[str]:
    """What of the tables is not what was paid and when; nothing missing, nothing extra."""
    found: list[str] = []
    rows = await pipeline.rows(ROWS["earnings_ledger"])
    ledger = {
        (identifier, period): (name, kind, int(amount), int(work), int(reward), final)
        for identifier, name, kind, period, amount, work, reward, final, *_ in rows
        if final
    }
    expected = {
        key: (source, "epoch", paid.work + paid.reward, paid.work, paid.reward, True) for key, paid in true.paid.items()
    }
    found += differences(ledger, expected, "earnings_ledger")
    settlements = {
        epoch: (exact, settled_at)
        for epoch, exact, settled_at in await pipeline.rows("SELECT epoch, exact, settled_at FROM epoch_settlement")
    }
    found += differences(
        settlements, {epoch: (True, moment) for epoch, moment in true.settled_at.items()}, "epoch_settlement"
    )
    found += await history_differences(pipeline, true)
    history = true.history(dates_of(true.settled_at))
    newest: dict[str, tuple[Any, Any]] = {}
    for (address, day), gnk in history.items():
        newest[address] = max(newest.get(address, (day, gnk)), (day, gnk))
    caches = {
        identifier: (day, total)
        for identifier, day, total in await pipeline.rows(ROWS["node_stats_cache"])
        if total is not None
    }
    totals = {address: (newest[address][1], total) for address, total in true.totals().items()}
    return found + differences(caches, totals, "node_stats_cache")
