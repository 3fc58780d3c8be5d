"""Shared by tests and benchmarks: real namespaces, a running exporter, Prometheus."""
