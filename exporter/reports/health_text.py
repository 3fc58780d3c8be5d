"""Describe saturation and drops in words. Pure; names are not escaped."""

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

_MAX_QUEUES = 10
"""Queues that a table lists."""
_MAX_IN_SUMMARY = 2
"""Queues, and counters, that a line of a report lists."""

_HELP = {counter.name: counter.help for counter in COUNTERS}


class HealthRow(Frozen, frozen=True, kw_only=True):
    """
    A signal in words.

    Attributes:
        subject: the socket, resource or counter.
        text: its value.
        is_bad: whether it shows saturation or drops.
        ratio: how full a resource is, 1 being full; None for counters, and where the
            limit is unknown.

    """

    subject: str
    text: str
    is_bad: bool
    ratio: float | None = None


def health_rows(health: Health) -> list[HealthRow]:
    """Return a row for each signal, none where nothing is saturated or counted."""
    if not is_unhealthy(health) and not any(entry.count for entry in health.counters):
        return []
    queues = health.queues or ()
    rows = [_queue_row(queue, health.somaxconn) for queue in queues[:_MAX_QUEUES]]
    more = max(0, len(queues) - _MAX_QUEUES) + health.left_out
    if more:
        rows.append(HealthRow(subject=f"and {more} more", text="", is_bad=False))
    rows += [
        HealthRow(
            subject=use.resource,
            text=_usage_text(use),
            is_bad=use.is_nearly_full,
            ratio=use.ratio,
        )
        for use in health.usages
    ]
    return rows + [_counter_row(entry) for entry in health.counters if entry.count]


def remarks(health: Health) -> Iterator[str]:
    """Yield the sentences below the table, or instead of it."""
    unknown = ", ".join(map(_short_name, health.unknown))
    summary = list(_healthy_summary(health))
    if not summary:
        yield f"Saturation and drops are unknown: no data for {unknown}."
        return
    if health_rows(health):
        at_zero = [entry.counter for entry in health.counters if not entry.count]
        if at_zero:
            yield f"Counters at 0: {', '.join(map(_short_name, at_zero))}."
    else:
        yield f"No saturation or drops detected: {'; '.join(summary)}."
    yield from _limit_remarks(health)
    if unknown:
        yield f"No data: {unknown}."


def _limit_remarks(health: Health) -> Iterator[str]:
    """Yield what follows from the origins of the queues' limits, each once."""
    queues = health.queues or ()
    origins = Counter(queue.limit_origin for queue in queues)
    if origins["stale"]:
        yield messages.STALE_LIMIT.format(somaxconn=health.somaxconn)
    elif origins["clamped"] and is_unhealthy(health):
        yield messages.CLAMPED_LIMIT
    if any(
        queue.is_nearly_full and queue.limit_origin == "application" for queue in queues
    ):
        yield messages.APPLICATION_LIMIT
    if origins[None] and health.somaxconn is not None:
        yield messages.UNKNOWN_LIMITS.format(number=origins[None])


def _queue_row(queue: Queue, somaxconn: int | None) -> HealthRow:
    is_above = somaxconn is not None and queue.limit > somaxconn
    origin = (
        messages.ABOVE_SOMAXCONN
        if is_above
        else messages.LIMIT_FROM[queue.limit_origin]
    )
    group = f", the fullest of {queue.sockets} sockets" if queue.sockets > 1 else ""
    return HealthRow(
        subject=socket_name(queue),
        text=f"{_queue_text(queue)}{group}; {origin}",
        is_bad=needs_attention(queue),
        ratio=queue.fill_ratio,
    )


def socket_name(queue: Queue) -> str:
    """Return the address of a listening socket as ss(8) prints it."""
    if not queue.port:
        return queue.address
    address = f"[{queue.address}]" if ":" in queue.address else queue.address
    return f"{address}:{queue.port}"


def _queue_text(queue: Queue) -> str:
    state = (
        ", full"
        if queue.fill_ratio >= 1
        else ", nearly full"
        if queue.is_nearly_full
        else ""
    )
    return f"queue {queue.queue}, limit {queue.limit}{state}"


def _usage_text(use: Usage) -> str:
    texts = messages.USAGE[use.resource]
    if use.limit is None:
        return texts.unknown.format(used=use.used)
    if use.ratio is None:
        return texts.unlimited.format(used=use.used)
    percent = _percent(use)
    text = texts.limited.format(used=use.used, limit=use.limit, percent=percent)
    is_upper_bound = (
        use.resource == "ports" and use.ratio >= NEARLY_FULL and not use.is_nearly_full
    )
    return text + (messages.SHARED_PORTS if is_upper_bound else "")


def _percent(use: Usage) -> str:
    whole = int(100 * (use.ratio or 0))
    return "under 1%" if use.used and not whole else f"{whole}%"


def _counter_row(entry: CounterValue) -> HealthRow:
    text = f"{entry.count}. {_HELP.get(entry.counter, '')}".rstrip()
    return HealthRow(
        subject=_short_name(entry.counter), text=text, is_bad=is_loss(entry)
    )


def _short_name(counter: str) -> str:
    return counter.removeprefix("TcpExt.")


def _healthy_summary(health: Health) -> Iterator[str]:
    if health.queues is not None:
        yield _listeners_text(health.queues, health.left_out)
    yield from (f"{use.resource} {_usage_text(use)}" for use in health.usages)
    if health.counters:
        verb = "is" if len(health.counters) == 1 else "are"
        names = ", ".join(_short_name(entry.counter) for entry in health.counters)
        yield f"{names} {verb} 0"


def _listeners_text(queues: Sequence[Queue], left_out: int) -> str:
    if not queues:
        return "no listener"
    first = queues[0]
    fullest = f"{socket_name(first)} (queue {first.queue}, limit {first.limit})"
    if len(queues) == 1:
        return f"one listener, {fullest}"
    return f"{len(queues) + left_out} listeners, the fullest {fullest}"


def summary_line(impact: SysctlImpact) -> str:
    """Return the saturation and drops of one sysctl as a line of a report."""
    health = impact.health
    parts = _first_few(
        f"{socket_name(queue)} {_short_queue_text(queue)}"
        for queue in health.queues or ()
    )
    parts += [f"{use.resource} {_short_usage_text(use)}" for use in health.usages]
    parts += _first_few(
        f"{_short_name(entry.counter)} {entry.count}" for entry in health.counters
    )
    return f"{_setting(impact)}{'; '.join(parts)}"


def _setting(impact: SysctlImpact) -> str:
    if not impact.sysctl:
        return ""
    value = f" {impact.value}" if isinstance(impact.value, str) else ""
    return f"{impact.sysctl.rpartition('.')[2]}{value}: "


def _short_queue_text(queue: Queue) -> str:
    origins = {"stale": ", stale", "application": ", set by the program"}
    return f"{_queue_text(queue)}{origins.get(queue.limit_origin or '', '')}"


def _short_usage_text(use: Usage) -> str:
    bound = "at most " if use.resource == "ports" else ""
    return f"{bound}{use.used} of {use.limit} ({_percent(use)})"


def _first_few(texts: Iterable[str]) -> list[str]:
    """Return the first two, and the number of the others unless it is one."""
    listed = list(texts)
    more = len(listed) - _MAX_IN_SUMMARY
    return [*listed[:_MAX_IN_SUMMARY], f"{more} more"] if more > 1 else listed
