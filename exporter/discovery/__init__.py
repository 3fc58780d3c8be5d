"""
Find the network namespaces of the node, the processes in each, and how to enter it.

It reads /proc and keeps what it read between collections; nothing here reads a sysctl
or resolves an owner. All of it runs in the collector process.

- processes: the table of processes, stray threads and mounts, kept up to date by scans
- new_pids: pids assigned since the last scan, so that most scans need no list of /proc
- netns_members: the processes of each namespace (no I/O)
- process_checker: checks where processes and their threads are, within a budget
- budget: how much time a stage of a pass may take, and how it is divided (no I/O)
- creators: which part of the node a process belongs to, for fair shares of a budget
- process_checks: which processes are due for a check, and what was found (no I/O)
- nsfs_mounts: bind mounts of namespaces, in every mount namespace
- host_netns: which namespace is that of the host
- doors: mounts that the file reader opens, for a block of entries
- entry: enter a namespace by a pidfd or a path, or report why it is denied
"""
