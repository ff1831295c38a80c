"""The cache service: node.readings.v1 to node_stats_cache."""
