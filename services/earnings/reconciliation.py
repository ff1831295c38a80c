"""Does the history still say what the ledger says? And: do the sources agree, and has an epoch or a host been missed?

History is compared by deriving it again, under the same locks and by the same code that writes it, in a transaction
that is rolled back unless the differences are to be mended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.earnings.epoch_totals import Compared, Finding, TotalDifference, differing_totals
from services.earnings.projection import DEFAULT_ORDER, lock_nodes, project_nodes
from services.kernel.database import Connection, Database
from services.kernel.pruning import duty

NODES_AT_ONCE: Final = 200
DUTY: Final = "minegnk.reconciliation"

TOTALS_ASKED_AT_ONCE: Final = 10
"""How many of a source's totals are asked for in one night, of those that differ and of those that are not known."""

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

# Each source's own total of an epoch beside the rewards that count: of each node those of the first source, as history
# has them. Epochs before the ledger's first are not compared. `once` takes the largest that the source ever stated.
TOTALS_AND_SUMS: Final = """
WITH stated AS (
    SELECT source, epoch, total_ngonka FROM source_epoch_total
    WHERE epoch >= (SELECT min(epoch) FROM epoch_settlement)
), won AS (
    SELECT DISTINCT ON (period, node_id) period, node_id, ledger.source, reward_ngonka,
        coalesce(reward_ngonka, amount_ngonka) AS most_ngonka
    FROM earnings_ledger AS ledger LEFT JOIN earnings_source_order USING (source)
    WHERE kind = 'epoch' AND final AND period = ANY(ARRAY(SELECT epoch FROM stated))
    ORDER BY period, node_id, coalesce(earnings_order, $1::integer), ledger.source
), said AS (
    SELECT node_id, source, period, max(coalesce(reward_ngonka, amount_ngonka)) AS most_ngonka
    FROM earnings_version
    WHERE kind = 'epoch' AND final AND period = ANY(ARRAY(SELECT epoch FROM stated))
    GROUP BY node_id, source, period
), summed AS (
    SELECT period AS epoch, count(*) FILTER (WHERE won.most_ngonka > 0) AS hosts,
        coalesce(sum(reward_ngonka), 0) AS least, sum(won.most_ngonka) AS most,
        sum(greatest(won.most_ngonka, said.most_ngonka)) AS once
    FROM won LEFT JOIN said USING (node_id, source, period) GROUP BY period
)
SELECT epoch, source, total_ngonka, coalesce(hosts, 0), coalesce(least, 0), coalesce(most, 0), coalesce(once, 0)
FROM stated LEFT JOIN summed USING (epoch)
ORDER BY epoch DESC, source
"""
# Of each source that states totals, the next epochs to hear of: those below the oldest that it has told of, then holes.
# $1: how many. A source that has none of those below is asked for no others below them.
EPOCHS_WITHOUT_TOTAL: Final = """
SELECT source, epoch FROM (
    SELECT known.source, epoch, row_number() OVER (PARTITION BY known.source ORDER BY epoch) AS place
    FROM (SELECT source, min(epoch) AS oldest, max(epoch) AS newest FROM source_epoch_total GROUP BY source) AS known
    JOIN epoch_settlement AS settled ON epoch >= oldest - $1 AND epoch < newest
    WHERE NOT EXISTS (
        SELECT FROM source_epoch_total AS stated WHERE stated.source = known.source AND stated.epoch = settled.epoch)
) AS unstated
WHERE place <= $1 ORDER BY source, epoch
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
    totals: list[TotalDifference] = field(default_factory=list)  # sources' own totals of epochs
    unstated: list[tuple[str, int]] = field(default_factory=list)  # totals to ask for next, as (source, epoch)
    missing_epochs: list[int] = field(default_factory=list)
    epoch_sources: list[str] = field(default_factory=list)  # who can be asked for missing epochs
    fixed: bool = False

    @property
    def short_epochs(self) -> list[int]:
        """The epochs of which the ledger lacks rewards by a source's total that nothing else explains, in order."""
        return sorted({total.epoch for total in self.totals if total.finding is Finding.MISSING})

    @property
    def different(self) -> int:
        """Differences between tables that are still there."""
        return len(self.sums) + (0 if self.fixed else len(self.differences))

    @property
    def open(self) -> int:
        """What is still not as it should be.

        A ledger that is short counts, also when ingest was asked: whether it was the ledger or the source shows with
        what comes in. Other totals that differ do not, for nothing of ours is wrong.
        """
        return self.different + len(self.short_epochs)


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
        found.totals = differing_totals(
            Compared(row[0], row[1], *map(int, row[2:]))
            for row in await connection.fetch(TOTALS_AND_SUMS, DEFAULT_ORDER)
        )
        found.unstated = [tuple(row) for row in await connection.fetch(EPOCHS_WITHOUT_TOTAL, TOTALS_ASKED_AT_ONCE)]
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
