"""The cache's statements. Each is a merge: repeating it, or running it in another order, gives the same rows.

Lock order: node_uptime, node_facts, nodes, node_stats_cache, each by node_id; tracker_sources, source_uptime,
source_epoch_total, each by source. A row that would not change is not touched: a replay of old readings writes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

from asyncpg import Record

from services.cache.merge import Groups, Reduced, grouped, newest_totals, reduce_groups
from services.cache.uptime import Slots, slot_bit, slot_of, slot_text
from services.kernel.arrays import column, joined, joined_numbers, joined_times, moment
from services.kernel.database import Connection, Database
from services.kernel.events import OPERATOR_SOURCE, NodeReading, SourceStatus
from services.kernel.halving import Applied
from services.kernel.lanes import apply_in_lanes
from services.kernel.nodes import known_node_ids

Identity: TypeAlias = tuple[UUID, str, datetime]
"""What identifies a reading: its node, its source, when it was observed."""

_SLOTS: Final = "slots of uptime"

# Preferences between sources as a map, read once a statement: a look-up in the table for each row took a third longer.
# A subquery, so that a row which another transaction changed meanwhile is judged by its own source's preference.
_PREFERENCES = "(SELECT coalesce(jsonb_object_agg(name, preference_seconds), '{}') FROM tracker_sources)"


def _rank(row: str) -> str:
    """When a row's reading was seen, with its source's head start; of equals the greater source name counts."""
    return f"{row}.fetched_at + make_interval(secs => coalesce(({_PREFERENCES} -> {row}.source)::integer, 0))"


def _newer(reading: str, row: str) -> str:
    """Whether a reading outranks a row; one that earnings made (fetched_at NULL) ranks lowest."""
    return f"""CASE
        WHEN {row}.fetched_at IS NULL THEN true
        WHEN {reading}.source = {row}.source THEN {reading}.fetched_at > {row}.fetched_at
        ELSE ({_rank(reading)}, {reading}.source COLLATE "C") > ({_rank(row)}, coalesce({row}.source, ''))
    END"""


# Last writer wins by rank. The first test spares old readings a lock; the second decides under the lock. Returned are
# the readings that did not become rows, and whether they were rows when the statement began: usually few.
# LATERAL ... LIMIT here and below: a look-up for each row, never a join with the whole table by a guess of the planner.
MERGE_STATS: Final = f"""
WITH reading AS (
    SELECT node_id, source, {moment("observed")} AS fetched_at, status, jobs_day, active_model, voting_weight
    FROM unnest(
        $1::uuid[], {column(2, "text")}, {column(3, "bigint")}, {column(4, "text")}, {column(5, "integer")},
        {column(6, "text")}, {column(7, "numeric")}
    ) AS reading (node_id, source, observed, status, jobs_day, active_model, voting_weight)
), incoming AS (
    SELECT DISTINCT ON (node_id) *
    FROM reading
    ORDER BY node_id, {_rank("reading")} DESC, source COLLATE "C" DESC
), merged AS (
    INSERT INTO node_stats_cache AS held
        (node_id, source, fetched_at, status, jobs_day, active_model, voting_weight)
    SELECT incoming.*
    FROM incoming LEFT JOIN LATERAL (
        SELECT source, fetched_at FROM node_stats_cache AS known WHERE known.node_id = incoming.node_id LIMIT 1
    ) AS known ON true
    WHERE {_newer("incoming", "known")}
    ORDER BY node_id
    ON CONFLICT (node_id) DO UPDATE SET
        source = EXCLUDED.source, fetched_at = EXCLUDED.fetched_at, status = EXCLUDED.status,
        jobs_day = EXCLUDED.jobs_day, active_model = EXCLUDED.active_model, voting_weight = EXCLUDED.voting_weight
    WHERE {_newer("EXCLUDED", "held")}
    RETURNING node_id, source
)
SELECT node_id, source, fetched_at, (
        SELECT known.source = reading.source AND known.fetched_at = reading.fetched_at
        FROM node_stats_cache AS known WHERE known.node_id = reading.node_id
    ) AS held
FROM reading
WHERE NOT EXISTS (SELECT FROM merged WHERE merged.node_id = reading.node_id AND merged.source = reading.source)
"""  # noqa: S608 - put together from constants


def _fact_rank(row: str) -> str:
    """Last writer wins; a person's value outranks every tracker's (merge.Fact.rank)."""
    return f"""({row}.source = '{OPERATOR_SOURCE}', {row}.observed_at, {row}.source COLLATE "C")"""


# Returned are all facts: whether they won (changed), also those whose value stayed and only their time advanced, and
# whether they were held already.
MERGE_FACTS: Final = f"""
WITH fact AS (
    SELECT node_id, field, value, source, {moment("observed")} AS observed_at
    FROM unnest($1::uuid[], {column(2, "text")}, {column(3, "text")}, {column(4, "text")}, {column(5, "bigint")})
        AS fact (node_id, field, value, source, observed)
), compared AS (
    SELECT fact.*, known.source IS NULL OR {_fact_rank("fact")} > {_fact_rank("known")} AS newer,
        coalesce((fact.source, fact.observed_at) = (known.source, known.observed_at), false) AS held
    FROM fact LEFT JOIN LATERAL (
        SELECT * FROM node_facts AS known WHERE (known.node_id, known.field) = (fact.node_id, fact.field) LIMIT 1
    ) AS known ON true
), merged AS (
    INSERT INTO node_facts AS held (node_id, field, value, source, observed_at)
    SELECT node_id, field, value, source, observed_at FROM compared WHERE newer
    ORDER BY node_id, field
    ON CONFLICT (node_id, field) DO UPDATE SET
        value = EXCLUDED.value, source = EXCLUDED.source, observed_at = EXCLUDED.observed_at
    WHERE {_fact_rank("EXCLUDED")} > {_fact_rank("held")}
    RETURNING node_id, field
)
SELECT node_id, field, value, source, observed_at, merged.node_id IS NOT NULL AS changed, compared.held
FROM compared LEFT JOIN merged USING (node_id, field)
"""  # noqa: S608 - put together from constants

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

MERGE_UPTIME: Final = f"""
INSERT INTO node_uptime AS held (node_id, date, healthy, seen)
SELECT slots.node_id, slots.date, slots.healthy::bit(288), slots.seen::bit(288)
FROM unnest($1::uuid[], {column(2, "date")}, {column(3, "varbit")}, {column(4, "varbit")})
    AS slots (node_id, date, healthy, seen)
LEFT JOIN LATERAL (
    SELECT * FROM node_uptime AS known WHERE (known.node_id, known.date) = (slots.node_id, slots.date) LIMIT 1
) AS known ON true
WHERE known.node_id IS NULL OR known.healthy | slots.healthy::bit(288) <> known.healthy
    OR known.seen | slots.seen::bit(288) <> known.seen
ORDER BY slots.node_id, slots.date
ON CONFLICT (node_id, date) DO UPDATE SET
    healthy = held.healthy | EXCLUDED.healthy, seen = held.seen | EXCLUDED.seen
"""  # noqa: S608 - put together from constants

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

MERGE_SOURCE_UPTIME: Final = f"""
INSERT INTO source_uptime AS held (source, date, reachable)
SELECT source, date, reachable::bit(288)
FROM unnest($1::text[], {column(2, "date")}, {column(3, "varbit")}) AS slots (source, date, reachable)
ORDER BY source COLLATE "C", date
ON CONFLICT (source, date) DO UPDATE SET reachable = held.reachable | EXCLUDED.reachable
WHERE held.reachable | EXCLUDED.reachable <> held.reachable
"""  # noqa: S608 - put together from constants

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
    """Merge a batch of readings; a large one in several transactions, each of other nodes."""
    groups = list(grouped(readings).items())
    return await apply_in_lanes(groups, partial(_apply, database), node_of=lambda group: group[0][0], rows=len(groups))


async def _apply(database: Database, groups: Groups) -> Applied:
    """Merge readings in one transaction.

    A reading changed a row if it became the node's row in node_stats_cache, or won one of its facts. Slots of uptime
    are a union, in which nothing is older or outranked: they are not looked at.
    """
    reduced = reduce_groups(groups)
    async with database.transaction() as connection:
        ids = await known_node_ids(database, connection, reduced.types)
        slots = _new_slots(database, ids, reduced)
        await _merge_uptime(connection, slots)
        facts = await _merge_facts(connection, ids, reduced)
        won = [row for row in facts if row["changed"]]
        if described := [row for row in won if row["field"] != "tokens_per_sec"]:
            await connection.execute(PROJECT_NODE_FACTS, *_columns(described, "node_id", "field", "value"))
        if measured := [row for row in won if row["field"] == "tokens_per_sec"]:
            nodes = {ids[identifier] for identifier, _ in reduced.stats}
            await connection.execute(LOCK_STATS, list(nodes.union(row["node_id"] for row in measured)))
            await connection.execute(PROJECT_TOKENS, *_columns(measured, "node_id", "value"))
        unchanged = await _merge_stats(connection, ids, reduced)
    database.remember(_SLOTS, slots)
    readings = sum(len(group) if isinstance(group, list) else 1 for _, group in groups)
    return _counted(readings, ids, reduced, unchanged, facts)


def _counted(
    readings: int, ids: Mapping[str, UUID], reduced: Reduced, unchanged: Sequence[Record], facts: Sequence[Record]
) -> Applied:
    """Each reading once, by what became of it: it may be told of as a row and, by its facts, several times more."""
    no_rows: dict[Identity, bool] = {
        (row["node_id"], row["source"], row["fetched_at"]): bool(row["held"]) for row in unchanged
    }
    changed = len(reduced.stats) - len(no_rows)
    names = {ids[identifier]: identifier for identifier, _ in reduced.facts}
    won: set[Identity] = set()
    held = {identity for identity, was_row in no_rows.items() if was_row}
    for row in facts:
        node, source, observed_at = row["node_id"], row["source"], row["observed_at"]
        newest = reduced.stats.get((names[node], source))
        if newest and newest.observed_at == observed_at and (node, source, observed_at) not in no_rows:
            continue  # counted as a row
        if row["changed"]:
            won.add((node, source, observed_at))
        elif row["held"]:
            held.add((node, source, observed_at))
    return Applied.counted(readings, distinct=reduced.distinct, changed=changed + len(won), held=len(held - won))


async def _merge_stats(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> list[Record]:
    """Merge the rows of nodes; returns the readings that became none."""
    if not reduced.stats:
        return []
    newest = list(reduced.stats.values())
    return await connection.fetch(
        MERGE_STATS,
        [ids[reading.identifier] for reading in newest],
        joined([reading.source for reading in newest]),
        joined_times([reading.observed_at for reading in newest]),
        joined([reading.status for reading in newest]),
        joined_numbers([reading.jobs_day for reading in newest]),
        joined([reading.active_model for reading in newest]),
        joined_numbers([reading.voting_weight for reading in newest]),
    )


async def _merge_facts(connection: Connection, ids: Mapping[str, UUID], reduced: Reduced) -> list[Record]:
    """Merge the facts; returns those that won or were held already."""
    if not reduced.facts:
        return []
    return await connection.fetch(
        MERGE_FACTS,
        [ids[identifier] for identifier, _ in reduced.facts],
        joined([name for _, name in reduced.facts]),
        joined([fact.value for fact in reduced.facts.values()]),
        joined([fact.source for fact in reduced.facts.values()]),
        joined_times(fact.observed_at for fact in reduced.facts.values()),
    )


def _new_slots(database: Database, ids: Mapping[str, UUID], reduced: Reduced) -> dict[tuple[UUID, date], Slots]:
    """The slots that are not known to be in the table: a node's readings of five minutes change them once."""
    known: Mapping[tuple[UUID, date], Slots] = database.remembered(_SLOTS)
    new = {}
    for (identifier, day), slots in reduced.slots.items():
        key = (ids[identifier], day)  # by id: a node that was deleted and made anew has no slots yet
        held = known.get(key)
        if held is None:
            new[key] = slots
        elif slots.seen | held.seen != held.seen or slots.healthy | held.healthy != held.healthy:
            new[key] = slots | held
    return new


async def _merge_uptime(connection: Connection, slots: Mapping[tuple[UUID, date], Slots]) -> None:
    if not slots:
        return
    await connection.execute(
        MERGE_UPTIME,
        [node for node, _ in slots],
        joined([day.isoformat() for _, day in slots]),
        joined([slot_text(of_day.healthy) for of_day in slots.values()]),
        joined([slot_text(of_day.seen) for of_day in slots.values()]),
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
                joined([day.isoformat() for _, day in reachable]),
                joined(list(map(slot_text, reachable.values()))),
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
