DROP FUNCTION IF EXISTS node_uptime_percent(timestamptz, interval);

DROP TABLE IF EXISTS source_uptime;

DROP TABLE IF EXISTS node_uptime;

DROP TABLE IF EXISTS node_facts;

DROP TABLE IF EXISTS tracker_sources;
