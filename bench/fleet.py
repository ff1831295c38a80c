"""A fleet of made-up nodes with a past, written straight into the tables, to measure reading."""

import asyncio
import sys

import asyncpg

from services.kernel.database import connect_arguments
from services.kernel.settings import DatabaseSettings, load

# $1: how many nodes, $2: how many days. Amounts have a ninth digit; epochs settle a little later each day.
_FILL = """
INSERT INTO tracker_sources (name, kind, preference_seconds, earnings_order, probes_health, poll_interval_seconds,
    reported_at, last_attempt_at, last_success_at, data_at, epoch, height)
VALUES ('hyperfusion', 'hyperfusion', 600, 20, true, 60, now(), now(), now(), now(), {days}, 4000000),
    ('gonka_api', 'gonka_api', 0, 0, false, 60, now(), now(), now(), now(), {days}, 4000000),
    ('gonkascan', 'gonkascan', 480, 10, true, 60, now(), now(), now(), now(), {days}, 4000000);
INSERT INTO earnings_source_order SELECT name, earnings_order FROM tracker_sources;
INSERT INTO nodes (identifier, identifier_type, display_name, gpu_type, region)
SELECT 'gonka1' || substr(md5('node' || i) || md5(i::text), 1, 38), 'wallet', 'host ' || i,
    (ARRAY['H100 80GB', 'H200 141GB', 'A100 80GB', 'RTX 3090 24GB', NULL])[1 + i % 5],
    (ARRAY['Germany', 'Finland', 'United States', NULL])[1 + i % 4]
FROM generate_series(1, {nodes}) AS i;
INSERT INTO epoch_settlement (epoch, settled_at, exact, observed_at, source)
SELECT e, date_trunc('day', now()) - make_interval(days => {days} - e + 1, hours => -10, secs => -60 * e), true, now(),
    'gonka_api'
FROM generate_series(1, {days}) AS e;
INSERT INTO earnings_node (node_id, basis) SELECT id, 'epoch' FROM nodes;
INSERT INTO earnings_ledger (node_id, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed,
    observed_at)
SELECT id, 'gonka_api', 'epoch', epoch, 1000 + reward, 1000, reward, true, true, settled_at
FROM epoch_settlement
CROSS JOIN (SELECT id, abs(hashtext(identifier)) AS seed FROM nodes) AS node
CROSS JOIN LATERAL (SELECT 100000000000 + (seed::bigint * epoch) % 900000000001 AS reward) AS paid
ORDER BY epoch, id;
INSERT INTO earnings_history (node_id, date, earnings_gnk, source)
SELECT node_id, (settled_at AT TIME ZONE 'UTC')::date, gnk_of_ngonka(amount_ngonka), 'gonka_api'
FROM earnings_epochs ORDER BY epoch, node_id;
INSERT INTO node_stats_cache (node_id, status, earnings_day, earnings_total, uptime_percent, jobs_day, active_model,
    voting_weight, source, fetched_at)
SELECT id, (ARRAY['healthy', 'healthy', 'healthy', 'healthy', 'unhealthy', 'jailed'])[1 + n % 6],
    (SELECT earnings_gnk FROM earnings_history WHERE node_id = numbered.id ORDER BY date DESC LIMIT 1),
    (SELECT sum(earnings_gnk) FROM earnings_history WHERE node_id = numbered.id),
    99 - n % 10, n % 2000, 'Qwen/Qwen3-32B-FP8', n, 'hyperfusion', now()
FROM (SELECT id, row_number() OVER (ORDER BY identifier) AS n FROM nodes) AS numbered;
INSERT INTO node_uptime (node_id, date, healthy, seen)
SELECT id, day::date, ~B'0'::bit(288), ~B'0'::bit(288)
FROM nodes, generate_series(current_date - 30, current_date, interval '1 day') AS day ORDER BY day, id;
INSERT INTO source_uptime (source, date, reachable)
SELECT 'hyperfusion', day::date, ~B'0'::bit(288)
FROM generate_series(current_date - 30, current_date, interval '1 day') AS day;
SELECT earnings_refresh();
ANALYZE;
"""


async def fill(settings: DatabaseSettings, *, nodes: int, days: int) -> list[str]:
    """Fill empty, migrated tables; returns the nodes' identifiers."""
    connection = await asyncpg.connect(**connect_arguments(settings))
    try:
        await connection.execute(_FILL.format(nodes=nodes, days=days))
        return [row["identifier"] for row in await connection.fetch("SELECT identifier FROM nodes ORDER BY 1")]
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(fill(load(DatabaseSettings), nodes=int(sys.argv[1]), days=int(sys.argv[2])))
