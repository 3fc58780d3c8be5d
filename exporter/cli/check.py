"""
`check`: the policy as an exit code and one line.

Both follow the plug-in protocol of node-problem-detector.
"""

from collections.abc import Mapping, Sequence

import msgspec

from exporter.analysis.assessment import assess
from exporter.analysis.policy import Verdict
from exporter.model import Owner, Rule, Severity, Snapshot
from exporter.suggestions import did_you_mean

OK, NON_OK, UNKNOWN = 0, 1, 2
"""What a plug-in of node-problem-detector ends with."""

LINE_BYTES = 80
"""What node-problem-detector keeps of a plug-in's output: max_output_length."""

_MOST_URGENT_FIRST: Mapping[Severity, int] = {"critical": 0, "warning": 1, "info": 2}


def check(
    rules: Sequence[Rule], snapshot: Snapshot, *, only: str | None = None
) -> tuple[int, str]:
    """
    Return the exit code and the line of a plug-in of node-problem-detector.

    The line is ASCII but for its ellipsis, whatever an owner is called. Raises
    ValueError where no rule is called *only*.
    """
    chosen = tuple(rules) if only is None else (_named(only, rules),)
    assessment = assess(msgspec.structs.replace(snapshot, policy=chosen))
    judged = [
        (entry.namespace.owner, verdict)
        for entry in assessment.namespaces
        for verdict in entry.verdicts
    ]
    unread = sum(one.state != "read" for one in snapshot.namespaces)
    unread += sum(snapshot.stats.hidden.values())
    blind = f"; {_count(unread, 'namespace')} not read" if unread else ""
    if bad := [(owner, one) for owner, one in judged if one.violated]:
        bad.sort(key=lambda pair: _MOST_URGENT_FIRST[pair[1].severity])
        return NON_OK, _fitted(_count(len(bad), "violation"), [_told(*b) for b in bad])
    if judged:
        return OK, f"no violation, {_count(len(judged), 'value')} judged{blind}"
    why = "no value to judge" if chosen else "the policy has no rule"
    return UNKNOWN, f"{why}{blind}"


def _named(name: str, rules: Sequence[Rule]) -> Rule:
    by_name = {rule.name: rule for rule in rules}
    if name not in by_name:
        known = f"; the policy has {', '.join(by_name) or 'no rules'}"
        hint = did_you_mean(name, by_name) or known
        raise ValueError(f"no rule is named {name!r}{hint}")
    return by_name[name]


def _told(owner: Owner, verdict: Verdict) -> tuple[str, str]:
    """Return who violates, and what, each as ASCII: a mount may have any name."""
    labels = (owner.namespace, owner.pod, owner.container, owner.netns)
    who = "/".join(filter(None, labels))
    what = f" {verdict.sysctl}={verdict.value} ({verdict.rule})"
    return _ascii(who), _ascii(what)


def _ascii(text: str) -> str:
    return text.encode("unicode_escape").decode()


def _fitted(head: str, items: Sequence[tuple[str, str]]) -> str:
    """Return *head* and as many items as a line holds, the first shortened to fit."""
    (who, what), *others = items
    room = LINE_BYTES - len(f"{head}: ") - (len(_MORE.encode()) if others else 0)
    line = f"{head}: {_shortened(who, what, room)}"
    for at, item in enumerate(others, start=1):
        longer = f"{line}, {''.join(item)}"
        last = at == len(others)
        if len((longer if last else longer + _MORE).encode()) > LINE_BYTES:
            return line + _MORE
        line = longer
    return line


def _shortened(who: str, what: str, room: int) -> str:
    """Return both in *room* bytes: less of the name first, which is the longest."""
    if len(who) + len(what) <= room:
        return who + what
    left = room - len("…".encode())
    if len(what) < left:
        return f"{who[: left - len(what)]}…{what}"
    return f"{(who + what)[:left]}…"


_MORE = ", …"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
