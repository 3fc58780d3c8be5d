"""
An operator's rules, and what they say of a namespace's values. Pure.

What is not known is not judged: no value or no reference is no verdict, never a
good one.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from exporter.drift import References, asked_for, references
from exporter.model import (
    Frozen,
    Match,
    Namespace,
    Owner,
    Reading,
    Reference,
    Rule,
    Severity,
    Snapshot,
    Sysctl,
    Unreadable,
)
from exporter.values import numbers

OK, NON_OK, UNKNOWN = 0, 1, 2
"""What a plug-in of node-problem-detector ends with."""

LINE_BYTES = 80
"""What node-problem-detector keeps of a plug-in's output: max_output_length."""

_MOST_URGENT_FIRST: Mapping[Severity, int] = {"critical": 0, "warning": 1, "info": 2}
_WHOSE: Mapping[Reference, str] = {
    "host": "the host's",
    "fresh": "a new namespace's",
    "declared": "the declared",
}
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1

Parts = tuple[int | str, ...]
"""What is compared of a value: its numbers, or its one text."""


class Verdict(Frozen, frozen=True, kw_only=True):
    """
    What one rule says of one sysctl of a namespace.

    value: what was judged, so only the rule's field if it names one; expected: the
    rule's conditions, for people; message: the operator's.
    """

    rule: str
    severity: Severity
    sysctl: str
    violated: bool
    value: str
    expected: str
    message: str


def verdicts(
    rules: Sequence[Rule], against: References, namespace: Namespace
) -> Iterator[Verdict]:
    """
    Judge every value that a rule concerns; nothing of the host's.

    Nothing either where the values are not what the owner's programs see.
    """
    owner = namespace.owner
    if owner.kind == "host" or owner.sandbox or namespace.state != "read":
        return
    if not rules:  # nearly everywhere: what was declared costs time to read
        return
    asked = asked_for(against.sysctls, namespace.declared)
    known: dict[Reference, Sequence[Reading | None]] = {
        "host": against.host,
        "fresh": against.fresh,
        "declared": [asked.get(sysctl.name) for sysctl in against.sysctls],
    }
    for rule in rules:
        if concerns(rule.match, owner):
            theirs = known[rule.same_as] if rule.same_as else ()
            yield from _judge_all(rule, against.sysctls, namespace.readings, theirs)


def _judge_all(
    rule: Rule,
    sysctls: Sequence[Sysctl],
    readings: Sequence[Reading],
    references: Sequence[Reading | None],
) -> Iterator[Verdict]:
    beside = references or (None,) * len(sysctls)
    for sysctl, ours, theirs in zip(sysctls, readings, beside, strict=True):
        if not covers(rule.sysctl, sysctl.name) or misfit(rule, sysctl):
            continue
        unknown = rule.same_as and not isinstance(theirs, str)
        if not unknown and not isinstance(ours, Unreadable):
            reference = theirs if isinstance(theirs, str) else None
            yield judge(rule, sysctl, ours, reference)


def concerns(match: Match, owner: Owner) -> bool:
    """Return whether all of a rule's globs match the owner's labels."""
    return (
        _fits(match.namespace, owner.namespace)
        and _fits(match.pod, owner.pod)
        and _fits(match.container, owner.container)
        and _fits(match.runtime, owner.runtime)
    )


def _fits(pattern: str | None, label: str) -> bool:
    if pattern is None:
        return True
    return bool(pattern) == bool(label) and fnmatchcase(label, pattern)


@lru_cache(maxsize=1 << 16)  # rules by sysctls, asked for every namespace
def covers(pattern: str, sysctl: str) -> bool:
    """Return whether a rule's glob matches a sysctl, as catalog.matching does."""
    return fnmatchcase(sysctl, pattern.replace("/", "."))


def judge(rule: Rule, sysctl: Sysctl, value: str, reference: str | None) -> Verdict:
    """Hold one value against the rule, which has to fit the sysctl."""
    ours = _parts_of(rule, sysctl, value)
    theirs = None if reference is None else _parts_of(rule, sysctl, reference)
    held = list(_conditions(rule, ours, theirs))
    expected = ", ".join(text for _, text in held)
    return Verdict(
        rule=rule.name,
        severity=rule.severity,
        sysctl=sysctl.name,
        violated=not all(holds for holds, _ in held),
        value=_shown(ours),
        expected=f"{rule.field} {expected}" if rule.field else expected,
        message=rule.message,
    )


def _conditions(
    rule: Rule, ours: Parts, theirs: Parts | None
) -> Iterator[tuple[bool, str]]:
    counts = [part for part in ours if isinstance(part, int)]
    if rule.min is not None:
        yield min(counts) >= rule.min, f"at least {rule.min}"
    if rule.max is not None:
        yield max(counts) <= rule.max, f"at most {rule.max}"
    if rule.equals is not None:
        wanted = _parts(rule.equals)
        yield ours == wanted, f"equal to {_shown(wanted)}"
    if rule.one_of is not None:
        choices = [_parts(one) for one in rule.one_of]
        yield ours in choices, f"one of {', '.join(map(_shown, choices))}"
    if rule.same_as and theirs is not None:
        same = f"same as {_WHOSE[rule.same_as]} {_shown(theirs)}"
        yield ours == theirs, same


def _parts_of(rule: Rule, sysctl: Sysctl, text: str) -> Parts:
    if sysctl.kind == "text":
        return (text,)
    every = numbers(text)
    return (every[sysctl.fields.index(rule.field)],) if rule.field else every


def _parts(wanted: int | str | tuple[int, ...]) -> Parts:
    match wanted:
        case int():
            return (wanted,)
        case str():
            return (" ".join(wanted.split()),)  # as values.reading has it
    return wanted


def _shown(parts: Parts) -> str:
    return " ".join(map(str, parts))


def mistake(rule: Rule, sysctls: Sequence[Sysctl]) -> str:
    """Return what is wrong with a rule for *sysctls*, and the remedy, or ""."""
    has = (rule.min, rule.max, rule.equals, rule.one_of, rule.same_as)
    if all(condition is None for condition in has):
        return "it has no condition; give min, max, equals, one_of or same_as"
    if rule.min is not None and rule.max is not None and rule.min > rule.max:
        return f"min {rule.min} is above max {rule.max}; exchange them"
    if rule.one_of == ():
        return "one_of is empty; list what is allowed, or leave it out"
    for number in filter(_impossible, _numbers_in(rule)):
        return f"no sysctl can be {number}; the limits are {_LOWEST} and {_HIGHEST}"
    return next(filter(None, (misfit(rule, sysctl) for sysctl in sysctls)), "")


def _impossible(number: int) -> bool:
    return not _LOWEST <= number <= _HIGHEST


def _numbers_in(rule: Rule) -> Iterator[int]:
    yield from (bound for bound in (rule.min, rule.max) if bound is not None)
    for parts in _wanted(rule):
        yield from (part for part in parts if isinstance(part, int))


def _wanted(rule: Rule) -> Iterator[Parts]:
    if rule.equals is not None:
        yield _parts(rule.equals)
    yield from map(_parts, rule.one_of or ())


def misfit(rule: Rule, sysctl: Sysctl) -> str:
    """
    Return why a rule cannot judge a sysctl, and the remedy, or "".

    A configuration is refused for it; in a snapshot of another catalog it is no
    verdict.
    """
    if rule.field and rule.field not in sysctl.fields:
        remedy = f"choose of {', '.join(sysctl.fields)}" if sysctl.fields else "omit it"
        return f"{sysctl.name} has no field {rule.field!r}; {remedy}"
    if sysctl.kind == "text" and (rule.min, rule.max) != (None, None):
        remedy = "narrow the glob, or use equals"
        return f"{sysctl.name} is text, which has no min or max; {remedy}"
    checked = (_unlike(parts, rule, sysctl) for parts in _wanted(rule))
    return next(filter(None, checked), "")


def _unlike(wanted: Parts, rule: Rule, sysctl: Sysctl) -> str:
    """Return why a value of a sysctl can never be *wanted*, or ""."""
    is_text = any(isinstance(part, str) for part in wanted)
    if sysctl.kind == "text":
        remedy = f'{sysctl.name} is text; write "{_shown(wanted)}" in quotes'
        return "" if is_text else remedy
    if is_text:
        return f"{sysctl.name} is a number, not {_shown(wanted)!r}; write no quotes"
    width = 1 if rule.field else len(sysctl.fields) or 1
    if len(wanted) == width:
        return ""
    if width == 1:
        return f"{sysctl.name} is one number, not {len(wanted)}; write no list"
    named = ", ".join(sysctl.fields)
    return f"{sysctl.name} is {width} numbers ({named}); equals all, or choose a field"


def check(
    rules: Sequence[Rule], snapshot: Snapshot, *, only: str | None = None
) -> tuple[int, str]:
    """
    Return the exit code and the line of a plug-in of node-problem-detector.

    The line is ASCII but for its ellipsis, whatever an owner is called. Raises
    ValueError where no rule is called *only*.
    """
    chosen = rules if only is None else [_named(only, rules)]
    first = snapshot.namespaces[0] if snapshot.namespaces else None
    host = first.readings if first and first.owner.kind == "host" else ()
    against = references(snapshot, host)
    judged = [
        (namespace.owner, verdict)
        for namespace in snapshot.namespaces
        for verdict in verdicts(chosen, against, namespace)
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
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=0)
        hint = f"the nearest is {near[0]!r}" if near else "the policy has none"
        raise ValueError(f"no rule is called {name!r}; {hint}")
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
