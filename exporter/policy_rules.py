"""Whether a policy rule can be applied to a sysctl. Pure."""

from collections.abc import Iterator, Sequence

from exporter.model import Rule, Sysctl

_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1

Operands = tuple[int | str, ...]
"""What is compared of a value: its numbers, or its one text."""


def validate_rule(rule: Rule, sysctls: Sequence[Sysctl]) -> str:
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
    return next(filter(None, (incompatibility(rule, sysctl) for sysctl in sysctls)), "")


def _impossible(number: int) -> bool:
    return not _LOWEST <= number <= _HIGHEST


def _numbers_in(rule: Rule) -> Iterator[int]:
    yield from (bound for bound in (rule.min, rule.max) if bound is not None)
    for parts in _wanted(rule):
        yield from (part for part in parts if isinstance(part, int))


def _wanted(rule: Rule) -> Iterator[Operands]:
    if rule.equals is not None:
        yield operands(rule.equals)
    yield from map(operands, rule.one_of or ())


def incompatibility(rule: Rule, sysctl: Sysctl) -> str:
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


def _unlike(wanted: Operands, rule: Rule, sysctl: Sysctl) -> str:
    """Return why a value of a sysctl can never be *wanted*, or ""."""
    is_text = any(isinstance(part, str) for part in wanted)
    if sysctl.kind == "text":
        remedy = f'{sysctl.name} is text; write "{shown(wanted)}" in quotes'
        return "" if is_text else remedy
    if is_text:
        return f"{sysctl.name} is a number, not {shown(wanted)!r}; write no quotes"
    width = 1 if rule.field else len(sysctl.fields) or 1
    if len(wanted) == width:
        return ""
    if width == 1:
        return f"{sysctl.name} is one number, not {len(wanted)}; write no list"
    named = ", ".join(sysctl.fields)
    return f"{sysctl.name} is {width} numbers ({named}); equals all, or choose a field"


def operands(wanted: int | str | tuple[int, ...]) -> Operands:
    """Return the value that a rule names as operands."""
    match wanted:
        case int():
            return (wanted,)
        case str():
            return (" ".join(wanted.split()),)  # as values.reading has it
    return wanted


def shown(parts: Operands) -> str:
    """Return operands as a rule writes them."""
    return " ".join(map(str, parts))
