"""The earnings service's statements. Each is a merge: repeating it, or running it in another order, changes nothing.

Lock order: epoch_settlement (by epoch), nodes, earnings_node, ledger, history, node_stats_cache (each by node_id). A
transaction holds its epochs and its nodes until it commits, so that no two of them project one node and date from
different facts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from services.earnings.ledger import (
    DayAmount,
    Fact,
    LedgerKey,
    Reduced,
    Settlement,
    basis_of,
    project,
    reduce_reports,
    version_of,
)
from services.kernel.database import Connection, Database
from services.kernel.errors import ProjectionError
from services.kernel.events import EarningsReport
from services.kernel.halving import Applied
from services.kernel.nodes import node_ids
from services.kernel.transient import classify

DEFAULT_ORDER: Final = 100
"""The place of a source that tracker_sources does not know: behind every one that it does (its column's default)."""

FIND_SETTLEMENTS: Final = """
SELECT epoch, exact, observed_at, settled_at, source FROM epoch_settlement WHERE epoch = ANY($1::integer[])
"""
# Held to the end: whoever brings a better date for one of these epochs waits, then finds what was written meanwhile.
HOLD_SETTLEMENTS: Final = FIND_SETTLEMENTS + "ORDER BY epoch FOR SHARE"
LOCK_SETTLEMENTS: Final = FIND_SETTLEMENTS + "ORDER BY epoch FOR UPDATE"
ADD_SETTLEMENTS: Final = """
INSERT INTO epoch_settlement (epoch, exact, observed_at, settled_at, source)
SELECT * FROM unnest($1::integer[], $2::boolean[], $3::timestamptz[], $4::timestamptz[], $5::text[]) AS new (epoch)
ORDER BY epoch
ON CONFLICT (epoch) DO NOTHING
"""
BETTER_SETTLEMENTS: Final = """
UPDATE epoch_settlement AS held
SET exact = better.exact, observed_at = better.observed_at, settled_at = better.settled_at, source = better.source
FROM unnest($1::integer[], $2::boolean[], $3::timestamptz[], $4::timestamptz[], $5::text[])
    AS better (epoch, exact, observed_at, settled_at, source)
WHERE held.epoch = better.epoch
"""

NODES_OF_EPOCHS: Final = """
SELECT DISTINCT node_id, period FROM earnings_ledger WHERE kind = 'epoch' AND period = ANY($1::integer[])
"""

ADD_EARNINGS_NODES: Final = """
INSERT INTO earnings_node (node_id) SELECT node_id FROM unnest($1::uuid[]) AS node (node_id)
ORDER BY node_id ON CONFLICT (node_id) DO NOTHING
"""
# The lock without which two transactions on one node and date each miss the other's amount.
LOCK_EARNINGS_NODES: Final = """
SELECT node_id, basis FROM earnings_node WHERE node_id = ANY($1::uuid[]) ORDER BY node_id FOR UPDATE
"""
SET_BASIS: Final = """
UPDATE earnings_node AS held SET basis = new.basis
FROM unnest($1::uuid[], $2::text[]) AS new (node_id, basis)
WHERE held.node_id = new.node_id AND held.basis IS DISTINCT FROM new.basis
"""

MERGE_LEDGER: Final = """
INSERT INTO earnings_ledger AS held
    (node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at)
SELECT node_id, source, kind, period, new.amount_ngonka, new.work_ngonka, new.reward_ngonka, new.final, new.claimed,
    new.observed_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::numeric[], $6::numeric[], $7::numeric[],
    $8::boolean[], $9::boolean[], $10::timestamptz[])
    AS new (node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, observed_at)
LEFT JOIN earnings_ledger AS known USING (node_id, source, kind, period)
WHERE known.node_id IS NULL
    OR (new.final, new.observed_at, new.amount_ngonka) > (known.final, known.observed_at, known.amount_ngonka)
ORDER BY node_id, source, kind, period
ON CONFLICT (node_id, source, kind, period) DO UPDATE SET
    amount_ngonka = EXCLUDED.amount_ngonka, work_ngonka = EXCLUDED.work_ngonka, reward_ngonka = EXCLUDED.reward_ngonka,
    final = EXCLUDED.final, claimed = EXCLUDED.claimed, observed_at = EXCLUDED.observed_at
WHERE (EXCLUDED.final, EXCLUDED.observed_at, EXCLUDED.amount_ngonka)
    > (held.final, held.observed_at, held.amount_ngonka)
"""

# What was believed, and since when: a repeated poll adds nothing, a restatement adds a row.
MERGE_VERSIONS: Final = """
INSERT INTO earnings_ledger_version AS held
    (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at)
SELECT new.* FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::boolean[], $6::numeric[],
    $7::numeric[], $8::numeric[], $9::boolean[], $10::timestamptz[])
    AS new (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at)
LEFT JOIN earnings_ledger_version AS known
    ON (known.node_id, known.source, known.kind, known.period, known.final, known.amount_ngonka)
        = (new.node_id, new.source, new.kind, new.period, new.final, new.amount_ngonka)
    AND (known.work_ngonka, known.reward_ngonka, known.claimed)
        IS NOT DISTINCT FROM (new.work_ngonka, new.reward_ngonka, new.claimed)
WHERE known.node_id IS NULL OR new.observed_at < known.observed_at
ORDER BY new.node_id, new.source, new.kind, new.period
ON CONFLICT (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed) DO UPDATE
SET observed_at = EXCLUDED.observed_at WHERE EXCLUDED.observed_at < held.observed_at
"""

# Every epoch that settled on a touched date, for the nodes touched on it.
FACTS_OF_DATES: Final = """
SELECT ledger.node_id, source, kind, period, amount_ngonka, final, settled.date
FROM (
    SELECT epoch, (settled_at AT TIME ZONE 'UTC')::date AS date FROM epoch_settlement
    WHERE (settled_at AT TIME ZONE 'UTC')::date = ANY($2::date[])
) AS settled
JOIN earnings_ledger AS ledger ON kind = 'epoch' AND period = epoch
JOIN unnest($1::uuid[], $2::date[]) AS touched (node_id, date)
    ON touched.node_id = ledger.node_id AND touched.date = settled.date
"""
FACTS_OF_NODES: Final = """
SELECT node_id, ledger.source, kind, period, amount_ngonka, final, (settled_at AT TIME ZONE 'UTC')::date AS date
FROM earnings_ledger AS ledger
LEFT JOIN epoch_settlement ON kind = 'epoch' AND epoch = period
WHERE node_id = ANY($1::uuid[])
"""
DATES_OF_NODES: Final = "SELECT node_id, date FROM earnings_history WHERE node_id = ANY($1::uuid[])"
SOURCE_ORDER: Final = "SELECT name, earnings_order FROM tracker_sources"

# ngonka become GNK once, after summing (gnk_of_ngonka). A date without an amount lost its basis.
WRITE_HISTORY: Final = """
WITH desired AS (
    SELECT node_id, date, gnk_of_ngonka(amount_ngonka) AS earnings_gnk, left(source, 50) AS source
    FROM unnest($1::uuid[], $2::date[], $3::numeric[], $4::text[]) AS day (node_id, date, amount_ngonka, source)
), gone AS (
    DELETE FROM earnings_history AS held USING desired
    WHERE desired.earnings_gnk IS NULL AND held.node_id = desired.node_id AND held.date = desired.date
)
INSERT INTO earnings_history AS held (node_id, date, earnings_gnk, source)
SELECT node_id, date, desired.earnings_gnk, desired.source
FROM desired LEFT JOIN earnings_history AS known USING (node_id, date)
WHERE desired.earnings_gnk IS NOT NULL
    AND (known.earnings_gnk, known.source) IS DISTINCT FROM (desired.earnings_gnk, desired.source)
ORDER BY node_id, date
ON CONFLICT (node_id, date) DO UPDATE SET earnings_gnk = EXCLUDED.earnings_gnk, source = EXCLUDED.source
"""

# The newest date's amount, and the sum of the facts that won (or the preferred source's lifetime counter when that is
# larger: it also knows what was earned before the first epoch on record).
WRITE_TOTALS: Final = """
WITH touched AS (
    SELECT node_id, basis FROM earnings_node WHERE node_id = ANY($1::uuid[])
), won AS (
    SELECT DISTINCT ON (node_id, period) node_id, amount_ngonka
    FROM earnings_ledger AS ledger JOIN touched USING (node_id) LEFT JOIN tracker_sources ON name = ledger.source
    WHERE ledger.kind = basis AND basis <> 'total' AND final
    ORDER BY node_id, period, coalesce(earnings_order, 100), ledger.source
), summed AS (
    SELECT node_id, sum(amount_ngonka) AS amount_ngonka FROM won GROUP BY node_id
), counted AS (
    SELECT DISTINCT ON (node_id) node_id, amount_ngonka
    FROM earnings_ledger AS ledger JOIN touched USING (node_id) LEFT JOIN tracker_sources ON name = ledger.source
    WHERE ledger.kind = 'total'
    ORDER BY node_id, coalesce(earnings_order, 100), ledger.source, period DESC
), newest AS (
    SELECT DISTINCT ON (node_id) node_id, earnings_gnk FROM earnings_history JOIN touched USING (node_id)
    ORDER BY node_id, date DESC
), totals AS (
    SELECT node_id, newest.earnings_gnk AS earnings_day,
        gnk_of_ngonka(greatest(summed.amount_ngonka, counted.amount_ngonka)) AS earnings_total
    FROM touched LEFT JOIN newest USING (node_id) LEFT JOIN summed USING (node_id) LEFT JOIN counted USING (node_id)
)
INSERT INTO node_stats_cache AS held (node_id, earnings_day, earnings_total, fetched_at)
SELECT node_id, totals.earnings_day, totals.earnings_total, NULL
FROM totals LEFT JOIN node_stats_cache AS known USING (node_id)
WHERE known.node_id IS NULL
    OR (known.earnings_day, known.earnings_total) IS DISTINCT FROM (totals.earnings_day, totals.earnings_total)
ORDER BY node_id
ON CONFLICT (node_id) DO UPDATE SET
    earnings_day = EXCLUDED.earnings_day, earnings_total = EXCLUDED.earnings_total
"""


async def apply_reports(database: Database, reports: Sequence[EarningsReport]) -> Applied:
    """Merge a batch of reports into the ledger, and bring history and totals up to date, in one transaction."""
    reduced = reduce_reports(reports)
    async with database.transaction() as connection:
        settlements, moved = await _merge_settlements(connection, reduced.settlements)
        ids = await node_ids(connection, reduced.types)
        moved_nodes = await _nodes_of(connection, moved)
        nodes = sorted({*ids.values(), *moved_nodes})
        bases = await _lock_nodes(connection, nodes)
        changed = await _merge_ledger(connection, ids, reduced)
        try:
            await _project(connection, bases, _touched(ids, reduced, settlements, moved, moved_nodes))
        except Exception as error:
            if classify(error).passes:
                raise
            raise ProjectionError("earnings_history could not be derived from the ledger") from error
    return Applied(changed, len(reports) - changed)


async def _merge_settlements(
    connection: Connection, proposals: Mapping[int, Settlement]
) -> tuple[dict[int, Settlement], dict[int, set[date]]]:
    """Merge and hold the settlements of these epochs.

    Returns them as they stand now, and the dates (before and after) of the epochs whose date moved.
    """
    if not proposals:
        return {}, {}
    epochs = sorted(proposals)
    known = await _settlements(connection, FIND_SETTLEMENTS, epochs)
    if all(epoch in known and proposals[epoch] <= known[epoch] for epoch in epochs):
        # A settlement only ever gets better, so the proposals are no better under the lock either.
        return await _settlements(connection, HOLD_SETTLEMENTS, epochs), {}
    await connection.execute(ADD_SETTLEMENTS, *_settlement_columns({e: proposals[e] for e in epochs if e not in known}))
    held = await _settlements(connection, LOCK_SETTLEMENTS, epochs)
    better = {epoch: proposals[epoch] for epoch in epochs if proposals[epoch] > held[epoch]}
    if better:
        await connection.execute(BETTER_SETTLEMENTS, *_settlement_columns(better))
    moved = {
        epoch: {held[epoch].day, settlement.day}
        for epoch, settlement in better.items()
        if held[epoch].day != settlement.day
    }
    return held | better, moved


async def _settlements(connection: Connection, statement: str, epochs: list[int]) -> dict[int, Settlement]:
    return {
        row["epoch"]: Settlement(row["exact"], row["observed_at"], row["settled_at"], row["source"])
        for row in await connection.fetch(statement, epochs)
    }


def _settlement_columns(settlements: Mapping[int, Settlement]) -> list[list[Any]]:
    rows = settlements.values()
    return [
        list(settlements),
        [row.exact for row in rows],
        [row.observed_at for row in rows],
        [row.settled_at for row in rows],
        [row.source for row in rows],
    ]


async def _nodes_of(connection: Connection, epochs: Iterable[int]) -> dict[UUID, set[int]]:
    """The nodes that have facts of these epochs, and which."""
    nodes: dict[UUID, set[int]] = {}
    if epochs:
        for row in await connection.fetch(NODES_OF_EPOCHS, list(epochs)):
            nodes.setdefault(row["node_id"], set()).add(row["period"])
    return nodes


async def _lock_nodes(connection: Connection, nodes: list[UUID]) -> dict[UUID, str | None]:
    """Lock the nodes against other writers of their earnings; returns each one's basis so far."""
    await connection.execute(ADD_EARNINGS_NODES, nodes)
    return {row["node_id"]: row["basis"] for row in await connection.fetch(LOCK_EARNINGS_NODES, nodes)}


async def _merge_ledger(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> int:
    keys = list(reduced.winners)
    versions = [version_of(report) for report in reduced.winners.values()]
    status = await connection.execute(
        MERGE_LEDGER,
        *_key_columns(ids, keys),
        [version.amount for version in versions],
        [version.work for version in versions],
        [version.reward for version in versions],
        [version.final for version in versions],
        [version.claimed for version in versions],
        [report.observed_at for report in reduced.winners.values()],
    )
    said = [version for _, version in reduced.versions]
    await connection.execute(
        MERGE_VERSIONS,
        *_key_columns(ids, [key for key, _ in reduced.versions]),
        [version.final for version in said],
        [version.amount for version in said],
        [version.work for version in said],
        [version.reward for version in said],
        [version.claimed for version in said],
        list(reduced.versions.values()),
    )
    return int(status.rsplit(" ", 1)[1])


def _key_columns(ids: Mapping[str, UUID], keys: Sequence[LedgerKey]) -> list[list[Any]]:
    return [
        [ids[key.identifier] for key in keys],
        [key.source for key in keys],
        [key.kind for key in keys],
        [key.period for key in keys],
    ]


def _touched(
    ids: Mapping[str, UUID],
    reduced: Reduced,
    settlements: Mapping[int, Settlement],
    moved: Mapping[int, set[date]],
    moved_nodes: Mapping[UUID, set[int]],
) -> dict[UUID, set[date]]:
    """The dates on which each node's history may have changed, as far as its epochs go."""
    touched: dict[UUID, set[date]] = {node: set() for node in ids.values()}
    for key, report in reduced.winners.items():
        if key.kind == "epoch" and report.final:
            touched[ids[key.identifier]].add(settlements[key.period].day)
    for node, epochs in moved_nodes.items():
        touched.setdefault(node, set()).update(*(moved[epoch] for epoch in epochs))
    return touched


async def _project(connection: Connection, bases: Mapping[UUID, str | None], touched: Mapping[UUID, set[date]]) -> None:
    """Derive history and totals of the touched nodes from the ledger.

    A node whose history already rests on epochs is projected on its touched dates; any other one as a whole, since a
    counter's differences, or a new basis, may change every date.
    """
    pairs = [(node, day) for node in touched if bases[node] == "epoch" for day in touched[node]]
    whole = [node for node in touched if bases[node] != "epoch"]
    facts: list[Fact[UUID]] = []
    if pairs:
        facts += _facts(await connection.fetch(FACTS_OF_DATES, [n for n, _ in pairs], [d for _, d in pairs]))
    if whole:
        own = _facts(await connection.fetch(FACTS_OF_NODES, whole))
        await _set_bases(connection, own)
        facts += own
        pairs += [(row["node_id"], row["date"]) for row in await connection.fetch(DATES_OF_NODES, whole)]
    order = {row["name"]: row["earnings_order"] for row in await connection.fetch(SOURCE_ORDER)}
    projected = project(facts, lambda source: order.get(source, DEFAULT_ORDER))
    days: dict[tuple[UUID, date], DayAmount | None] = {**dict.fromkeys(pairs), **projected}
    await connection.execute(
        WRITE_HISTORY,
        [node for node, _ in days],
        [day for _, day in days],
        [amount and amount.amount for amount in days.values()],
        [amount and amount.source for amount in days.values()],
    )
    await connection.execute(WRITE_TOTALS, list(touched))


async def _set_bases(connection: Connection, facts: Sequence[Fact[UUID]]) -> None:
    by_node: dict[UUID, list[Fact[UUID]]] = {}
    for fact in facts:
        by_node.setdefault(fact.node, []).append(fact)
    await connection.execute(SET_BASIS, list(by_node), [basis_of(own) for own in by_node.values()])


def _facts(rows: Iterable[Any]) -> list[Fact[UUID]]:
    return [
        Fact(
            row["node_id"],
            row["source"],
            row["kind"],
            row["period"],
            int(row["amount_ngonka"]),
            row["final"],
            row["date"],
        )
        for row in rows
    ]
