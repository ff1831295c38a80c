DROP TABLE IF EXISTS api_keys;
DROP VIEW IF EXISTS earnings_epochs;
