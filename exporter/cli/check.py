"""
`check`: evaluate the policy; the result is an exit code and one line.

Both follow the plug-in interface of node-problem-detector.
"""

from collections.abc import Mapping, Sequence

import msgspec

from exporter.analysis.assessment import assess
from exporter.analysis.policy import Verdict
from exporter.model import Owner, Rule, Severity, Snapshot
from exporter.suggestions import did_you_mean

OK, NON_OK, UNKNOWN = 0, 1, 2
"""Exit codes of a plug-in of node-problem-detector."""

LINE_BYTES = 80
"""What node-problem-detector keeps of a plug-in's output: max_output_length."""

_MORE = ", …"

_RANKS: Mapping[Severity, int] = {"critical": 0, "warning": 1, "info": 2}


def check(
    rules: Sequence[Rule], snapshot: Snapshot, *, only: str | None = None
) -> tuple[int, str]:
    """
    Return the exit code and the line of a plug-in of node-problem-detector.

    The line is ASCII but for its ellipsis, whatever the names of owners contain. *only*
    selects one rule by name; raises ValueError where there is none.
    """
    chosen = tuple(rules) if only is None else (_rule_named(only, rules),)
    assessment = assess(msgspec.structs.replace(snapshot, policy=chosen))
    verdicts = [
        (entry.namespace.owner, verdict)
        for entry in assessment.namespaces
        for verdict in entry.verdicts
    ]
    unread = sum(entry.state != "read" for entry in snapshot.namespaces)
    unread += sum(snapshot.stats.hidden.values())
    coverage = f"; {_number(unread, 'namespace')} not read" if unread else ""
    if violations := [pair for pair in verdicts if pair[1].violated]:
        violations.sort(key=lambda pair: _RANKS[pair[1].severity])
        items = [_violation(owner, verdict) for owner, verdict in violations]
        return NON_OK, _fit_line(_number(len(violations), "violation"), items)
    if verdicts:
        return OK, f"no violation in {_number(len(verdicts), 'value')}{coverage}"
    reason = "no value to evaluate" if chosen else "the policy has no rules"
    return UNKNOWN, f"{reason}{coverage}"


def _rule_named(name: str, rules: Sequence[Rule]) -> Rule:
    by_name = {rule.name: rule for rule in rules}
    if name not in by_name:
        all_names = f"; the policy has {', '.join(by_name) or 'no rules'}"
        hint = did_you_mean(name, by_name) or all_names
        raise ValueError(f"no rule is named {name!r}{hint}")
    return by_name[name]


def _violation(owner: Owner, verdict: Verdict) -> tuple[str, str]:
    """Return the name of the owner and the violation as ASCII."""
    labels = (owner.namespace, owner.pod, owner.container, owner.netns)
    name = "/".join(filter(None, labels))
    violation = f" {verdict.sysctl}={verdict.value} ({verdict.rule})"
    return _to_ascii(name), _to_ascii(violation)


def _to_ascii(text: str) -> str:
    return text.encode("unicode_escape").decode()


def _fit_line(head: str, items: Sequence[tuple[str, str]]) -> str:
    """Return *head* and as many items as fit; the first is shortened if it must be."""
    (name, violation), *others = items
    room = LINE_BYTES - len(f"{head}: ") - (len(_MORE.encode()) if others else 0)
    line = f"{head}: {_shorten(name, violation, room)}"
    for at, item in enumerate(others, start=1):
        longer = f"{line}, {''.join(item)}"
        is_last = at == len(others)
        if len((longer if is_last else longer + _MORE).encode()) > LINE_BYTES:
            return line + _MORE
        line = longer
    return line


def _shorten(name: str, violation: str, room: int) -> str:
    """Return both in *room* bytes; the name is cut first, since it is the longest."""
    if len(name) + len(violation) <= room:
        return name + violation
    left = room - len("…".encode())
    if len(violation) < left:
        return f"{name[: left - len(violation)]}…{violation}"
    return f"{(name + violation)[:left]}…"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
