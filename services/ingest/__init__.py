"""The ingest service: trackers to events on Kafka."""
