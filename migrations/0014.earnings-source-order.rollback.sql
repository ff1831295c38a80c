DROP TABLE IF EXISTS earnings_source_order;
