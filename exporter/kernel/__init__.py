"""Everything that asks the kernel: /proc, setns(2), sysctl files."""
