-- What each node earned on each UTC date, in GNK.
-- depends: 0003.create-node-stats-cache-table

CREATE TABLE IF NOT EXISTS earnings_history (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    node_id uuid REFERENCES nodes (id) ON DELETE CASCADE,
    date date NOT NULL,
    earnings_gnk decimal(20, 8) NOT NULL,
    source varchar(50),
    created_at timestamptz DEFAULT now(),
    UNIQUE (node_id, date)
);

CREATE INDEX IF NOT EXISTS idx_earnings_node_date ON earnings_history (node_id, date DESC);

CREATE INDEX IF NOT EXISTS idx_earnings_date ON earnings_history (date);
