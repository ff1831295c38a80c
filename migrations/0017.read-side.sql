-- What the read API needs: which report of an epoch counts, as a view, and API keys.
-- depends: 0016.earnings-estimates

-- One row per node and epoch whose amount is part of history: of the final reports, the one of the first source. Only
-- nodes whose history rests on epochs have any. A condition on node_id or epoch reaches the ledger's index.
CREATE OR REPLACE VIEW earnings_epochs AS
SELECT DISTINCT ON (ledger.node_id, ledger.period)
    ledger.node_id, ledger.period AS epoch, settlement.settled_at, settlement.exact, ledger.source,
    ledger.amount_ngonka, ledger.work_ngonka, ledger.reward_ngonka, ledger.claimed, ledger.observed_at
FROM earnings_ledger AS ledger
JOIN earnings_node AS node ON node.node_id = ledger.node_id AND node.basis = 'epoch'
JOIN epoch_settlement AS settlement ON settlement.epoch = ledger.period
LEFT JOIN earnings_source_order AS preference ON preference.source = ledger.source
WHERE ledger.kind = 'epoch' AND ledger.final
ORDER BY ledger.node_id, ledger.period, coalesce(preference.earnings_order, 100), ledger.source;

-- The few rows that are estimates are found without reading all that are final.
CREATE INDEX IF NOT EXISTS idx_earnings_ledger_estimate ON earnings_ledger (period) WHERE kind = 'epoch' AND NOT final;

-- Who may ask the API. A key's secret is 32 random bytes: its SHA-256 cannot be turned back, and needs no salt.
CREATE TABLE IF NOT EXISTS api_keys (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    name varchar(100) NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'users', 'admin']),
    user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

DO $$
BEGIN
    IF to_regrole('minegnk_api') IS NOT NULL THEN
        GRANT SELECT ON earnings_epochs, api_keys TO minegnk_api;
    END IF;
    IF to_regrole('minegnk_admin') IS NOT NULL THEN
        GRANT SELECT ON earnings_epochs TO minegnk_admin;
        GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO minegnk_admin;
    END IF;
END $$;
