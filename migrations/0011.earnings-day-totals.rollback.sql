DROP TRIGGER IF EXISTS earnings_history_inserted ON earnings_history;

DROP TRIGGER IF EXISTS earnings_history_updated ON earnings_history;

DROP TRIGGER IF EXISTS earnings_history_deleted ON earnings_history;

DROP TRIGGER IF EXISTS earnings_history_truncated ON earnings_history;

DROP FUNCTION IF EXISTS earnings_note_changed();

DROP FUNCTION IF EXISTS earnings_refresh();

DROP VIEW IF EXISTS earnings_day_sum;

DROP VIEW IF EXISTS earnings_member;

DROP TABLE IF EXISTS earnings_node_group;

DROP TABLE IF EXISTS earnings_day_changed;

DROP TABLE IF EXISTS earnings_day_total;
