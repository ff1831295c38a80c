"""Deriving earnings_history and totals from the ledger, under the lock that makes it exact.

Whoever projects a node holds its row in earnings_node, and reads the ledger in a later statement than the one that took
it: a fresh snapshot, which has everything that other transactions committed before.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from services.earnings.ledger import DayAmount, Fact, basis_of, project
from services.kernel.arrays import column, joined, joined_numbers
from services.kernel.database import Connection

DEFAULT_ORDER: Final = 100
"""The place of a source that is not in the order: behind every one that it does (its column's default)."""

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

# The planner must not guess: first the epochs that settled on the dates, then exactly the rows that are wanted.
EPOCHS_OF_DATES: Final = """
SELECT epoch, (settled_at AT TIME ZONE 'UTC')::date AS date FROM epoch_settlement
WHERE (settled_at AT TIME ZONE 'UTC')::date = ANY($1::date[])
"""
FACTS_OF_EPOCHS: Final = """
SELECT node_id, source, kind, period, amount_ngonka, final, date
FROM unnest($1::uuid[], $2::integer[], $3::date[]) AS wanted (node_id, period, date)
CROSS JOIN LATERAL (
    SELECT source, kind, amount_ngonka, final FROM earnings_ledger AS ledger
    WHERE ledger.kind = 'epoch' AND (ledger.period, ledger.node_id) = (wanted.period, wanted.node_id)
    OFFSET 0
) AS ledger
"""
FACTS_OF_NODES: Final = """
SELECT node_id, ledger.source, kind, period, amount_ngonka, final, (settled_at AT TIME ZONE 'UTC')::date AS date
FROM earnings_ledger AS ledger
LEFT JOIN epoch_settlement ON kind = 'epoch' AND epoch = period
WHERE node_id = ANY($1::uuid[])
"""
DATES_OF_NODES: Final = "SELECT node_id, date FROM earnings_history WHERE node_id = ANY($1::uuid[])"
SOURCE_ORDER: Final = "SELECT source, earnings_order FROM earnings_source_order"

# Whoever projects holds the order of sources as it stands; whoever changes it waits for them, and they for him. So
# every amount was projected by the order that stands, or is by whoever changed it.
HOLD_ORDER: Final = "SELECT pg_advisory_xact_lock_shared(hashtextextended('minegnk.source_order', 0))"
LOCK_ORDER: Final = "SELECT pg_advisory_xact_lock(hashtextextended('minegnk.source_order', 0))"

# ngonka become GNK once, after summing (gnk_of_ngonka). A date without an amount lost its basis. The column's default
# makes ids of the same kind; without the extension for it, it takes five times as long.
WRITE_HISTORY: Final = f"""
WITH desired AS (
    SELECT node_id, date, gnk_of_ngonka(amount_ngonka) AS earnings_gnk, left(source, 50) AS source
    FROM unnest($1::uuid[], {column(2, "date")}, {column(3, "numeric")}, {column(4, "text")})
        AS day (node_id, date, amount_ngonka, source)
), gone AS (
    DELETE FROM earnings_history AS held USING desired
    WHERE desired.earnings_gnk IS NULL AND held.node_id = desired.node_id AND held.date = desired.date
)
INSERT INTO earnings_history AS held (id, node_id, date, earnings_gnk, source)
SELECT gen_random_uuid(), node_id, date, desired.earnings_gnk, desired.source
FROM desired LEFT JOIN LATERAL (
    SELECT earnings_gnk, source FROM earnings_history AS known
    WHERE (known.node_id, known.date) = (desired.node_id, desired.date)
    LIMIT 1
) AS known ON true
WHERE desired.earnings_gnk IS NOT NULL
    AND (known.earnings_gnk, known.source) IS DISTINCT FROM (desired.earnings_gnk, desired.source)
ORDER BY node_id, date
ON CONFLICT (node_id, date) DO UPDATE SET earnings_gnk = EXCLUDED.earnings_gnk, source = EXCLUDED.source
"""  # noqa: S608 - put together from constants

# The newest date's amount, and the sum of the facts that won (or the preferred source's lifetime counter when that is
# larger: it also knows what was earned before the first epoch on record). Only where several sources report one node
# does a winner have to be found for each period; elsewhere summing in the index's order is many times faster.
WRITE_TOTALS: Final = """
WITH touched AS (
    SELECT node_id, basis FROM earnings_node WHERE node_id = ANY($1::uuid[])
), preference AS (
    SELECT * FROM unnest($2::text[], $3::integer[]) AS preference (source, place)
), by_source AS (
    SELECT node_id, source, sum(amount_ngonka) AS amount_ngonka
    FROM earnings_ledger AS ledger JOIN touched USING (node_id)
    WHERE kind = basis AND kind <> 'total' AND final
    GROUP BY node_id, source
), by_node AS (
    SELECT node_id, count(*) AS sources, sum(amount_ngonka) AS amount_ngonka FROM by_source GROUP BY node_id
), won AS (
    SELECT DISTINCT ON (node_id, period) node_id, amount_ngonka
    FROM earnings_ledger AS ledger JOIN touched USING (node_id) LEFT JOIN preference USING (source)
    WHERE kind = basis AND kind <> 'total' AND final
        AND node_id = ANY(ARRAY(SELECT node_id FROM by_node WHERE sources > 1))
    ORDER BY node_id, period, coalesce(place, $4::integer), source
), summed AS (
    SELECT node_id, amount_ngonka FROM by_node WHERE sources = 1
    UNION ALL
    SELECT node_id, sum(amount_ngonka) FROM won GROUP BY node_id
), counted AS (
    SELECT DISTINCT ON (node_id) node_id, amount_ngonka
    FROM earnings_ledger AS ledger JOIN touched USING (node_id) LEFT JOIN preference USING (source)
    WHERE kind = 'total'
    ORDER BY node_id, coalesce(place, $4::integer), source, period DESC
), totals AS (
    SELECT node_id, newest.earnings_gnk AS earnings_day,
        gnk_of_ngonka(greatest(summed.amount_ngonka, counted.amount_ngonka)) AS earnings_total
    FROM touched LEFT JOIN summed USING (node_id) LEFT JOIN counted USING (node_id)
    LEFT JOIN LATERAL (
        SELECT earnings_gnk FROM earnings_history AS history WHERE history.node_id = touched.node_id
        ORDER BY date DESC LIMIT 1
    ) AS newest ON true
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


async def lock_nodes(connection: Connection, nodes: Sequence[UUID]) -> dict[UUID, str | None]:
    """Lock the nodes against other writers of their earnings; returns each one's basis so far."""
    await connection.execute(HOLD_ORDER)
    await connection.execute(ADD_EARNINGS_NODES, nodes)
    return {row["node_id"]: row["basis"] for row in await connection.fetch(LOCK_EARNINGS_NODES, nodes)}


async def project_nodes(connection: Connection, nodes: Sequence[UUID]) -> None:
    """Derive all history and the totals of these nodes again; writes only what differs."""
    await lock_nodes(connection, sorted(nodes))
    await project_touched(connection, dict.fromkeys(nodes), {node: set() for node in nodes})


async def project_touched(
    connection: Connection, bases: Mapping[UUID, str | None], touched: Mapping[UUID, set[date]]
) -> None:
    """Derive history and totals of the touched nodes from the ledger.

    A node whose history already rests on epochs is projected on its touched dates; any other one as a whole, since a
    counter's differences, or a new basis, may change every date.
    """
    dated = {node: days for node, days in touched.items() if bases[node] == "epoch"}
    whole = [node for node in touched if bases[node] != "epoch"]
    pairs = [(node, day) for node, days in dated.items() for day in days]
    facts = await _facts_of_dates(connection, dated)
    if whole:
        own = facts_of(await connection.fetch(FACTS_OF_NODES, whole))
        await _set_bases(connection, own)
        facts += own
        pairs += [(row["node_id"], row["date"]) for row in await connection.fetch(DATES_OF_NODES, whole)]
    order = {row["source"]: row["earnings_order"] for row in await connection.fetch(SOURCE_ORDER)}
    projected = project(facts, lambda source: order.get(source, DEFAULT_ORDER))
    days: dict[tuple[UUID, date], DayAmount | None] = {**dict.fromkeys(pairs), **projected}
    await connection.execute(
        WRITE_HISTORY,
        [node for node, _ in days],
        joined([day.isoformat() for _, day in days]),
        joined_numbers(amount and amount.amount for amount in days.values()),
        joined([amount and amount.source for amount in days.values()]),
    )
    await connection.execute(WRITE_TOTALS, list(touched), list(order), list(order.values()), DEFAULT_ORDER)


async def _facts_of_dates(connection: Connection, dated: Mapping[UUID, set[date]]) -> list[Fact[UUID]]:
    """Every epoch that settled on one of its node's dates."""
    if not dated:
        return []
    dates = sorted(set().union(*dated.values()))
    epochs: dict[date, list[int]] = {}
    for row in await connection.fetch(EPOCHS_OF_DATES, dates):
        epochs.setdefault(row["date"], []).append(row["epoch"])
    wanted = [(node, epoch, day) for node, days in dated.items() for day in days for epoch in epochs.get(day, ())]
    columns = [[each[at] for each in wanted] for at in range(3)]
    return facts_of(await connection.fetch(FACTS_OF_EPOCHS, *columns))


async def _set_bases(connection: Connection, facts: Sequence[Fact[UUID]]) -> None:
    by_node: dict[UUID, list[Fact[UUID]]] = {}
    for fact in facts:
        by_node.setdefault(fact.node, []).append(fact)
    await connection.execute(SET_BASIS, list(by_node), [basis_of(own) for own in by_node.values()])


def facts_of(rows: Iterable[Any]) -> list[Fact[UUID]]:
    """The rows of FACTS_OF_NODES and FACTS_OF_EPOCHS as facts."""
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
