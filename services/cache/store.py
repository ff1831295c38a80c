"""The cache's statements. Each is a merge: repeating it, or running it in another order, gives the same rows.

Lock order: node_uptime, node_facts, nodes, node_stats_cache, each by node_id; tracker_sources, source_uptime,
source_epoch_total, each by source. A row that would not change is not touched: a replay of old readings writes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final
from uuid import UUID

from asyncpg import BitString, Record

from services.cache.merge import Identity, Reduced, newest_totals, reduce_readings
from services.cache.uptime import slot_bit, slot_bytes, slot_of
from services.kernel.database import Connection, Database
from services.kernel.events import NodeReading, SourceStatus
from services.kernel.halving import Applied
from services.kernel.nodes import node_ids

# Last writer wins by rank = fetched_at + preference(source), ties by the greater source name. A row that earnings made
# (fetched_at NULL) ranks lowest. The first WHERE spares old readings a lock; the second decides under the lock.
# Returned are the readings that became rows (changed), and those that were rows when the statement began.
MERGE_STATS: Final = """
WITH reading AS (
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::integer[], $6::text[], $7::numeric[])
        AS reading (node_id, source, fetched_at, status, jobs_day, active_model, voting_weight)
), incoming AS (
    SELECT DISTINCT ON (node_id) node_id, source, fetched_at, status, jobs_day, active_model, voting_weight, rank
    FROM (
        SELECT reading.*, fetched_at + make_interval(secs => coalesce(preference_seconds, 0)) AS rank
        FROM reading
        LEFT JOIN tracker_sources ON name = source
    ) AS ranked
    ORDER BY node_id, rank DESC, source COLLATE "C" DESC
), merged AS (
    INSERT INTO node_stats_cache AS held
        (node_id, source, fetched_at, status, jobs_day, active_model, voting_weight)
    SELECT node_id, incoming.source, incoming.fetched_at, incoming.status, incoming.jobs_day, incoming.active_model,
        incoming.voting_weight
    FROM incoming
    LEFT JOIN node_stats_cache AS cached USING (node_id)
    LEFT JOIN tracker_sources ON name = cached.source
    WHERE cached.fetched_at IS NULL
        OR (rank, incoming.source COLLATE "C")
            > (cached.fetched_at + make_interval(secs => coalesce(preference_seconds, 0)), coalesce(cached.source, ''))
    ORDER BY node_id
    ON CONFLICT (node_id) DO UPDATE SET
        source = EXCLUDED.source, fetched_at = EXCLUDED.fetched_at, status = EXCLUDED.status,
        jobs_day = EXCLUDED.jobs_day, active_model = EXCLUDED.active_model, voting_weight = EXCLUDED.voting_weight
    WHERE held.fetched_at IS NULL
        OR (
            EXCLUDED.fetched_at + make_interval(secs => coalesce(
                (SELECT preference_seconds FROM tracker_sources WHERE name = EXCLUDED.source), 0)),
            EXCLUDED.source COLLATE "C"
        ) > (
            held.fetched_at + make_interval(secs => coalesce(
                (SELECT preference_seconds FROM tracker_sources WHERE name = held.source), 0)),
            coalesce(held.source, '')
        )
    RETURNING node_id, source, fetched_at
)
SELECT node_id, source, fetched_at, true AS changed FROM merged
UNION ALL
SELECT node_id, source, fetched_at, false FROM reading JOIN node_stats_cache USING (node_id, source, fetched_at)
"""

# Returned are the facts that won (changed), also those whose value stayed and only their time advanced, and those that
# were held already.
MERGE_FACTS: Final = """
WITH fact AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
        AS fact (node_id, field, value, source, observed_at)
), merged AS (
    INSERT INTO node_facts AS held (node_id, field, value, source, observed_at)
    SELECT node_id, field, fact.value, fact.source, fact.observed_at
    FROM fact
    LEFT JOIN node_facts AS known USING (node_id, field)
    WHERE known.node_id IS NULL
        OR (fact.source = 'operator', fact.observed_at, fact.source COLLATE "C")
            > (known.source = 'operator', known.observed_at, known.source)
    ORDER BY node_id, field
    ON CONFLICT (node_id, field) DO UPDATE SET
        value = EXCLUDED.value, source = EXCLUDED.source, observed_at = EXCLUDED.observed_at
    WHERE (EXCLUDED.source = 'operator', EXCLUDED.observed_at, EXCLUDED.source COLLATE "C")
        > (held.source = 'operator', held.observed_at, held.source)
    RETURNING node_id, field, value, source, observed_at
)
SELECT node_id, field, value, source, observed_at, true AS changed FROM merged
UNION ALL
SELECT node_id, field, fact.value, source, observed_at, false
FROM fact JOIN node_facts USING (node_id, field, source, observed_at)
"""

# Only the fields this transaction won, whose fact rows it holds: another one's fields are left as they are.
PROJECT_NODE_FACTS: Final = """
WITH won AS (
    SELECT node_id, max(value) FILTER (WHERE field = 'display_name') AS display_name,
        max(value) FILTER (WHERE field = 'gpu_type') AS gpu_type, max(value) FILTER (WHERE field = 'region') AS region
    FROM unnest($1::uuid[], $2::text[], $3::text[]) AS fact (node_id, field, value)
    GROUP BY node_id
), different AS (
    SELECT id FROM nodes JOIN won ON id = node_id
    WHERE nodes.display_name IS DISTINCT FROM coalesce(won.display_name, nodes.display_name)
        OR nodes.gpu_type IS DISTINCT FROM coalesce(won.gpu_type, nodes.gpu_type)
        OR nodes.region IS DISTINCT FROM coalesce(won.region, nodes.region)
    ORDER BY id FOR NO KEY UPDATE OF nodes
)
UPDATE nodes SET
    display_name = coalesce(won.display_name, nodes.display_name),
    gpu_type = coalesce(won.gpu_type, nodes.gpu_type),
    region = coalesce(won.region, nodes.region)
FROM different JOIN won ON won.node_id = different.id
WHERE nodes.id = different.id
"""

# Tokens and stats are two statements on one table: without one ordered pass before them, two transactions could each
# hold what the other wants. (A row that DO UPDATE ... WHERE false leaves alone is locked all the same.)
LOCK_STATS: Final = """
INSERT INTO node_stats_cache AS held (node_id, fetched_at)
SELECT node_id, NULL FROM unnest($1::uuid[]) AS node (node_id) ORDER BY node_id
ON CONFLICT (node_id) DO UPDATE SET fetched_at = held.fetched_at WHERE false
"""
PROJECT_TOKENS: Final = """
INSERT INTO node_stats_cache AS held (node_id, tokens_per_sec, fetched_at)
SELECT node_id, tokens_per_sec, NULL FROM unnest($1::uuid[], $2::numeric[]) AS fact (node_id, tokens_per_sec)
ORDER BY node_id
ON CONFLICT (node_id) DO UPDATE SET tokens_per_sec = EXCLUDED.tokens_per_sec
WHERE held.tokens_per_sec IS DISTINCT FROM EXCLUDED.tokens_per_sec
"""

MERGE_UPTIME: Final = """
INSERT INTO node_uptime AS held (node_id, date, healthy, seen)
SELECT node_id, date, slots.healthy::bit(288), slots.seen::bit(288)
FROM unnest($1::uuid[], $2::date[], $3::varbit[], $4::varbit[]) AS slots (node_id, date, healthy, seen)
LEFT JOIN node_uptime AS known USING (node_id, date)
WHERE known.node_id IS NULL OR known.healthy | slots.healthy::bit(288) <> known.healthy
    OR known.seen | slots.seen::bit(288) <> known.seen
ORDER BY node_id, date
ON CONFLICT (node_id, date) DO UPDATE SET
    healthy = held.healthy | EXCLUDED.healthy, seen = held.seen | EXCLUDED.seen
"""

# Returned is how many statuses became rows (changed), and how many already were.
MERGE_SOURCES: Final = """
WITH status AS (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::boolean[], $6::integer[], $7::timestamptz[],
        $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::timestamptz[], $13::integer[],
        $14::bigint[])
        AS status (name, kind, preference_seconds, earnings_order, probes_health, poll_interval_seconds, reported_at)
), merged AS (
    INSERT INTO tracker_sources AS held
        (name, kind, preference_seconds, earnings_order, probes_health, poll_interval_seconds, reported_at,
         last_attempt_at, last_success_at, last_error_at, last_error, data_at, epoch, height)
    SELECT * FROM status ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO UPDATE SET
        kind = EXCLUDED.kind, preference_seconds = EXCLUDED.preference_seconds,
        earnings_order = EXCLUDED.earnings_order, probes_health = EXCLUDED.probes_health,
        poll_interval_seconds = EXCLUDED.poll_interval_seconds, reported_at = EXCLUDED.reported_at,
        last_attempt_at = EXCLUDED.last_attempt_at, last_success_at = EXCLUDED.last_success_at,
        last_error_at = EXCLUDED.last_error_at, last_error = EXCLUDED.last_error, data_at = EXCLUDED.data_at,
        epoch = EXCLUDED.epoch, height = EXCLUDED.height
    WHERE held.reported_at IS NULL OR EXCLUDED.reported_at > held.reported_at
    RETURNING name
)
SELECT (SELECT count(*) FROM merged) AS changed,
    (SELECT count(*) FROM status JOIN tracker_sources USING (name, reported_at)) AS held
"""

MERGE_SOURCE_UPTIME: Final = """
INSERT INTO source_uptime AS held (source, date, reachable)
SELECT source, date, reachable::bit(288)
FROM unnest($1::text[], $2::date[], $3::varbit[]) AS slots (source, date, reachable)
ORDER BY source COLLATE "C", date
ON CONFLICT (source, date) DO UPDATE SET reachable = held.reachable | EXCLUDED.reachable
WHERE held.reachable | EXCLUDED.reachable <> held.reachable
"""

# What a source said last of an epoch; of two totals told at one time the larger (merge.newest_totals).
MERGE_EPOCH_TOTALS: Final = """
INSERT INTO source_epoch_total AS held (source, epoch, total_ngonka, reported_at)
SELECT source, epoch, total_ngonka, reported_at
FROM unnest($1::text[], $2::integer[], $3::numeric[], $4::timestamptz[])
    AS said (source, epoch, total_ngonka, reported_at)
ORDER BY source COLLATE "C", epoch
ON CONFLICT (source, epoch) DO UPDATE SET total_ngonka = EXCLUDED.total_ngonka, reported_at = EXCLUDED.reported_at
WHERE (EXCLUDED.reported_at, EXCLUDED.total_ngonka) > (held.reported_at, held.total_ngonka)
"""

# One worker at a time is enough; the others find the lock taken and leave it to that one.
TAKE_UPTIME_DUTY: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('minegnk.uptime', 0))"

REFRESH_UPTIME: Final = """
WITH fresh AS (
    SELECT cached.node_id, uptime.uptime_percent
    FROM node_stats_cache AS cached
    LEFT JOIN node_uptime_percent(now(), interval '24 hours') AS uptime USING (node_id)
    WHERE cached.uptime_percent IS DISTINCT FROM uptime.uptime_percent
), locked AS (
    SELECT node_id FROM node_stats_cache WHERE node_id IN (SELECT node_id FROM fresh) ORDER BY node_id
    FOR NO KEY UPDATE
)
UPDATE node_stats_cache AS cached SET uptime_percent = fresh.uptime_percent
FROM locked JOIN fresh USING (node_id) WHERE cached.node_id = locked.node_id
"""


async def apply_readings(database: Database, readings: Sequence[NodeReading]) -> Applied:
    """Merge a batch of readings in one transaction.

    A reading changed a row if it became the node's row in node_stats_cache, or won one of its facts. Slots of uptime
    are a union, in which nothing is older or outranked: they are not looked at.
    """
    reduced = reduce_readings(readings)
    async with database.transaction() as connection:
        ids = await node_ids(connection, reduced.types)
        names = {node: identifier for identifier, node in ids.items()}
        await _merge_uptime(connection, ids, reduced)
        facts = await _merge_facts(connection, ids, reduced)
        won = [row for row in facts if row["changed"]]
        if described := [row for row in won if row["field"] != "tokens_per_sec"]:
            await connection.execute(PROJECT_NODE_FACTS, *_columns(described, "node_id", "field", "value"))
        if measured := [row for row in won if row["field"] == "tokens_per_sec"]:
            nodes = {ids[identifier] for identifier, _ in reduced.stats}
            await connection.execute(LOCK_STATS, list(nodes.union(row["node_id"] for row in measured)))
            await connection.execute(PROJECT_TOKENS, *_columns(measured, "node_id", "value"))
        stats = await _merge_stats(connection, ids, reduced)
    told: dict[bool, set[Identity]] = {True: set(), False: set()}
    for rows, time in ((stats, "fetched_at"), (facts, "observed_at")):
        for row in rows:
            told[row["changed"]].add((names[row["node_id"]], row["source"], row[time]))
    changed, held = told[True], told[False] - told[True]
    return Applied.counted(len(readings), distinct=len(reduced.identities), changed=len(changed), held=len(held))


async def _merge_stats(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> list[Record]:
    """Merge the rows of nodes; returns the readings that became one or were one already."""
    if not reduced.stats:
        return []
    newest = list(reduced.stats.values())
    return await connection.fetch(
        MERGE_STATS,
        [ids[reading.identifier] for reading in newest],
        [reading.source for reading in newest],
        [reading.observed_at for reading in newest],
        [reading.status for reading in newest],
        [reading.jobs_day for reading in newest],
        [reading.active_model for reading in newest],
        [reading.voting_weight for reading in newest],
    )


async def _merge_facts(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> list[Record]:
    """Merge the facts; returns those that won or were held already."""
    if not reduced.facts:
        return []
    return await connection.fetch(
        MERGE_FACTS,
        [ids[identifier] for identifier, _ in reduced.facts],
        [name for _, name in reduced.facts],
        [fact.value for fact in reduced.facts.values()],
        [fact.source for fact in reduced.facts.values()],
        [fact.observed_at for fact in reduced.facts.values()],
    )


async def _merge_uptime(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> None:
    if not reduced.slots:
        return
    await connection.execute(
        MERGE_UPTIME,
        [ids[identifier] for identifier, _ in reduced.slots],
        [day for _, day in reduced.slots],
        [BitString.frombytes(slot_bytes(slots.healthy)) for slots in reduced.slots.values()],
        [BitString.frombytes(slot_bytes(slots.seen)) for slots in reduced.slots.values()],
    )


async def apply_source_status(database: Database, statuses: Sequence[SourceStatus]) -> Applied:
    """Merge what sources say of themselves.

    That is the newest status of each, the slots in which they gave fresh data, and their own totals of epochs.
    (source, reported_at) identifies a status. As with readings, only its columns are looked at when it is counted.
    """
    newest: dict[str, SourceStatus] = {}
    reachable: dict[tuple[str, date], int] = {}
    for status in statuses:
        held = newest.get(status.source)
        if held is None or status.reported_at > held.reported_at:
            newest[status.source] = status
        if status.probes_health and status.data_at is not None:
            day, slot = slot_of(status.data_at)
            reachable[status.source, day] = reachable.get((status.source, day), 0) | slot_bit(slot)
    rows = list(newest.values())
    totals = newest_totals(statuses)
    async with database.transaction() as connection:
        (merged,) = await connection.fetch(
            MERGE_SOURCES,
            *(
                [getattr(status, column) for status in rows]
                for column in (
                    "source",
                    "kind",
                    "preference_seconds",
                    "earnings_order",
                    "probes_health",
                    "poll_interval_seconds",
                    "reported_at",
                    "last_attempt_at",
                    "last_success_at",
                    "last_error_at",
                    "last_error",
                    "data_at",
                    "epoch",
                    "height",
                )
            ),
        )
        if reachable:
            await connection.execute(
                MERGE_SOURCE_UPTIME,
                [source for source, _ in reachable],
                [day for _, day in reachable],
                [BitString.frombytes(slot_bytes(bits)) for bits in reachable.values()],
            )
        if totals:
            await connection.execute(
                MERGE_EPOCH_TOTALS,
                [source for source, _ in totals],
                [epoch for _, epoch in totals],
                [total_ngonka for _, total_ngonka in totals.values()],
                [reported_at for reported_at, _ in totals.values()],
            )
    distinct = len({(status.source, status.reported_at) for status in statuses})
    return Applied.counted(len(statuses), distinct=distinct, changed=merged["changed"], held=merged["held"])


async def refresh_uptime(database: Database) -> int | None:
    """Bring uptime_percent of every node up to now; the number of rows changed, None when another worker does it."""
    async with database.transaction() as connection:
        if not await connection.fetchval(TAKE_UPTIME_DUTY):
            return None
        status = await connection.execute(REFRESH_UPTIME)
    return int(status.rsplit(" ", 1)[1])


def _columns(rows: Sequence[Record], *names: str) -> list[list[object]]:
    return [[row[name] for row in rows] for name in names]
