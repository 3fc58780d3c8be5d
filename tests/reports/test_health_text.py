"""What is said of a limit is true, and said once."""

import pytest

from exporter.analysis.health import CounterValue, Health, Queue, Usage
from exporter.analysis.ranking import SysctlImpact
from exporter.analysis.saturation import LimitOrigin
from exporter.counters import Resource
from exporter.model import Reading, Unreadable
from exporter.reports import messages
from exporter.reports.health_text import health_rows, remarks, socket_name, summary_line


def a_queue(
    port: int = 8080,
    *,
    address: str = "*",
    queue: int = 0,
    limit: int = 128,
    backlog: LimitOrigin | None = "clamped",
    sockets: int = 1,
) -> Queue:
    fill = queue / (limit + 1)
    return Queue(
        address=address,
        port=port,
        protocol="tcp",
        sockets=sockets,
        queue=queue,
        limit=limit,
        fill_ratio=fill,
        limit_origin=backlog,
        is_nearly_full=fill >= 0.8,
    )


def a_use(
    resource: Resource = "conntrack",
    *,
    used: int = 90,
    limit: int | None = 100,
    near: bool = False,
) -> Usage:
    return Usage(
        resource=resource,
        used=used,
        limit=limit,
        ratio=used / limit if limit else None,
        is_nearly_full=near,
    )


def a_count(
    count: int = 312, counter: str = "TcpExt.ListenOverflows", *, lost: bool = True
) -> CounterValue:
    return CounterValue(counter=counter, count=count, lost=lost)


def some_signs(
    *queues: Queue,
    somaxconn: int | None = 128,
    left_out: int = 0,
    uses: tuple[Usage, ...] = (),
    counts: tuple[CounterValue, ...] = (),
    unknown: tuple[str, ...] = (),
) -> Health:
    return Health(
        somaxconn=somaxconn,
        queues=queues,
        left_out=left_out,
        usages=uses,
        counters=counts,
        unknown=unknown,
    )


FULL = a_queue(queue=129)
LOST = (a_count(),)


def said(signs: Health) -> str:
    """Return the first line of a table."""
    return health_rows(signs)[0].text


def below(signs: Health) -> str:
    return " ".join(remarks(signs))


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (a_queue(queue=129), "queue 129, limit 128, full; as much as somaxconn allows"),
        (
            a_queue(queue=128),
            "queue 128, limit 128, nearly full; as much as somaxconn allows",
        ),
        (
            a_queue(limit=16, backlog="application"),
            "queue 0, limit 16; as the program asked",
        ),
        (a_queue(limit=16, backlog="stale"), "queue 0, limit 16; stale"),
        (
            a_queue(limit=16, backlog=None),
            "queue 0, limit 16; the program's own, or stale",
        ),
        (a_queue(limit=4096), "queue 0, limit 4096; more than somaxconn allows now"),
        (
            a_queue(sockets=4),
            "queue 0, limit 128, the fullest of 4 sockets; as much as somaxconn allows",
        ),
    ],
)
def test_a_queue_is_told_with_its_limit_and_where_that_is_from(
    queue: Queue, text: str
) -> None:
    assert said(some_signs(queue, counts=LOST)) == text


@pytest.mark.parametrize(
    ("queue", "where"),
    [
        (a_queue(80), "*:80"),
        (a_queue(80, address="::1"), "[::1]:80"),
        (a_queue(0, address="/run/app.sock"), "/run/app.sock"),
    ],
)
def test_a_queue_is_called_as_ss_calls_it(queue: Queue, where: str) -> None:
    assert socket_name(queue) == where


def test_what_hurts_is_marked() -> None:
    signs = some_signs(
        FULL,
        a_queue(1, backlog="stale"),
        a_queue(2),
        uses=(a_use(near=True), a_use("time_wait")),
        counts=(a_count(), a_count(7, "TcpExt.PruneCalled", lost=False)),
    )

    assert [(one.subject, one.is_bad) for one in health_rows(signs)] == [
        ("*:8080", True),
        ("*:1", True),
        ("*:2", False),
        ("conntrack", True),
        ("time_wait", False),
        ("ListenOverflows", True),
        ("PruneCalled", False),
    ]


@pytest.mark.parametrize(
    ("number", "left_out", "more"),
    [(10, 0, []), (11, 0, ["and 1 more"]), (12, 5, ["and 7 more"])],
)
def test_ten_queues_are_told_and_the_others_counted(
    number: int, left_out: int, more: list[str]
) -> None:
    queues = [a_queue(at + 1, queue=129) for at in range(number)]

    rows = health_rows(some_signs(*queues, left_out=left_out))

    assert [one.subject for one in rows[10:]] == more


def test_a_count_is_told_with_what_it_counts() -> None:
    (row,) = health_rows(some_signs(counts=LOST))

    assert row.subject == "ListenOverflows"
    assert row.text.startswith("312. Connection requests")


def test_a_counter_of_another_version_is_told_without() -> None:
    signs = some_signs(counts=(a_count(3, "TcpExt.Novel", lost=False),))

    assert said(signs) == "3."


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (a_use(), "90 of 100 flows (90%), the machine's limit for each namespace"),
        (
            a_use(used=1, limit=400),
            "1 of 400 flows (under 1%), the machine's limit for each namespace",
        ),
        (a_use(used=0), "0 of 100 flows (0%), the machine's limit for each namespace"),
        (a_use(limit=0), "90 flows, without a limit"),
        (a_use(limit=None), "90 flows; the limit is not known"),
        (a_use("time_wait"), "90 of 100 sockets (90%)"),
        (a_use("ports", near=True), "at most 90 of 100 ephemeral ports (90%)"),
        (a_use("ports", used=9), "at most 9 of 100 ephemeral ports (9%)"),
        (
            a_use("ports"),
            f"at most 90 of 100 ephemeral ports (90%){messages.SHARED_PORTS}",
        ),
    ],
)
def test_what_is_used_is_told_with_its_limit(use: Usage, text: str) -> None:
    assert said(Health(usages=(use,), counters=LOST)) == text


def test_where_nothing_hurts_one_line_says_what_was_looked_at() -> None:
    signs = some_signs(
        a_queue(queue=3), a_queue(81), left_out=1, uses=(a_use(),), counts=(a_count(0),)
    )

    assert health_rows(signs) == []
    assert below(signs) == (
        "Nothing shows that it hurts: 3 listeners, the fullest *:8080 (queue 3, limit "
        "128); conntrack 90 of 100 flows (90%), the machine's limit for each "
        "namespace; ListenOverflows is 0."
    )


def test_one_listener_and_none_are_called_so() -> None:
    assert "one listener, *:8080 (queue 0, limit 128)" in below(some_signs(a_queue()))
    assert "nothing listens" in below(some_signs())


def test_a_queue_that_was_not_asked_for_is_not_none() -> None:
    assert "listen" not in below(Health(usages=(a_use(),)))


def test_a_count_that_means_no_loss_is_told_without_a_verdict() -> None:
    signs = Health(counters=(a_count(6, "TcpExt.TCPAbortOnTimeout", lost=False),))

    assert len(health_rows(signs)) == 1
    assert below(signs) == ""


def test_what_is_not_known_is_named() -> None:
    some = Health(counters=LOST, unknown=("TcpExt.TCPKeepAlive", "conntrack"))
    nothing = Health(unknown=("accept_queue",))

    assert below(some) == "Not known: TCPKeepAlive, conntrack."
    assert below(nothing) == (
        "Whether it hurts is not known: nothing tells of accept_queue."
    )


def test_what_is_still_0_is_named_below_a_table() -> None:
    signs = Health(counters=(*LOST, a_count(0, "TcpExt.ListenDrops")))

    assert below(signs) == "Still 0: ListenDrops."


def test_a_stale_limit_is_told_what_to_do_once() -> None:
    stale = [a_queue(at, backlog="stale") for at in (1, 2)]

    (line,) = remarks(some_signs(*stale, FULL, somaxconn=4096))

    assert line.startswith(
        "stale: a limit from when somaxconn was lower than now (4096)"
    )
    assert "restart the program" in line


def test_who_raises_somaxconn_is_told_that_listeners_keep_their_limit() -> None:
    assert "after raising somaxconn, restart" in below(some_signs(FULL))
    assert "after raising" not in below(some_signs(a_queue()))


def test_a_program_that_asked_for_too_little_is_told_so() -> None:
    full = a_queue(queue=129, backlog="application")
    idle = a_queue(1, backlog="application")

    assert below(some_signs(full)) == messages.APPLICATION_LIMIT
    assert messages.APPLICATION_LIMIT not in below(some_signs(idle, counts=LOST))


def test_a_limit_that_nobody_saw_begin_is_told_so_once() -> None:
    unseen = [a_queue(at, backlog=None) for at in (1, 2)]
    known = "smaller limit than somaxconn's: 2. Whether"

    assert below(some_signs(*unseen, counts=LOST)).count(known) == 1
    assert below(some_signs(*unseen)).count(known) == 1
    unread = some_signs(*unseen, counts=LOST, somaxconn=None)
    assert below(unread) == ""


def in_brief(
    signs: Health, sysctl: str = "net.core.somaxconn", value: Reading | None = "128"
) -> str:
    return summary_line(SysctlImpact(sysctl=sysctl, value=value, health=signs))


def test_a_report_has_the_value_the_limit_and_the_loss_side_by_side() -> None:
    signs = some_signs(FULL, counts=(*LOST, a_count(318, "TcpExt.ListenDrops")))

    assert in_brief(signs) == (
        "somaxconn 128: *:8080 queue 129, limit 128, full; ListenOverflows 312; "
        "ListenDrops 318"
    )


@pytest.mark.parametrize(
    ("number", "more"), [(2, ""), (3, "*:3"), (4, "2 more"), (9, "7 more")]
)
def test_a_report_has_few_queues_of_many(number: int, more: str) -> None:
    queues = [a_queue(at + 1, queue=129) for at in range(number)]

    line = in_brief(some_signs(*queues))

    assert more in line
    assert line.count("queue 129") == (3 if number == 3 else 2)


def test_a_report_says_whose_a_limit_is_where_it_is_not_somaxconns() -> None:
    line = in_brief(
        some_signs(a_queue(1, backlog="stale"), a_queue(2, backlog="application"))
    )

    assert "limit 128, stale;" in line
    assert line.endswith("limit 128, as the program asked")


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (a_use(near=True), "conntrack 90 of 100 (90%)"),
        (a_use("ports", near=True), "ports at most 90 of 100 (90%)"),
    ],
)
def test_a_report_has_what_is_used(use: Usage, text: str) -> None:
    assert in_brief(Health(usages=(use,)), sysctl="") == text


@pytest.mark.parametrize("value", [None, Unreadable(unreadable="denied")])
def test_a_value_that_is_not_known_is_left_out(value: Reading | None) -> None:
    assert in_brief(Health(counters=LOST), value=value) == (
        "somaxconn: ListenOverflows 312"
    )
