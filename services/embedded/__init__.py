"""PostgreSQL and Kafka in a folder, without containers: for `make run` and the tests."""
