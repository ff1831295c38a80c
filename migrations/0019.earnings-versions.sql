-- A row of the ledger is itself the version that stands; earnings_ledger_version has what a source said besides.
-- depends: 0018.source-epoch-totals

-- Nearly every report is told once and stands for ever: as a version of its own it took a third of what writing it
-- costs, and as much room as its row. Whatever a row said before it was overwritten becomes a version here, whoever
-- overwrites it. A version that is also the row's may stand there too: with the time at which it was first observed.

-- When what the row says was written. Of a row from before this migration its version knows.
ALTER TABLE earnings_ledger ADD COLUMN IF NOT EXISTS version_recorded_at timestamptz;
ALTER TABLE earnings_ledger ALTER COLUMN version_recorded_at SET DEFAULT now();

-- An estimate of an epoch that has not settled is no statement to be kept.
CREATE OR REPLACE FUNCTION earnings_keep_versions() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO earnings_ledger_version AS held
        (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at,
         recorded_at)
    SELECT was.node_id, was.source, was.kind, was.period, was.final, was.amount_ngonka, was.work_ngonka,
        was.reward_ngonka, was.claimed, was.observed_at, coalesce(was.version_recorded_at, now())
    FROM rows_before AS was
    LEFT JOIN LATERAL (
        SELECT observed_at FROM earnings_ledger_version AS known
        WHERE (known.node_id, known.source, known.kind, known.period, known.final, known.amount_ngonka)
            = (was.node_id, was.source, was.kind, was.period, was.final, was.amount_ngonka)
        AND (known.work_ngonka, known.reward_ngonka, known.claimed)
            IS NOT DISTINCT FROM (was.work_ngonka, was.reward_ngonka, was.claimed)
        LIMIT 1
    ) AS known ON true
    WHERE (was.final OR was.kind <> 'epoch') AND (known.observed_at IS NULL OR was.observed_at < known.observed_at)
    ORDER BY was.node_id, was.source, was.kind, was.period
    ON CONFLICT (node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed) DO UPDATE
    SET observed_at = EXCLUDED.observed_at WHERE EXCLUDED.observed_at < held.observed_at;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER earnings_ledger_updated AFTER UPDATE ON earnings_ledger
REFERENCING OLD TABLE AS rows_before FOR EACH STATEMENT EXECUTE FUNCTION earnings_keep_versions();

-- Every distinct version of a ledger row, the one that stands included: what restatements are explained with.
CREATE OR REPLACE VIEW earnings_version AS
SELECT node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at,
    recorded_at
FROM earnings_ledger_version
UNION ALL
SELECT node_id, source, kind, period, final, amount_ngonka, work_ngonka, reward_ngonka, claimed, observed_at,
    version_recorded_at
FROM earnings_ledger AS standing
WHERE (final OR kind <> 'epoch') AND NOT EXISTS (
    SELECT FROM earnings_ledger_version AS known
    WHERE (known.node_id, known.source, known.kind, known.period, known.final, known.amount_ngonka)
        = (standing.node_id, standing.source, standing.kind, standing.period, standing.final, standing.amount_ngonka)
    AND (known.work_ngonka, known.reward_ngonka, known.claimed)
        IS NOT DISTINCT FROM (standing.work_ngonka, standing.reward_ngonka, standing.claimed)
);

DO $$
BEGIN
    IF to_regrole('minegnk_earnings') IS NOT NULL THEN
        GRANT SELECT ON earnings_version TO minegnk_earnings;
    END IF;
    IF to_regrole('minegnk_api') IS NOT NULL THEN
        GRANT SELECT ON earnings_version TO minegnk_api;
    END IF;
    IF to_regrole('minegnk_admin') IS NOT NULL THEN
        GRANT SELECT ON earnings_version TO minegnk_admin;
    END IF;
END $$;
