DROP TABLE IF EXISTS earnings_ledger_version;

DROP TABLE IF EXISTS earnings_ledger;

DROP TABLE IF EXISTS epoch_settlement;

DROP TABLE IF EXISTS earnings_node;
