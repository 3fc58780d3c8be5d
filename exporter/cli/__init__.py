"""The command line: `serve`, `snapshot` and the commands that print reports."""
