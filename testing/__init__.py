"""Shared by tests and benchmarks: namespaces, a running exporter, Prometheus."""
