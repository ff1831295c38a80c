DROP TABLE IF EXISTS api_keys;
DROP INDEX IF EXISTS idx_earnings_ledger_estimate;
DROP VIEW IF EXISTS earnings_epochs;
