-- What the cache service merges into: sources and their preferences, facts about nodes, uptime.
-- depends: 0007.create-earnings-ledger

-- Names of sources break ties: they compare by byte, as they do in memory.
CREATE TABLE IF NOT EXISTS tracker_sources (
    name varchar(50) COLLATE "C" PRIMARY KEY,
    kind varchar(50),
    preference_seconds integer NOT NULL DEFAULT 0,
    earnings_order integer NOT NULL DEFAULT 100,
    probes_health boolean NOT NULL DEFAULT false,
    poll_interval_seconds integer,
    reported_at timestamptz,
    last_attempt_at timestamptz,
    last_success_at timestamptz,
    last_error_at timestamptz,
    last_error text,
    data_at timestamptz,
    epoch integer,
    height bigint
);

CREATE TABLE IF NOT EXISTS node_facts (
    node_id uuid NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    field text NOT NULL CHECK (field IN ('tokens_per_sec', 'display_name', 'gpu_type', 'region')),
    value text NOT NULL,
    source varchar(50) COLLATE "C" NOT NULL,
    observed_at timestamptz NOT NULL,
    PRIMARY KEY (node_id, field)
);

-- A UTC date has 288 slots of five minutes. Slot i is bit i counted from the left: get_bit(healthy, i).
CREATE TABLE IF NOT EXISTS node_uptime (
    node_id uuid NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    date date NOT NULL,
    healthy bit(288) NOT NULL DEFAULT B'0'::bit(288),
    seen bit(288) NOT NULL DEFAULT B'0'::bit(288),
    PRIMARY KEY (node_id, date)
);

-- A window takes all nodes of a few dates.
CREATE INDEX IF NOT EXISTS idx_node_uptime_date ON node_uptime (date);

CREATE TABLE IF NOT EXISTS source_uptime (
    source varchar(50) COLLATE "C" NOT NULL,
    date date NOT NULL,
    reachable bit(288) NOT NULL DEFAULT B'0'::bit(288),
    PRIMARY KEY (source, date)
);

-- The uptime of every node that was seen in the window: the five-minute slots within `span` that had ended at `until`.
-- healthy_slots counts only slots in which a source was reachable, reachable_slots all of these in the window; the
-- percentage is NULL where there are none. Slots are numbered from 1970-01-01 UTC, and each date's bits are masked as a
-- whole: no row per slot.
CREATE OR REPLACE FUNCTION node_uptime_percent(until timestamptz, span interval)
RETURNS TABLE (node_id uuid, healthy_slots integer, reachable_slots integer, uptime_percent numeric(5, 2))
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH ends AS (
        SELECT floor(extract(epoch FROM until) / 300)::integer AS stop
    ), bounds AS (
        SELECT stop - floor(extract(epoch FROM span) / 300)::integer AS start, stop FROM ends
    ), masks AS (
        SELECT date '1970-01-01' + day AS date,
               (~B'0'::bit(288) >> greatest(start - 288 * day, 0))
               & (~B'0'::bit(288) << (288 - least(stop - 288 * day, 288))) AS mask
        FROM bounds, generate_series(start / 288, (stop - 1) / 288) AS day
        WHERE start < stop
    ), reachable AS (
        SELECT masks.date, masks.mask, masks.mask & coalesce(bit_or(source_uptime.reachable), B'0'::bit(288)) AS bits
        FROM masks LEFT JOIN source_uptime ON source_uptime.date = masks.date
        GROUP BY masks.date, masks.mask
    ), total AS (
        SELECT sum(bit_count(bits)) AS slots FROM reachable
    ), nodes_seen AS (
        SELECT node_uptime.node_id, sum(bit_count(node_uptime.healthy & reachable.bits)) AS slots
        FROM node_uptime JOIN reachable ON reachable.date = node_uptime.date
        WHERE node_uptime.date BETWEEN (SELECT min(date) FROM masks) AND (SELECT max(date) FROM masks)
        GROUP BY node_uptime.node_id
        HAVING bool_or(bit_count(node_uptime.seen & reachable.mask) > 0)
    )
    SELECT nodes_seen.node_id,
           nodes_seen.slots::integer,
           total.slots::integer,
           round(100 * nodes_seen.slots / nullif(total.slots, 0), 2)::numeric(5, 2)
    FROM nodes_seen, total
$$;
