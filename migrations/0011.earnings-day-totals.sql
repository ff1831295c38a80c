-- Daily sums of GPU types, regions and the fleet: added up once, exact at every moment, and no writer waits for others.
-- depends: 0010.create-roles

-- Adding up a thousand nodes' three years takes half a second, so the dates at rest are added up once, in
-- earnings_day_total. Who writes history only notes its dates in earnings_day_changed, in the same transaction; who
-- reads takes noted dates from the history itself and all others from the totals, in one snapshot; earnings_refresh()
-- adds the noted dates up again. However late it comes, what is read is exact.
CREATE TABLE IF NOT EXISTS earnings_day_total (
    dimension text NOT NULL,
    key text NOT NULL,
    date date NOT NULL,
    earnings_gnk numeric NOT NULL,
    nodes integer NOT NULL,
    PRIMARY KEY (dimension, key, date)
);
CREATE INDEX IF NOT EXISTS idx_earnings_day_total_date ON earnings_day_total (date);

-- No key: writers only ever add rows, and cannot wait for each other.
CREATE TABLE IF NOT EXISTS earnings_day_changed (
    date date NOT NULL
);

-- The groups under which the totals hold a node. A node's new GPU type or region counts from the next refresh on, for
-- all of its dates at once: totals and noted dates then never disagree about it.
CREATE TABLE IF NOT EXISTS earnings_node_group (
    node_id uuid PRIMARY KEY REFERENCES nodes (id) ON DELETE CASCADE,
    gpu_type text NOT NULL,
    region text NOT NULL
);

-- Whose earnings are added up under which key: a node under its identifier, a user's nodes under the user's id, those
-- of a GPU type or region under its name ('unknown' where a node has none), all nodes under 'fleet'. A node of several
-- users belongs to each of them in full.
CREATE OR REPLACE VIEW earnings_member AS
SELECT 'node' AS dimension, identifier::text AS key, id AS node_id FROM nodes
UNION ALL
SELECT 'user', user_id::text, node_id FROM user_nodes
UNION ALL
SELECT 'gpu_type', coalesce(held.gpu_type, nodes.gpu_type, 'unknown'), id
FROM nodes LEFT JOIN earnings_node_group AS held ON held.node_id = nodes.id
UNION ALL
SELECT 'region', coalesce(held.region, nodes.region, 'unknown'), id
FROM nodes LEFT JOIN earnings_node_group AS held ON held.node_id = nodes.id
UNION ALL
SELECT 'fleet', 'fleet', id FROM nodes;

-- What earnings_day_total is to hold.
CREATE OR REPLACE VIEW earnings_day_sum AS
SELECT dimension, key, date, sum(earnings_gnk) AS earnings_gnk, count(*)::integer AS nodes
FROM earnings_member JOIN earnings_history USING (node_id)
WHERE dimension IN ('gpu_type', 'region', 'fleet')
GROUP BY dimension, key, date;

CREATE OR REPLACE FUNCTION earnings_note_changed() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO earnings_day_changed SELECT DISTINCT date FROM earnings_day_total;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO earnings_day_changed SELECT date FROM rows_before UNION SELECT date FROM rows_after;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO earnings_day_changed SELECT DISTINCT date FROM rows_after;
    ELSE
        INSERT INTO earnings_day_changed SELECT DISTINCT date FROM rows_before;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER earnings_history_inserted AFTER INSERT ON earnings_history
REFERENCING NEW TABLE AS rows_after FOR EACH STATEMENT EXECUTE FUNCTION earnings_note_changed();
CREATE OR REPLACE TRIGGER earnings_history_updated AFTER UPDATE ON earnings_history
REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
FOR EACH STATEMENT EXECUTE FUNCTION earnings_note_changed();
CREATE OR REPLACE TRIGGER earnings_history_deleted AFTER DELETE ON earnings_history
REFERENCING OLD TABLE AS rows_before FOR EACH STATEMENT EXECUTE FUNCTION earnings_note_changed();
CREATE OR REPLACE TRIGGER earnings_history_truncated AFTER TRUNCATE ON earnings_history
FOR EACH STATEMENT EXECUTE FUNCTION earnings_note_changed();

-- Adds up the noted dates, and all dates of the nodes that changed groups; returns how many dates that were. Call it as
-- often as you like, from as many places: one works at a time, and neither readers nor writers of history wait for it.
--
-- A note is taken away before its date is read. So what commits meanwhile is either read, or its note stays (or both).
CREATE OR REPLACE FUNCTION earnings_refresh() RETURNS integer
LANGUAGE plpgsql
AS $$
DECLARE
    dates date[];
BEGIN
    LOCK TABLE earnings_day_total IN SHARE ROW EXCLUSIVE MODE;
    WITH noted AS (
        DELETE FROM earnings_day_changed RETURNING date
    ), moved AS (
        INSERT INTO earnings_node_group AS held (node_id, gpu_type, region)
        SELECT id, coalesce(nodes.gpu_type, 'unknown'), coalesce(nodes.region, 'unknown')
        FROM nodes LEFT JOIN earnings_node_group AS known ON known.node_id = nodes.id
        WHERE (known.gpu_type, known.region)
            IS DISTINCT FROM (coalesce(nodes.gpu_type, 'unknown'), coalesce(nodes.region, 'unknown'))
        ORDER BY id
        ON CONFLICT (node_id) DO UPDATE SET gpu_type = excluded.gpu_type, region = excluded.region
        RETURNING node_id
    )
    SELECT array_agg(date) INTO dates FROM (
        SELECT date FROM noted UNION SELECT date FROM moved JOIN earnings_history USING (node_id)
    ) AS touched;
    DELETE FROM earnings_day_total WHERE date = ANY (dates);
    INSERT INTO earnings_day_total (dimension, key, date, earnings_gnk, nodes)
    SELECT dimension, key, date, earnings_gnk, nodes FROM earnings_day_sum WHERE date = ANY (dates);
    RETURN coalesce(cardinality(dates), 0);
END $$;

-- What is there already: the triggers' locks keep writers out until this commits.
INSERT INTO earnings_day_changed SELECT DISTINCT date FROM earnings_history;

DO $$
BEGIN
    PERFORM earnings_refresh();
    IF to_regrole('minegnk_earnings') IS NOT NULL THEN
        GRANT SELECT, INSERT, DELETE ON earnings_day_changed, earnings_day_total TO minegnk_earnings;
        GRANT SELECT, INSERT, UPDATE ON earnings_node_group TO minegnk_earnings;
        GRANT SELECT ON earnings_member, earnings_day_sum TO minegnk_earnings;
    END IF;
END $$;
