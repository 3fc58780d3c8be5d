"""What signs of harm say, in words; names in them are as they came. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from exporter.analysis.health import (
    NEARLY_FULL,
    CounterValue,
    Health,
    Queue,
    Usage,
    is_loss,
    is_unhealthy,
    needs_attention,
)
from exporter.analysis.ranking import SysctlImpact
from exporter.counters import COUNTERS
from exporter.model import Frozen
from exporter.reports import messages

_LISTED = 10
"""How many queues are listed."""
_BRIEFLY = 2
"""How many queues, and counters, a line of a report has."""

_HELP = {counter.name: counter.help for counter in COUNTERS}


class HealthRow(Frozen, frozen=True, kw_only=True):
    """A sign in words: of what, what it says, whether that hurts; ratio: how full."""

    subject: str
    text: str
    is_bad: bool
    ratio: float | None = None


def health_rows(signs: Health) -> list[HealthRow]:
    """Return the signs that say something, () where all is well."""
    if not is_unhealthy(signs) and not any(one.count for one in signs.counters):
        return []
    queues = signs.queues or ()
    told = [_of_queue(one, signs.somaxconn) for one in queues[:_LISTED]]
    more = max(0, len(queues) - _LISTED) + signs.left_out
    if more:
        told.append(HealthRow(subject=f"and {more} more", text="", is_bad=False))
    told += [
        HealthRow(
            subject=one.resource,
            text=_of_use(one),
            is_bad=one.is_nearly_full,
            ratio=one.ratio,
        )
        for one in signs.usages
    ]
    return told + [_of_count(one) for one in signs.counters if one.count]


def remarks(signs: Health) -> Iterator[str]:
    """Yield what is to be said below the table, or instead of it."""
    unknown = ", ".join(map(_short, signs.unknown))
    seen = list(_calm(signs))
    if not seen:
        yield f"Whether it hurts is not known: nothing tells of {unknown}."
        return
    if health_rows(signs):
        if zeros := [_short(one.counter) for one in signs.counters if not one.count]:
            yield f"Still 0: {', '.join(zeros)}."
    else:
        yield f"Nothing shows that it hurts: {'; '.join(seen)}."
    yield from _of_limits(signs)
    if unknown:
        yield f"Not known: {unknown}."


def _of_limits(signs: Health) -> Iterator[str]:
    """Yield what follows from where the queues' limits are from, each once."""
    kinds = Counter(one.limit_origin for one in signs.queues or ())
    if kinds["stale"]:
        yield messages.STALE_LIMIT.format(somaxconn=signs.somaxconn)
    elif kinds["clamped"] and is_unhealthy(signs):
        yield messages.CLAMPED_LIMIT
    if any(
        one.is_nearly_full and one.limit_origin == "application"
        for one in signs.queues or ()
    ):
        yield messages.APPLICATION_LIMIT
    if kinds[None] and signs.somaxconn is not None:
        yield messages.UNKNOWN_LIMITS.format(number=kinds[None])


def _of_queue(one: Queue, somaxconn: int | None) -> HealthRow:
    higher = somaxconn is not None and one.limit > somaxconn
    whose = (
        messages.ABOVE_SOMAXCONN if higher else messages.LIMIT_FROM[one.limit_origin]
    )
    sockets = f", the fullest of {one.sockets} sockets" if one.sockets > 1 else ""
    text = f"{_filled(one)}{sockets}; {whose}"
    return HealthRow(
        subject=socket_name(one),
        text=text,
        is_bad=needs_attention(one),
        ratio=one.fill_ratio,
    )


def socket_name(one: Queue) -> str:
    """Return where a queue is, as ss(8) shows it."""
    if not one.port:
        return one.address
    address = f"[{one.address}]" if ":" in one.address else one.address
    return f"{address}:{one.port}"


def _filled(one: Queue) -> str:
    state = (
        ", full"
        if one.fill_ratio >= 1
        else ", nearly full"
        if one.is_nearly_full
        else ""
    )
    return f"queue {one.queue}, limit {one.limit}{state}"


def _of_use(one: Usage) -> str:
    using = messages.USAGE[one.resource]
    if one.limit is None:
        return using.unknown.format(used=one.used)
    if one.ratio is None:
        return using.unlimited.format(used=one.used)
    said = using.limited.format(used=one.used, limit=one.limit, percent=_percent(one))
    doubt = (
        one.resource == "ports" and one.ratio >= NEARLY_FULL and not one.is_nearly_full
    )
    return said + (messages.SHARED_PORTS if doubt else "")


def _percent(one: Usage) -> str:
    whole = int(100 * (one.ratio or 0))
    return "under 1%" if one.used and not whole else f"{whole}%"


def _of_count(one: CounterValue) -> HealthRow:
    text = f"{one.count}. {_HELP.get(one.counter, '')}".rstrip()
    return HealthRow(subject=_short(one.counter), text=text, is_bad=is_loss(one))


def _short(counter: str) -> str:
    return counter.removeprefix("TcpExt.")


def _calm(signs: Health) -> Iterator[str]:
    if signs.queues is not None:
        yield _queues(signs.queues, signs.left_out)
    yield from (f"{one.resource} {_of_use(one)}" for one in signs.usages)
    if signs.counters:
        are = "is" if len(signs.counters) == 1 else "are"
        yield f"{', '.join(_short(one.counter) for one in signs.counters)} {are} 0"


def _queues(queues: Sequence[Queue], left_out: int) -> str:
    if not queues:
        return "nothing listens"
    fullest = (
        f"{socket_name(queues[0])} (queue {queues[0].queue}, limit {queues[0].limit})"
    )
    if len(queues) == 1:
        return f"one listener, {fullest}"
    return f"{len(queues) + left_out} listeners, the fullest {fullest}"


def summary_line(harm: SysctlImpact) -> str:
    """Return what hurts in one line of a report."""
    signs = harm.health
    said = _few(f"{socket_name(one)} {_in_brief(one)}" for one in signs.queues or ())
    said += [f"{one.resource} {_used_in_brief(one)}" for one in signs.usages]
    said += _few(f"{_short(one.counter)} {one.count}" for one in signs.counters)
    return f"{_setting(harm)}{'; '.join(said)}"


def _setting(harm: SysctlImpact) -> str:
    if not harm.sysctl:
        return ""
    value = f" {harm.value}" if isinstance(harm.value, str) else ""
    return f"{harm.sysctl.rpartition('.')[2]}{value}: "


def _in_brief(one: Queue) -> str:
    said = {"stale": ", stale", "application": ", as the program asked"}
    return f"{_filled(one)}{said.get(one.limit_origin or '', '')}"


def _used_in_brief(one: Usage) -> str:
    most = "at most " if one.resource == "ports" else ""
    return f"{most}{one.used} of {one.limit} ({_percent(one)})"


def _few(every: Iterable[str]) -> list[str]:
    """Return the first two, or three where there are not more."""
    said = list(every)
    more = len(said) - _BRIEFLY
    return [*said[:_BRIEFLY], f"{more} more"] if more > 1 else said
