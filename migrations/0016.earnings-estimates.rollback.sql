DROP VIEW IF EXISTS earnings_estimates;

ALTER TABLE earnings_ledger DROP COLUMN IF EXISTS method;
