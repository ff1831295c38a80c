-- Sums by day, week and month, moving averages and trends, per node, user, GPU type, region and of the fleet.
-- docs/earnings-views.md defines every column.
-- depends: 0011.earnings-day-totals

-- A quotient of so many places, rounded half away from zero as if once: PostgreSQL rounds a quotient to 16 digits, and
-- rounding that again can go wrong; with 30 places it cannot. NULL where the divisor is 0.
CREATE OR REPLACE FUNCTION earnings_quotient(dividend numeric, divisor numeric, places integer)
RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT round(round(dividend, 30) / nullif(divisor, 0), places)
$$;

-- A row for each date on which at least one of the key's nodes has a row in earnings_history.
CREATE OR REPLACE VIEW earnings_daily AS
SELECT 'node' AS dimension, identifier::text AS key, date, earnings_gnk::numeric, 1 AS nodes
FROM nodes JOIN earnings_history ON node_id = nodes.id
UNION ALL
SELECT 'user', user_id::text, date, sum(earnings_gnk), count(*)::integer
FROM user_nodes JOIN earnings_history USING (node_id)
GROUP BY user_id, date
UNION ALL
SELECT dimension, key, date, earnings_gnk, nodes FROM earnings_day_total
WHERE date NOT IN (SELECT date FROM earnings_day_changed)
UNION ALL
-- An array, since the planner takes it for few values and the index for them, even where it knows nothing of the table.
SELECT dimension, key, date, earnings_gnk, nodes FROM earnings_day_sum
WHERE date = ANY (ARRAY(SELECT date FROM earnings_day_changed));

-- The sums of the rows between two dates (inclusive) by 'day', 'week' (ISO, under its Monday) or 'month' (under its
-- first), and how many dates had a row. A period that reaches over `since` or `until` is added up within them.
CREATE OR REPLACE FUNCTION earnings_sums(unit text, since date, until date)
RETURNS TABLE (dimension text, key text, starts date, earnings_gnk numeric, days integer)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT daily.dimension, daily.key, date_trunc(unit, daily.date::timestamp)::date, sum(daily.earnings_gnk),
           count(*)::integer
    FROM earnings_daily AS daily
    WHERE daily.date BETWEEN since AND until
    GROUP BY 1, 2, 3
$$;

CREATE OR REPLACE VIEW earnings_weekly AS
SELECT dimension, key, starts AS week, earnings_gnk, days FROM earnings_sums('week', '-infinity', 'infinity');

CREATE OR REPLACE VIEW earnings_monthly AS
SELECT dimension, key, starts AS month, earnings_gnk, days FROM earnings_sums('month', '-infinity', 'infinity');

-- Sums of the 7 and 30 days that end with the date, divided by the number of these days since the key's first row. A
-- day without a row counts: nothing was settled on it.
CREATE OR REPLACE VIEW earnings_moving_averages AS
SELECT dimension, key, date, earnings_gnk,
       earnings_quotient(sum_7d, least(7, date - first_date + 1), 8) AS average_7d_gnk,
       earnings_quotient(sum_30d, least(30, date - first_date + 1), 8) AS average_30d_gnk
FROM (
    SELECT dimension, key, date, earnings_gnk,
           min(date) OVER by_date AS first_date,
           sum(earnings_gnk) OVER (by_date RANGE '6 days' PRECEDING) AS sum_7d,
           sum(earnings_gnk) OVER (by_date RANGE '29 days' PRECEDING) AS sum_30d
    FROM earnings_daily
    WINDOW by_date AS (PARTITION BY dimension, key ORDER BY date)
) AS summed;

-- Since when there is history.
CREATE OR REPLACE VIEW earnings_first_date AS
SELECT dimension, key, min(oldest.date) AS first_date
FROM earnings_member AS member
CROSS JOIN LATERAL (
    SELECT date FROM earnings_history AS history WHERE history.node_id = member.node_id ORDER BY date LIMIT 1
) AS oldest
GROUP BY dimension, key;

-- What the rows between two dates (inclusive) add up to, and on how many dates there are any. The best and the worst
-- day are pairs of an amount and its date's number, so that of equal days the earliest is taken.
CREATE OR REPLACE FUNCTION earnings_window(since date, until date)
RETURNS TABLE (dimension text, key text, earnings_gnk numeric, days integer, best numeric[], worst numeric[])
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT daily.dimension, daily.key, sum(daily.earnings_gnk), count(*)::integer,
           max(ARRAY[daily.earnings_gnk, date '2000-01-01' - daily.date]),
           min(ARRAY[daily.earnings_gnk, daily.date - date '2000-01-01'])
    FROM earnings_daily AS daily
    WHERE daily.date BETWEEN since AND until
    GROUP BY daily.dimension, daily.key
$$;

-- The windows that end with `as_of`, against those before: five rows for each key that had history by then. A window
-- before that is not wholly behind the key's first row cannot be compared with.
CREATE OR REPLACE FUNCTION earnings_trends_at(as_of date)
RETURNS TABLE (
    dimension text, key text, span text, since date, until date, calendar_days integer, days integer,
    earnings_gnk numeric, average_gnk numeric, before_days integer, before_gnk numeric, change_gnk numeric,
    change_percent numeric, best_date date, best_gnk numeric, worst_date date, worst_gnk numeric
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT started.dimension, started.key, spans.span, lived.since, as_of, lived.days, coalesce(window_now.days, 0),
           window_now.earnings_gnk, earnings_quotient(window_now.earnings_gnk, lived.days, 8),
           CASE WHEN spans.length IS NOT NULL THEN coalesce(window_before.days, 0) END, window_before.earnings_gnk,
           lived.change_gnk,
           CASE WHEN window_before.earnings_gnk > 0
                THEN earnings_quotient(100 * lived.change_gnk, window_before.earnings_gnk, 2) END,
           date '2000-01-01' - window_now.best[2]::integer, window_now.best[1],
           date '2000-01-01' + window_now.worst[2]::integer, window_now.worst[1]
    FROM earnings_first_date AS started
    CROSS JOIN (VALUES ('1d', 1), ('7d', 7), ('30d', 30), ('90d', 90), ('all', NULL)) AS spans (span, length)
    LEFT JOIN (
        SELECT '1d' AS span, * FROM earnings_window(as_of, as_of)
        UNION ALL SELECT '7d', * FROM earnings_window(as_of - 6, as_of)
        UNION ALL SELECT '30d', * FROM earnings_window(as_of - 29, as_of)
        UNION ALL SELECT '90d', * FROM earnings_window(as_of - 89, as_of)
        UNION ALL SELECT 'all', * FROM earnings_window('-infinity', as_of)
    ) AS window_now USING (dimension, key, span)
    LEFT JOIN (
        SELECT '1d' AS span, * FROM earnings_window(as_of - 1, as_of - 1)
        UNION ALL SELECT '7d', * FROM earnings_window(as_of - 13, as_of - 7)
        UNION ALL SELECT '30d', * FROM earnings_window(as_of - 59, as_of - 30)
        UNION ALL SELECT '90d', * FROM earnings_window(as_of - 179, as_of - 90)
    ) AS window_before USING (dimension, key, span)
    CROSS JOIN LATERAL (
        SELECT greatest(started.first_date, as_of - spans.length + 1) AS since,
               as_of - greatest(started.first_date, as_of - spans.length + 1) + 1 AS days,
               CASE WHEN started.first_date <= as_of - 2 * spans.length + 1
                    THEN window_now.earnings_gnk - window_before.earnings_gnk END AS change_gnk
    ) AS lived
    WHERE started.first_date <= as_of
$$;

-- As of the last UTC date that is over.
CREATE OR REPLACE VIEW earnings_trends AS
SELECT * FROM earnings_trends_at((now() AT TIME ZONE 'UTC')::date - 1);

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['minegnk_earnings', 'minegnk_api', 'minegnk_admin'] LOOP
        IF to_regrole(role_name) IS NOT NULL THEN
            EXECUTE format('GRANT SELECT ON earnings_daily, earnings_weekly, earnings_monthly, earnings_moving_averages,
                earnings_first_date, earnings_trends TO %I', role_name);
        END IF;
    END LOOP;
END $$;
