"""
What `report`, `explain` and `diff` print, and pages show. Pure: no I/O.

- `report`: a node on one screen; `overview`: what it has in common with the node's page
- `explain`: one value of one namespace; `remediation`: how to change it
- `diff`: two snapshots
- `lookup`: from a name that a user types to a namespace or a sysctl
- `messages`, `sentences`, `health_text`: the words, in tables and as functions
"""
