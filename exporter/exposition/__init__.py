"""Render a snapshot in the Prometheus text and OpenMetrics formats. Pure: no I/O."""
