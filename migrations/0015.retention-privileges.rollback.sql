DO $$
BEGIN
    IF to_regrole('minegnk_cache') IS NOT NULL THEN
        REVOKE DELETE ON node_uptime, source_uptime FROM minegnk_cache;
    END IF;
    IF to_regrole('minegnk_earnings') IS NOT NULL THEN
        REVOKE DELETE ON earnings_ledger_version FROM minegnk_earnings;
    END IF;
END $$;
