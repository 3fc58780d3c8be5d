"""The cost of a fleet in Prometheus: synthetic nodes, measured queries, a formula."""
