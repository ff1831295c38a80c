-- The nightly pruning deletes old uptime and superseded versions of reports: these tables and no others.
-- depends: 0014.earnings-source-order

DO $$
BEGIN
    IF to_regrole('minegnk_cache') IS NOT NULL THEN
        GRANT DELETE ON node_uptime, source_uptime TO minegnk_cache;
    END IF;
    IF to_regrole('minegnk_earnings') IS NOT NULL THEN
        GRANT DELETE ON earnings_ledger_version TO minegnk_earnings;
    END IF;
END $$;
