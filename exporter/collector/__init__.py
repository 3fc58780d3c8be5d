"""
Collect a snapshot of the node, pass by pass.

- collector: one pass, step by step
- entering: enter a namespace for the first time, in turns of their creators
- namespace_tracker: enter namespaces, read their sysctls, notice when they end
- tracked: what is kept of one namespace
- sysctl_file_pool: which files are held open
- references: a throwaway namespace, and the former values of the host
- node_limits: limits that all namespaces share
- signal_reader: counters, sockets and tracked connections of each namespace
- listener_reader, listener_polling: its listening sockets, and how to poll them
- accept_queues: their accept queues, and what limited each
- stats: errors, timing and resources of the collector
"""
