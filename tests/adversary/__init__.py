"""
Attacks on a running exporter, each with what it must not achieve.

A module for each kind of attack, as a container, a user of the node or a network peer
carries it out: with real namespaces, file systems, processes and connections. A test
asserts a count, a state or a ratio. Attacks that last, and many at once: bench/soak/.
"""
