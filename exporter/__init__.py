"""
Export the sysctls of every network namespace on a node.

The modules of this package are the vocabulary of all others:

- model: the records of a snapshot
- catalog: every sysctl that can be read, from catalog.yaml
- counters: every kernel counter that can be exported
- values: parse the text of a sysctl file
- owner: how owners are identified and displayed
- policy_rules: whether a rule can be applied to a sysctl
- problems: conditions that make a collection incomplete, and their remedies
- suggestions: "did you mean"
- escaping: text of other programs, safe for a terminal
- errors: all exceptions
- log: log lines, as logfmt or JSON
"""

__version__ = "0.1.0"
