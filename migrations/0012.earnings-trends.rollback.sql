DROP VIEW IF EXISTS earnings_trends;

DROP FUNCTION IF EXISTS earnings_trends_at(date);

DROP FUNCTION IF EXISTS earnings_window(date, date);

DROP VIEW IF EXISTS earnings_first_date;

DROP VIEW IF EXISTS earnings_moving_averages;

DROP VIEW IF EXISTS earnings_monthly;

DROP VIEW IF EXISTS earnings_weekly;

DROP FUNCTION IF EXISTS earnings_sums(text, date, date);

DROP VIEW IF EXISTS earnings_daily;

DROP FUNCTION IF EXISTS earnings_quotient(numeric, numeric, integer);
