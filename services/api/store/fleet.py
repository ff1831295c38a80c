"""All nodes together, and the sources they are known from."""

from datetime import timedelta
from typing import Final

from asyncpg import Record

from services.kernel.database import Connection

NODE_COUNTS: Final = """
SELECT count(*) AS total,
    count(*) FILTER (WHERE status = 'healthy') AS healthy,
    count(*) FILTER (WHERE status = 'unhealthy') AS unhealthy,
    count(*) FILTER (WHERE status = 'jailed') AS jailed,
    count(*) FILTER (WHERE status = 'offline') AS offline,
    count(*) FILTER (WHERE status IS NULL) AS unknown,
    count(*) FILTER (WHERE fetched_at IS NULL OR fetched_at < now() - $1::interval) AS stale,
    round(avg(uptime_percent), 2) AS uptime_percent,
    sum(voting_weight) AS voting_weight,
    now() AS as_of
FROM nodes LEFT JOIN node_stats_cache ON node_id = id
"""

GROUP_COUNTS: Final = """
SELECT dimension, key, count(*) AS nodes
FROM nodes LEFT JOIN node_stats_cache ON node_id = id
CROSS JOIN LATERAL (
    VALUES ('gpu_type', gpu_type), ('region', region), ('model', active_model)
) AS groups (dimension, name)
CROSS JOIN LATERAL (SELECT coalesce(name, 'unknown') AS key) AS named
GROUP BY dimension, key
ORDER BY dimension, nodes DESC, key COLLATE "C"
"""

DAILY: Final = """
SELECT date, earnings_gnk, average_7d_gnk, nodes
FROM earnings_moving_averages JOIN earnings_daily AS daily USING (dimension, key, date, earnings_gnk)
WHERE dimension = 'fleet' AND date > (now() AT TIME ZONE 'UTC')::date - 90
ORDER BY date
"""

SETTLEMENTS: Final = """
SELECT epoch, settled_at, exact, coalesce(nodes, 0) AS nodes, earnings_gnk
FROM (SELECT epoch, settled_at, exact FROM epoch_settlement ORDER BY epoch DESC LIMIT 6) AS newest
LEFT JOIN (
    SELECT epoch, count(*) AS nodes, gnk_of_ngonka(sum(amount_ngonka)) AS earnings_gnk FROM earnings_epochs
    -- An array: a join would not reach the ledger's index through the view.
    WHERE epoch = ANY (ARRAY(SELECT epoch FROM epoch_settlement ORDER BY epoch DESC LIMIT 6))
    GROUP BY epoch
) AS counted USING (epoch)
ORDER BY epoch DESC
"""

# Of several sources' estimates of one node the newest counts; only those of the newest epoch are added up.
ESTIMATE: Final = """
SELECT epoch, count(*) AS nodes, gnk_of_ngonka(sum(amount_ngonka)) AS estimate_gnk,
    array_agg(DISTINCT method) FILTER (WHERE method IS NOT NULL) AS methods, min(observed_at) AS observed_at
FROM (
    SELECT DISTINCT ON (node_id) epoch, amount_ngonka, method, observed_at FROM earnings_estimates
    WHERE epoch = (SELECT max(epoch) FROM earnings_estimates)
    ORDER BY node_id, observed_at DESC, source
) AS newest
GROUP BY epoch
"""

SOURCES: Final = """
SELECT tracker_sources.*, coalesce(known.nodes, 0) AS nodes, now() AS as_of
FROM tracker_sources
LEFT JOIN (SELECT source, count(*) AS nodes FROM node_stats_cache GROUP BY source) AS known ON known.source = name
ORDER BY name
"""

# Within its interval a poll brings nothing new; nobody has to be asked for it.
POLL_IS_DUE: Final = """
SELECT last_attempt_at IS NULL OR last_attempt_at < now() - make_interval(secs => coalesce(poll_interval_seconds, 0))
FROM tracker_sources WHERE name = $1
"""


async def node_counts(connection: Connection, ttl: timedelta) -> Record:
    """One row: nodes by status, and the means and sums of all."""
    row = await connection.fetchrow(NODE_COUNTS, ttl)
    assert row is not None, "an aggregate has a row"
    return row


async def group_counts(connection: Connection) -> list[Record]:
    """Nodes by GPU type, region and model, the most frequent first."""
    return await connection.fetch(GROUP_COUNTS)


async def daily(connection: Connection) -> list[Record]:
    """The fleet's last 90 days, with averages."""
    return await connection.fetch(DAILY)


async def settlements(connection: Connection) -> list[Record]:
    """The newest six epochs."""
    return await connection.fetch(SETTLEMENTS)


async def estimate(connection: Connection) -> Record | None:
    """The running epoch's estimates, added up; None where there are none."""
    return await connection.fetchrow(ESTIMATE)


async def sources(connection: Connection) -> list[Record]:
    """Every source's row, and how many nodes' newest reading is from it."""
    return await connection.fetch(SOURCES)


async def poll_is_due(connection: Connection, source: str) -> bool:
    """Whether the source has not been polled within its interval; False where nobody polls it at all."""
    return bool(await connection.fetchval(POLL_IS_DUE, source))
