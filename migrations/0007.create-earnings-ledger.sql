-- What each source reported that a node earned, exact to the ngonka: earnings_history is projected from it.
-- depends: 0006.add-missing-user-columns

-- One row per node with earnings: locked, in node_id order, before a node's ledger is touched.
CREATE TABLE IF NOT EXISTS earnings_node (
    node_id uuid PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    basis text CHECK (basis IN ('epoch', 'day', 'total'))
);

-- When an epoch was settled decides the date its amounts belong to. Names of sources break ties: they compare by byte,
-- as they do in memory.
CREATE TABLE IF NOT EXISTS epoch_settlement (
    epoch integer PRIMARY KEY CHECK (epoch >= 0),
    settled_at timestamptz NOT NULL,
    exact boolean NOT NULL,
    observed_at timestamptz NOT NULL,
    source varchar(50) COLLATE "C" NOT NULL
);

-- period: an epoch's number, or a UTC date as yyyymmdd.
CREATE TABLE IF NOT EXISTS earnings_ledger (
    node_id uuid NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    source varchar(50) COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('epoch', 'day', 'total')),
    period integer NOT NULL CHECK (period >= 0),
    amount_ngonka numeric(38, 0) NOT NULL,
    work_ngonka numeric(38, 0),
    reward_ngonka numeric(38, 0),
    final boolean NOT NULL,
    claimed boolean,
    observed_at timestamptz NOT NULL,
    PRIMARY KEY (node_id, source, kind, period)
);

-- The nodes of an epoch: a better settlement date projects them all again.
CREATE INDEX IF NOT EXISTS idx_earnings_ledger_epoch ON earnings_ledger (period, node_id) WHERE kind = 'epoch';

-- Every distinct version of a ledger row, so that a restatement can be explained. The times at which a version was seen
-- do not make it another one (the newest epochs are polled again and again): observed_at is the earliest of them.
CREATE TABLE IF NOT EXISTS earnings_ledger_version (
    node_id uuid NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
    source varchar(50) COLLATE "C" NOT NULL,
    kind text NOT NULL CHECK (kind IN ('epoch', 'day', 'total')),
    period integer NOT NULL CHECK (period >= 0),
    amount_ngonka numeric(38, 0) NOT NULL,
    work_ngonka numeric(38, 0),
    reward_ngonka numeric(38, 0),
    final boolean NOT NULL,
    claimed boolean,
    observed_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT earnings_ledger_version_key UNIQUE NULLS NOT DISTINCT
        (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed)
);
