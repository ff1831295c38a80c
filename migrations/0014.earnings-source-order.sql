-- The order of sources with which history was last projected: a change of it projects again what it concerns.
-- depends: 0013.gnk-of-ngonka

CREATE TABLE IF NOT EXISTS earnings_source_order (
    source varchar(50) COLLATE "C" PRIMARY KEY,
    earnings_order integer NOT NULL
);

DO $$
BEGIN
    IF to_regrole('minegnk_earnings') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE ON earnings_source_order TO minegnk_earnings;
    END IF;
    IF to_regrole('minegnk_api') IS NOT NULL THEN
        GRANT SELECT ON earnings_source_order TO minegnk_api;
    END IF;
END $$;
