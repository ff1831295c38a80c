-- What sources themselves say that an epoch paid to all hosts together: the ledger is reconciled with it.
-- depends: 0017.read-side

-- Reward coins in ngonka; work coins are no part of it. A source that states whole GNK has cut off what is below one.
CREATE TABLE IF NOT EXISTS source_epoch_total (
    source varchar(50) COLLATE "C" NOT NULL,
    epoch integer NOT NULL CHECK (epoch >= 0),
    total_ngonka numeric(38, 0) NOT NULL CHECK (total_ngonka > 0),
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (source, epoch)
);

DO $$
BEGIN
    IF to_regrole('minegnk_cache') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE ON source_epoch_total TO minegnk_cache;
    END IF;
    IF to_regrole('minegnk_earnings') IS NOT NULL THEN
        GRANT SELECT ON source_epoch_total TO minegnk_earnings;
    END IF;
    IF to_regrole('minegnk_api') IS NOT NULL THEN
        GRANT SELECT ON source_epoch_total TO minegnk_api;
    END IF;
    IF to_regrole('minegnk_admin') IS NOT NULL THEN
        GRANT SELECT ON source_epoch_total TO minegnk_admin;
    END IF;
END $$;
