"""What tests and benchmarks share: namespaces, a running exporter, a Prometheus."""
