"""The push API: events over HTTP, from producers with a key, to Kafka."""
