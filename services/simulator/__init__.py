"""A tracker and a chain that do not exist, for `make run` and the tests."""
