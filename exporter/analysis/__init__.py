"""
Compare a snapshot with its references: drift, origins, policy, health. Pure.

- `assessment`: `assess(snapshot)`, the result that everything else reads
- `isolation`: placeholders of namespaces that cannot be decoded or assessed
- `drift`: the references of a node, findings, origins of values
- `policy`: the verdicts of the operator's rules
- `saturation`: limits of a namespace, how full its resources are
- `health`: saturation and losses of a namespace
- `ranking`: the affected namespaces of a node, and the sysctl to check for each
"""
