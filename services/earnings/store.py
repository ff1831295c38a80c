"""The earnings service's statements. Each is a merge: repeating it, or running it in another order, changes nothing.

Lock order: epoch_settlement (by epoch), nodes, earnings_node, ledger, history, node_stats_cache (each by node_id). A
transaction holds its epochs and its nodes until it commits, so that no two of them project one node and date from
different facts.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.earnings.ledger import (
    LedgerKey,
    Reduced,
    Settlement,
    add_versions,
    dating_reports,
    reduce_reports,
    version_of,
)
from services.earnings.projection import lock_nodes, project_touched
from services.earnings.source_order import follow_order
from services.kernel.arrays import column, joined, joined_numbers, joined_times, moment
from services.kernel.database import Connection, Database
from services.kernel.errors import ProjectionError
from services.kernel.events import EarningsReport
from services.kernel.halving import Applied
from services.kernel.lanes import LEAST_ROWS, apply_in_lanes
from services.kernel.nodes import known_node_ids
from services.kernel.transient import classify

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

# The order of ledger.rank, told by every column, so that equal ranks are equal rows. The nodes are locked: what the
# look-up sees is what is there. Returns of each report, in their order, whether it became the row (better), whether it
# already was (held), and whether history may be another by it (counts): history rests on amounts and on what is final,
# so that a poll which says the same again, only later, concerns the ledger alone.
# LATERAL ... LIMIT keeps the planner from joining with the whole ledger, which it would do while it is small, and go
# on doing by that plan. Amounts come as bigint: none is beyond ±10^18.
MERGE_LEDGER: Final = f"""
WITH new AS (
    SELECT node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, method,
        {moment("observed")} AS observed_at, place
    FROM unnest(
        $1::uuid[], {column(2, "text")}, {column(3, "text")}, {column(4, "integer")}, {column(5, "bigint")},
        {column(6, "bigint")}, {column(7, "bigint")}, $8::boolean[], $9::boolean[], {column(10, "text")},
        {column(11, "bigint")}
    ) WITH ORDINALITY AS new (node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed,
        method, observed, place)
), compared AS (
    SELECT new.*,
        known.node_id IS NULL
        OR (new.final, new.observed_at, new.amount_ngonka, new.work_ngonka IS NOT NULL, coalesce(new.work_ngonka, 0),
            new.reward_ngonka IS NOT NULL, coalesce(new.reward_ngonka, 0), new.claimed IS NOT NULL,
            new.claimed IS TRUE, coalesce(new.method, '') COLLATE "C")
        > (known.final, known.observed_at, known.amount_ngonka, known.work_ngonka IS NOT NULL,
            coalesce(known.work_ngonka, 0), known.reward_ngonka IS NOT NULL, coalesce(known.reward_ngonka, 0),
            known.claimed IS NOT NULL, known.claimed IS TRUE, coalesce(known.method, '') COLLATE "C") AS better,
        (new.final, new.observed_at, new.amount_ngonka, new.work_ngonka, new.reward_ngonka, new.claimed, new.method)
        IS NOT DISTINCT FROM (known.final, known.observed_at, known.amount_ngonka, known.work_ngonka,
            known.reward_ngonka, known.claimed, known.method) AS held,
        (new.amount_ngonka, new.final) IS DISTINCT FROM (known.amount_ngonka, known.final) AS other
    FROM new LEFT JOIN LATERAL (
        SELECT * FROM earnings_ledger AS known
        WHERE (known.node_id, known.source, known.kind, known.period) = (new.node_id, new.source, new.kind, new.period)
        LIMIT 1
    ) AS known ON true
), merged AS (
    INSERT INTO earnings_ledger AS held
        (node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, method, observed_at)
    SELECT node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed, method, observed_at
    FROM compared WHERE better
    ORDER BY node_id, source, kind, period
    ON CONFLICT (node_id, source, kind, period) DO UPDATE SET
        amount_ngonka = EXCLUDED.amount_ngonka, work_ngonka = EXCLUDED.work_ngonka,
        reward_ngonka = EXCLUDED.reward_ngonka, final = EXCLUDED.final, claimed = EXCLUDED.claimed,
        method = EXCLUDED.method, observed_at = EXCLUDED.observed_at,
        version_recorded_at = CASE
            WHEN (held.final, held.amount_ngonka, held.work_ngonka, held.reward_ngonka, held.claimed)
                IS NOT DISTINCT FROM (EXCLUDED.final, EXCLUDED.amount_ngonka, EXCLUDED.work_ngonka,
                    EXCLUDED.reward_ngonka, EXCLUDED.claimed)
            THEN held.version_recorded_at ELSE now()
        END
)
SELECT array_agg(better ORDER BY place) AS better, array_agg(held ORDER BY place) AS held,
    array_agg(better AND other ORDER BY place) AS counts
FROM compared
"""  # noqa: S608 - put together from constants

# What was said besides what the ledger's rows say, and since when. What a row says before it is overwritten a trigger
# notes.
MERGE_VERSIONS: Final = f"""
WITH new AS (
    SELECT node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed,
        {moment("observed")} AS observed_at
    FROM unnest(
        $1::uuid[], {column(2, "text")}, {column(3, "text")}, {column(4, "integer")}, $5::boolean[],
        {column(6, "bigint")}, {column(7, "bigint")}, {column(8, "bigint")}, $9::boolean[], {column(10, "bigint")}
    ) AS new (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed)
)
INSERT INTO earnings_ledger_version AS held
    (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at)
SELECT new.* FROM new
LEFT JOIN LATERAL (
    SELECT observed_at FROM earnings_ledger_version AS known
    WHERE (known.node_id, known.source, known.kind, known.period, known.final, known.amount_ngonka)
        = (new.node_id, new.source, new.kind, new.period, new.final, new.amount_ngonka)
    AND (known.work_ngonka, known.reward_ngonka, known.claimed)
        IS NOT DISTINCT FROM (new.work_ngonka, new.reward_ngonka, new.claimed)
    LIMIT 1
) AS known ON true
WHERE known.observed_at IS NULL OR new.observed_at < known.observed_at
ORDER BY new.node_id, new.source, new.kind, new.period
ON CONFLICT (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed) DO UPDATE
SET observed_at = EXCLUDED.observed_at WHERE EXCLUDED.observed_at < held.observed_at
"""  # noqa: S608 - put together from constants


class Merged(NamedTuple):
    """What became of the reports of a reduced batch, in the order of its winners (see MERGE_LEDGER)."""

    better: Sequence[bool]
    held: Sequence[bool]
    counts: Sequence[bool]


async def apply_reports(database: Database, reports: Sequence[EarningsReport]) -> Applied:
    """Merge a batch of reports into the ledger, and bring history and totals up to date in the same transaction.

    A large batch is several transactions, each of other nodes; it is applied when all of them have committed.
    """
    await follow_order(database)
    if len(reports) < 2 * LEAST_ROWS:
        return await _apply(database, reports)
    # Ahead of the lanes go the reports that date the epochs: all lanes have these epochs, and where one is new each
    # would wait for whichever came first to commit.
    ahead = [report for _, report in dating_reports(reports).values()]
    own = set(map(id, ahead))
    others = [report for report in reports if id(report) not in own]
    dated = await _apply(database, ahead) if ahead else Applied(0)
    return dated.plus(
        await apply_in_lanes(others, partial(_apply, database), node_of=attrgetter("identifier"), rows=len(others))
    )


async def _apply(database: Database, reports: Sequence[EarningsReport]) -> Applied:
    """Merge reports in one transaction.

    A report changed a row if it became the ledger's row. One that loses there is stale, though it may be kept as an
    older version, or tell better when its epoch settled.
    """
    reduced = reduce_reports(reports)
    async with database.transaction() as connection:
        settlements, moved = await _merge_settlements(
            connection, {epoch: settlement for epoch, (settlement, _) in dating_reports(reports).items()}
        )
        ids = await known_node_ids(database, connection, reduced.types)
        moved_nodes = await _nodes_of(connection, moved)
        nodes = sorted({*(ids[identifier] for identifier in reduced.types), *moved_nodes})
        bases = await lock_nodes(connection, nodes)
        merged = await _merge_ledger(connection, ids, reduced)
        changed = [key for key, counts in zip(reduced.winners, merged.counts, strict=True) if counts]
        touched = _touched(bases, ids, changed, reduced, settlements)
        for node, epochs in moved_nodes.items():
            touched.setdefault(node, set()).update(*(moved[epoch] for epoch in epochs))
        try:
            if touched:
                await project_touched(connection, bases, touched)
        except Exception as error:
            if classify(error).passes:
                raise
            raise ProjectionError("earnings_history could not be derived from the ledger") from error
    return Applied.counted(
        len(reports),
        distinct=reduced.distinct,
        changed=sum(merged.better),
        held=sum(merged.held),
    )


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


async def _merge_ledger(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> Merged:
    """Merge the reports, and the versions of those that do not become rows."""
    keys, reports = list(reduced.winners), list(reduced.winners.values())
    versions = [version_of(report) for report in reports]
    (row,) = await connection.fetch(
        MERGE_LEDGER,
        *_key_columns(ids, keys),
        joined_numbers(version.amount for version in versions),
        joined_numbers(version.work for version in versions),
        joined_numbers(version.reward for version in versions),
        [version.final for version in versions],
        [version.claimed for version in versions],
        joined([report.method for report in reports]),
        joined_times(report.observed_at for report in reports),
    )
    merged = Merged(row["better"] or (), row["held"] or (), row["counts"] or ())
    said = dict(reduced.versions)
    for key, report, better, held in zip(keys, reports, merged.better, merged.held, strict=True):
        if not better and not held:
            add_versions(said, key, [report])
    if said:
        await connection.execute(
            MERGE_VERSIONS,
            *_key_columns(ids, [key for key, _ in said]),
            [version.final for _, version in said],
            joined_numbers(version.amount for _, version in said),
            joined_numbers(version.work for _, version in said),
            joined_numbers(version.reward for _, version in said),
            [version.claimed for _, version in said],
            joined_times(said.values()),
        )
    return merged


def _key_columns(ids: Mapping[str, UUID], keys: Sequence[LedgerKey]) -> tuple[list[UUID], str, str, str]:
    return (
        [ids[key.identifier] for key in keys],
        joined([key.source for key in keys]),
        joined([key.kind for key in keys]),
        joined_numbers(key.period for key in keys),
    )


def _touched(
    bases: Mapping[UUID, str | None],
    ids: Mapping[str, UUID],
    changed: Iterable[LedgerKey],
    reduced: Reduced,
    settlements: Mapping[int, Settlement],
) -> dict[UUID, set[date]]:
    """The nodes whose history may have changed, and on which dates, as far as their epochs go.

    Those are the nodes whose history has no basis yet, and those of which the ledger says something else now.
    """
    touched: dict[UUID, set[date]] = {node: set() for node, basis in bases.items() if basis is None}
    days = {epoch: settlement.day for epoch, settlement in settlements.items()}
    for key in changed:
        dates = touched.setdefault(ids[key.identifier], set())
        if key.kind == "epoch" and reduced.winners[key].final:
            dates.add(days[key.period])
    return touched
