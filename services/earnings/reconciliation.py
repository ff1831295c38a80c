"""Does the history still say what the ledger says? And: do the sources agree, and has any epoch been missed?

History is compared by deriving it again, under the same locks and by the same code that writes it, in a transaction
that is rolled back unless the differences are to be mended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.earnings.projection import lock_nodes, project_nodes
from services.kernel.database import Connection, Database
from services.kernel.pruning import duty

NODES_AT_ONCE: Final = 200
DUTY: Final = "minegnk.reconciliation"

NODES_WITH_EARNINGS: Final = "SELECT node_id, identifier FROM earnings_node JOIN nodes ON id = node_id ORDER BY node_id"
HELD_HISTORY: Final = """
SELECT node_id, date, earnings_gnk, source FROM earnings_history WHERE node_id = ANY($1::uuid[])
"""
HELD_TOTALS: Final = """
SELECT node_id, earnings_day, earnings_total FROM node_stats_cache WHERE node_id = ANY($1::uuid[])
"""

# Days are rounded one by one, the total once: they may differ by half a unit of the last place for each day. A lifetime
# counter may stand above the sum of days, never below.
SUMS_THAT_DIFFER: Final = """
SELECT identifier, earnings_total, summed.earnings_gnk
FROM earnings_node JOIN nodes ON nodes.id = node_id
JOIN LATERAL (
    SELECT sum(earnings_gnk) AS earnings_gnk, count(*) AS days FROM earnings_history AS history
    WHERE history.node_id = earnings_node.node_id
) AS summed ON true
LEFT JOIN node_stats_cache USING (node_id)
WHERE basis IN ('epoch', 'day') AND days > 0 AND abs(summed.earnings_gnk) < 999999999999
    AND (earnings_total IS NULL OR earnings_total < summed.earnings_gnk - days * 0.000000005
        OR (earnings_total > summed.earnings_gnk + days * 0.000000005
            AND NOT EXISTS (SELECT FROM earnings_ledger AS counter
                            WHERE counter.node_id = earnings_node.node_id AND kind = 'total')))
ORDER BY identifier
"""

# What two sources finally say of one node and period, where it is not the same.
SOURCES_THAT_DISAGREE: Final = """
SELECT identifier, kind, period, array_agg(source ORDER BY source) AS sources,
    array_agg(amount_ngonka ORDER BY source) AS amounts
FROM earnings_ledger JOIN nodes ON nodes.id = node_id
WHERE final AND kind <> 'total'
GROUP BY node_id, identifier, kind, period
HAVING min(amount_ngonka) <> max(amount_ngonka)
ORDER BY kind, period DESC, identifier
"""

MISSING_EPOCHS: Final = """
SELECT epoch FROM (SELECT generate_series(min(epoch), max(epoch)) AS epoch FROM epoch_settlement) AS expected
WHERE NOT EXISTS (SELECT FROM epoch_settlement AS known WHERE known.epoch = expected.epoch)
ORDER BY epoch
"""
SOURCES_OF_EPOCHS: Final = "SELECT DISTINCT source FROM earnings_ledger WHERE kind = 'epoch' ORDER BY source"


class Difference(NamedTuple):
    """A value that is not what the ledger gives. `day` is None for earnings_total; a missing row's value is None."""

    identifier: str
    what: str  # "earnings_history", "earnings_day", "earnings_total"
    day: date | None
    held: Decimal | None
    expected: Decimal | None


class Disagreement(NamedTuple):
    """What sources finally say of one node and period, in ngonka, by source."""

    identifier: str
    kind: str
    period: int
    amounts: Mapping[str, int]


@dataclass
class Reconciliation:
    """What a reconciliation found."""

    nodes: int = 0
    differences: list[Difference] = field(default_factory=list)
    sums: list[Difference] = field(default_factory=list)  # earnings_total against Σ earnings_history
    disagreements: list[Disagreement] = field(default_factory=list)
    missing_epochs: list[int] = field(default_factory=list)
    epoch_sources: list[str] = field(default_factory=list)  # who can be asked for missing epochs
    fixed: bool = False

    @property
    def open(self) -> int:
        """Differences between tables that are still there."""
        return len(self.sums) + (0 if self.fixed else len(self.differences))


class _Value(NamedTuple):
    """What a row holds, and for history its source."""

    amount: Decimal | None
    source: str | None = None


_NOTHING = _Value(None)


class _RollBackError(Exception):
    """Nothing was to be written."""


async def reconcile(database: Database, *, fix: bool) -> Reconciliation | None:
    """Compare everything; None when another worker is at it. With `fix`, history and totals are put right."""
    async with duty(database, DUTY) as ours:
        return await _reconcile(database, fix=fix) if ours else None


async def _reconcile(database: Database, *, fix: bool) -> Reconciliation:
    found = Reconciliation(fixed=fix)
    async with database.connection() as connection:
        names = {row["node_id"]: row["identifier"] for row in await connection.fetch(NODES_WITH_EARNINGS)}
    found.nodes = len(names)
    nodes = list(names)
    for begin in range(0, len(nodes), NODES_AT_ONCE):
        found.differences += await _compare(database, nodes[begin : begin + NODES_AT_ONCE], names, fix=fix)
    async with database.connection() as connection:
        found.sums = [
            Difference(row["identifier"], "earnings_total", None, row["earnings_total"], row["earnings_gnk"])
            for row in await connection.fetch(SUMS_THAT_DIFFER)
        ]
        found.disagreements = [
            Disagreement(
                row["identifier"],
                row["kind"],
                row["period"],
                {source: int(amount) for source, amount in zip(row["sources"], row["amounts"], strict=True)},
            )
            for row in await connection.fetch(SOURCES_THAT_DISAGREE)
        ]
        found.missing_epochs = [row["epoch"] for row in await connection.fetch(MISSING_EPOCHS)]
        found.epoch_sources = [row["source"] for row in await connection.fetch(SOURCES_OF_EPOCHS)]
    return found


async def _compare(
    database: Database, nodes: Sequence[UUID], names: Mapping[UUID, str], *, fix: bool
) -> list[Difference]:
    differences: list[Difference] = []
    try:
        async with database.transaction() as connection:
            await lock_nodes(connection, nodes)
            before = await _held(connection, nodes)
            await project_nodes(connection, nodes)
            after = await _held(connection, nodes)
            for key in sorted(before.keys() | after.keys(), key=str):
                held, expected = before.get(key, _NOTHING), after.get(key, _NOTHING)
                if held != expected:
                    node, what, day = key
                    differences.append(Difference(names[node], what, day, held.amount, expected.amount))
            if not fix:
                raise _RollBackError
    except _RollBackError:
        pass
    return differences


async def _held(connection: Connection, nodes: Sequence[UUID]) -> dict[tuple[UUID, str, date | None], _Value]:
    held: dict[tuple[UUID, str, date | None], _Value] = {}
    for row in await connection.fetch(HELD_HISTORY, nodes):
        held[row["node_id"], "earnings_history", row["date"]] = _Value(row["earnings_gnk"], row["source"])
    for row in await connection.fetch(HELD_TOTALS, nodes):
        for what in ("earnings_day", "earnings_total"):
            held[row["node_id"], what, None] = _Value(row[what])
    return held
