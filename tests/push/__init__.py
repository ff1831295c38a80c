"""The push API: a real ingest process, a real Kafka, real HTTP."""
