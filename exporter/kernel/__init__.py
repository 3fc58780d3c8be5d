"""Readers of kernel interfaces: procfs, sysctl files, netlink, namespaces, Landlock."""
