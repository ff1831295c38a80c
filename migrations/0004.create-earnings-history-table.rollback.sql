DROP TABLE IF EXISTS earnings_history;
