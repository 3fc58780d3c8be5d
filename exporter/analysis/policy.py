"""
An operator's rules, and what they say of a namespace's values. Pure.

What is not known is not judged: no value or no reference is no verdict, never a
good one.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from exporter.analysis.drift import References, declared_readings
from exporter.model import (
    Frozen,
    Match,
    Namespace,
    Owner,
    Reading,
    Reference,
    Rule,
    Severity,
    Sysctl,
    Unreadable,
)
from exporter.policy_rules import Operands, incompatibility, operands, shown
from exporter.values import parse_numbers

_WHOSE: Mapping[Reference, str] = {
    "host": "the host's",
    "fresh": "a new namespace's",
    "declared": "the declared",
}


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
    rules: Sequence[Rule], references: References, namespace: Namespace
) -> Iterator[Verdict]:
    """
    Yield a verdict for each value that a rule applies to.

    namespace: a comparable one, see drift.is_comparable.
    """
    owner = namespace.owner
    asked = declared_readings(references.sysctls, namespace.declared)
    known: dict[Reference, Sequence[Reading | None]] = {
        "host": references.host,
        "fresh": references.fresh,
        "declared": [asked.get(sysctl.name) for sysctl in references.sysctls],
    }
    for rule in rules:
        if matches(rule.match, owner):
            theirs = known[rule.same_as] if rule.same_as else ()
            yield from _judge_all(rule, references.sysctls, namespace.readings, theirs)


def _judge_all(
    rule: Rule,
    sysctls: Sequence[Sysctl],
    readings: Sequence[Reading],
    reference: Sequence[Reading | None],
) -> Iterator[Verdict]:
    beside = reference or (None,) * len(sysctls)
    for sysctl, ours, theirs in zip(sysctls, readings, beside, strict=True):
        if not matches_sysctl(rule.sysctl, sysctl.name) or incompatibility(
            rule, sysctl
        ):
            continue
        unknown = rule.same_as and not isinstance(theirs, str)
        if not unknown and not isinstance(ours, Unreadable):
            text = theirs if isinstance(theirs, str) else None
            yield judge(rule, sysctl, ours, text)


def matches(match: Match, owner: Owner) -> bool:
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
def matches_sysctl(pattern: str, sysctl: str) -> bool:
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
        value=shown(ours),
        expected=f"{rule.field} {expected}" if rule.field else expected,
        message=rule.message,
    )


def _conditions(
    rule: Rule, ours: Operands, theirs: Operands | None
) -> Iterator[tuple[bool, str]]:
    counts = [part for part in ours if isinstance(part, int)]
    if rule.min is not None:
        yield min(counts) >= rule.min, f"at least {rule.min}"
    if rule.max is not None:
        yield max(counts) <= rule.max, f"at most {rule.max}"
    if rule.equals is not None:
        wanted = operands(rule.equals)
        yield ours == wanted, f"equal to {shown(wanted)}"
    if rule.one_of is not None:
        choices = [operands(one) for one in rule.one_of]
        yield ours in choices, f"one of {', '.join(map(shown, choices))}"
    if rule.same_as and theirs is not None:
        same = f"same as {_WHOSE[rule.same_as]} {shown(theirs)}"
        yield ours == theirs, same


def _parts_of(rule: Rule, sysctl: Sysctl, text: str) -> Operands:
    if sysctl.kind == "text":
        return (text,)
    every = parse_numbers(text)
    return (every[sysctl.fields.index(rule.field)],) if rule.field else every
