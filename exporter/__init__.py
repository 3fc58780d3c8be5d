"""netns-sysctl-exporter: the sysctls of every network namespace on a node."""

__version__ = "0.1.0"
