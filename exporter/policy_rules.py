"""Validate policy rules: whether they can be evaluated for a sysctl. Pure."""

from collections.abc import Iterator, Sequence

from exporter.model import Rule, Sysctl

_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1
"""The range of the numbers that a kernel shows."""

Operands = tuple[int | str, ...]
"""The parts of a value that a rule compares: its numbers, or its text alone."""


def validate_rule(rule: Rule, sysctls: Sequence[Sysctl]) -> str:
    """Return the error of a rule for *sysctls* and its remedy, "" without one."""
    conditions = (rule.min, rule.max, rule.equals, rule.one_of, rule.same_as)
    if all(condition is None for condition in conditions):
        return "it has no condition; set min, max, equals, one_of or same_as"
    if rule.min is not None and rule.max is not None and rule.min > rule.max:
        return f"min {rule.min} is greater than max {rule.max}; exchange them"
    if rule.one_of == ():
        return "one_of is empty; list the allowed values, or remove it"
    for number in filter(_is_out_of_range, _numbers(rule)):
        return f"{number} is out of range; values are from {_LOWEST} to {_HIGHEST}"
    return next(filter(None, (incompatibility(rule, sysctl) for sysctl in sysctls)), "")


def _is_out_of_range(number: int) -> bool:
    return not _LOWEST <= number <= _HIGHEST


def _numbers(rule: Rule) -> Iterator[int]:
    yield from (bound for bound in (rule.min, rule.max) if bound is not None)
    for value in _expected_values(rule):
        yield from (operand for operand in value if isinstance(operand, int))


def _expected_values(rule: Rule) -> Iterator[Operands]:
    if rule.equals is not None:
        yield operands(rule.equals)
    yield from map(operands, rule.one_of or ())


def incompatibility(rule: Rule, sysctl: Sysctl) -> str:
    """
    Return why a rule cannot be evaluated for a sysctl and the remedy, or "".

    It makes a configuration invalid; for a snapshot made with another catalog it only
    means that there is no verdict.
    """
    if rule.field and rule.field not in sysctl.fields:
        fields = ", ".join(sysctl.fields)
        remedy = f"use one of {fields}" if fields else "remove it"
        return f"{sysctl.name} has no field {rule.field!r}; {remedy}"
    if sysctl.kind == "text" and (rule.min, rule.max) != (None, None):
        remedy = "use a narrower glob, or equals"
        return f"{sysctl.name} is text, which has no min or max; {remedy}"
    mismatches = (_mismatch(value, rule, sysctl) for value in _expected_values(rule))
    return next(filter(None, mismatches), "")


def _mismatch(expected: Operands, rule: Rule, sysctl: Sysctl) -> str:
    """Return why a value of a sysctl can never be *expected*, or ""."""
    is_text = any(isinstance(operand, str) for operand in expected)
    text = format_operands(expected)
    if sysctl.kind == "text":
        return "" if is_text else f'{sysctl.name} is text; write "{text}" in quotes'
    if is_text:
        return f"{sysctl.name} is a number, not {text!r}; remove the quotes"
    width = 1 if rule.field else len(sysctl.fields) or 1
    if len(expected) == width:
        return ""
    if width == 1:
        return f"{sysctl.name} is one number, not {len(expected)}; remove the list"
    fields = ", ".join(sysctl.fields)
    return f"{sysctl.name} is {width} numbers ({fields}); list all, or set a field"


def operands(value: int | str | tuple[int, ...]) -> Operands:
    """Return a value as a rule writes it, as operands."""
    match value:
        case int():
            return (value,)
        case str():
            return (" ".join(value.split()),)  # as values.parse_reading does
    return value


def format_operands(value: Operands) -> str:
    """Return operands as a rule writes them."""
    return " ".join(map(str, value))
