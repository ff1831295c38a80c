-- The version before expects a version of every row.
DO $$
BEGIN
    IF to_regclass('earnings_version') IS NOT NULL THEN
        INSERT INTO earnings_ledger_version
            (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at,
             recorded_at)
        SELECT node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at,
            coalesce(recorded_at, now())
        FROM earnings_version
        ON CONFLICT (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed)
        DO NOTHING;
    END IF;
END $$;

DROP VIEW IF EXISTS earnings_version;
DROP TRIGGER IF EXISTS earnings_ledger_updated ON earnings_ledger;
DROP FUNCTION IF EXISTS earnings_keep_versions();
ALTER TABLE earnings_ledger DROP COLUMN IF EXISTS version_recorded_at;
