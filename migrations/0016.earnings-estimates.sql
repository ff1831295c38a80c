-- What nodes may earn in the running epoch: kept apart from history, with the method of the estimate.
-- depends: 0014.earnings-source-order

-- How an amount that is not final was estimated.
ALTER TABLE earnings_ledger ADD COLUMN IF NOT EXISTS method varchar(100);

-- One row per node, source and epoch that has not settled yet. Never part of earnings_history or of any total: the final
-- report takes the row's place in the ledger.
CREATE OR REPLACE VIEW earnings_estimates AS
SELECT node_id, identifier, source, period AS epoch, amount_ngonka, work_ngonka, reward_ngonka,
    gnk_of_ngonka(amount_ngonka) AS estimate_gnk, method, observed_at
FROM earnings_ledger JOIN nodes ON nodes.id = node_id
WHERE kind = 'epoch' AND NOT final AND period > coalesce((SELECT max(epoch) FROM epoch_settlement), -1);

DO $$
BEGIN
    IF to_regrole('minegnk_api') IS NOT NULL THEN
        GRANT SELECT ON earnings_estimates TO minegnk_api;
    END IF;
    IF to_regrole('minegnk_admin') IS NOT NULL THEN
        GRANT SELECT ON earnings_estimates TO minegnk_admin;
    END IF;
END $$;
