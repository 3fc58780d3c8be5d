"""
The command line.

`main` dispatches what `arguments` parses. `commands` are all but `serve`: their
snapshot comes from `sources`, the live node or a file that `snapshot_file` validates;
their result is formatted by `tables` for a `terminal`, and written by `output`.
`check` evaluates the policy for node-problem-detector.
"""
