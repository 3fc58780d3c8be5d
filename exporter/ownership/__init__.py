"""
Resolve the owner of each network namespace: host, pod, container, unit, mount, process.

- claims: determine an owner from facts; pure, the rules are here
- labels: owners with unique labels from the claims of a node; pure
- facts: read those facts from /proc
- evidence: the container of a process, and whether a runtime of the node confirms it
- metadata: what container runtimes know, merged from bundles and poll results
- poll_results: the latest results of polling the runtimes' APIs
- shims: find a container's bundle through the process that supervises it
- containers: the containers of each namespace
- declared: what they declare there; pure
- attribution: the owner of one namespace, and the state to resolve it again
- resolver: resolve all namespaces, pass by pass
"""
