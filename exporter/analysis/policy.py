"""
Evaluate the operator's rules on a namespace's values. Pure.

Without a value, or without the reference a rule names, there is no verdict; it never
counts as compliant.
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
from exporter.policy_rules import Operands, format_operands, incompatibility, operands
from exporter.values import parse_numbers

_REFERENCE_TEXT: Mapping[Reference, str] = {
    "host": "the host's",
    "fresh": "a new namespace's",
    "declared": "the declared",
}


class Verdict(Frozen, frozen=True, kw_only=True):
    """
    The result of one rule for one sysctl of a namespace.

    Attributes:
        rule: The rule's name.
        severity: The rule's.
        sysctl: The sysctl's name.
        violated: Whether the value violates the rule.
        value: The value that was evaluated: only the rule's field, if it names one.
        expected: The rule's conditions, for people.
        message: The operator's.

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
    declared = declared_readings(references.sysctls, namespace.declared)
    by_name: dict[Reference, Sequence[Reading | None]] = {
        "host": references.host,
        "fresh": references.fresh,
        "declared": [declared.get(sysctl.name) for sysctl in references.sysctls],
    }
    for rule in rules:
        if _matches(rule.match, namespace.owner):
            expected = by_name[rule.same_as] if rule.same_as else ()
            yield from _evaluate_all(
                rule, references.sysctls, namespace.readings, expected
            )


def _evaluate_all(
    rule: Rule,
    sysctls: Sequence[Sysctl],
    readings: Sequence[Reading],
    references: Sequence[Reading | None],
) -> Iterator[Verdict]:
    column = references or (None,) * len(sysctls)
    for sysctl, value, reference in zip(sysctls, readings, column, strict=True):
        if not _matches_sysctl(rule.sysctl, sysctl.name) or incompatibility(
            rule, sysctl
        ):
            continue
        is_missing = rule.same_as and not isinstance(reference, str)
        if not is_missing and not isinstance(value, Unreadable):
            text = reference if isinstance(reference, str) else None
            yield _evaluate(rule, sysctl, value, text)


def _matches(match: Match, owner: Owner) -> bool:
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


@lru_cache(maxsize=1 << 16)  # rules times sysctls, repeated for every namespace
def _matches_sysctl(pattern: str, sysctl: str) -> bool:
    """Return whether a rule's glob matches a sysctl, as catalog.match_glob does."""
    return fnmatchcase(sysctl, pattern.replace("/", "."))


def _evaluate(rule: Rule, sysctl: Sysctl, value: str, reference: str | None) -> Verdict:
    """Evaluate a rule, which has to be compatible with the sysctl, on one value."""
    actual = _operands(rule, sysctl, value)
    expected = None if reference is None else _operands(rule, sysctl, reference)
    conditions = list(_conditions(rule, actual, expected))
    texts = ", ".join(text for _, text in conditions)
    return Verdict(
        rule=rule.name,
        severity=rule.severity,
        sysctl=sysctl.name,
        violated=not all(is_met for is_met, _ in conditions),
        value=format_operands(actual),
        expected=f"{rule.field} {texts}" if rule.field else texts,
        message=rule.message,
    )


def _conditions(
    rule: Rule, actual: Operands, reference: Operands | None
) -> Iterator[tuple[bool, str]]:
    """Yield for each condition of the rule whether it is met, and its text."""
    numbers = [operand for operand in actual if isinstance(operand, int)]
    if rule.min is not None:
        yield min(numbers) >= rule.min, f"at least {rule.min}"
    if rule.max is not None:
        yield max(numbers) <= rule.max, f"at most {rule.max}"
    if rule.equals is not None:
        expected = operands(rule.equals)
        yield actual == expected, f"equal to {format_operands(expected)}"
    if rule.one_of is not None:
        choices = [operands(choice) for choice in rule.one_of]
        yield actual in choices, f"one of {', '.join(map(format_operands, choices))}"
    if rule.same_as and reference is not None:
        text = f"same as {_REFERENCE_TEXT[rule.same_as]} {format_operands(reference)}"
        yield actual == reference, text


def _operands(rule: Rule, sysctl: Sysctl, text: str) -> Operands:
    if sysctl.kind == "text":
        return (text,)
    numbers = parse_numbers(text)
    return (numbers[sysctl.fields.index(rule.field)],) if rule.field else numbers
