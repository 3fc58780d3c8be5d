"""
Interfaces of the Linux kernel: read, parsed, and held open within a budget.

Modules here know the kernel and nothing of owners, metrics or configuration. A reader
stands beside its parser, and the parser does no I/O. Nothing is written, and nothing is
left open that keeps a namespace alive. All of it runs in the collector process, but for
landlock, and the credentials in procfs, with which every process restricts itself.

- syscalls: the system calls that the standard library lacks; the only use of ctypes
- netns: enter a network namespace and return; the only use of setns and unshare
- procfs: processes, their namespaces, mounts and credentials in /proc
- rootfs: files below a root directory whose content is not trusted
- sysctl_files: the sysctl files of a namespace, held open while it lives
- sysctl_readings: which sysctls to read, and what they held last
- fd_budget: how many files of a kind may be held open
- proc_net: counters and socket numbers in /proc/PID/net
- sock_diag: request listening sockets by netlink
- listen_sockets: parse the replies of sock_diag
- rtnetlink: interfaces and addresses, by pyroute2; only for commands
- landlock: give up access to files and to the network
"""
