"""The texts about saturation and drops are true, and each appears once."""

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


def some_health(
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


def first_text(health: Health) -> str:
    """Return the text of the first row."""
    return health_rows(health)[0].text


def remarks_text(health: Health) -> str:
    return " ".join(remarks(health))


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (a_queue(queue=129), "queue 129, limit 128, full; capped by somaxconn"),
        (
            a_queue(queue=128),
            "queue 128, limit 128, nearly full; capped by somaxconn",
        ),
        (
            a_queue(limit=16, backlog="application"),
            "queue 0, limit 16; set by the program",
        ),
        (a_queue(limit=16, backlog="stale"), "queue 0, limit 16; stale"),
        (
            a_queue(limit=16, backlog=None),
            "queue 0, limit 16; set by the program, or stale",
        ),
        (a_queue(limit=4096), "queue 0, limit 4096; above the current somaxconn"),
        (
            a_queue(sockets=4),
            "queue 0, limit 128, the fullest of 4 sockets; capped by somaxconn",
        ),
    ],
)
def test_the_text_of_a_queue_has_its_limit_and_the_limits_origin(
    queue: Queue, text: str
) -> None:
    assert first_text(some_health(queue, counts=LOST)) == text


@pytest.mark.parametrize(
    ("queue", "where"),
    [
        (a_queue(80), "*:80"),
        (a_queue(80, address="::1"), "[::1]:80"),
        (a_queue(0, address="/run/app.sock"), "/run/app.sock"),
    ],
)
def test_a_socket_is_named_as_ss_prints_it(queue: Queue, where: str) -> None:
    assert socket_name(queue) == where


def test_rows_with_saturation_or_drops_are_marked() -> None:
    health = some_health(
        FULL,
        a_queue(1, backlog="stale"),
        a_queue(2),
        uses=(a_use(near=True), a_use("time_wait")),
        counts=(a_count(), a_count(7, "TcpExt.PruneCalled", lost=False)),
    )

    assert [(row.subject, row.is_bad) for row in health_rows(health)] == [
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
def test_ten_queues_are_listed_and_the_others_counted(
    number: int, left_out: int, more: list[str]
) -> None:
    queues = [a_queue(at + 1, queue=129) for at in range(number)]

    rows = health_rows(some_health(*queues, left_out=left_out))

    assert [row.subject for row in rows[10:]] == more


def test_a_counter_has_its_meaning() -> None:
    (row,) = health_rows(some_health(counts=LOST))

    assert row.subject == "ListenOverflows"
    assert row.text.startswith("312. Connection requests")


def test_a_counter_of_another_version_has_no_meaning() -> None:
    health = some_health(counts=(a_count(3, "TcpExt.Novel", lost=False),))

    assert first_text(health) == "3."


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (a_use(), "90 of 100 connections (90%), the host's limit for each namespace"),
        (
            a_use(used=1, limit=400),
            "1 of 400 connections (under 1%), the host's limit for each namespace",
        ),
        (
            a_use(used=0),
            "0 of 100 connections (0%), the host's limit for each namespace",
        ),
        (a_use(limit=0), "90 connections, no limit"),
        (a_use(limit=None), "90 connections, limit unknown"),
        (a_use("time_wait"), "90 of 100 sockets (90%)"),
        (a_use("ports", near=True), "at most 90 of 100 ephemeral ports (90%)"),
        (a_use("ports", used=9), "at most 9 of 100 ephemeral ports (9%)"),
        (
            a_use("ports"),
            f"at most 90 of 100 ephemeral ports (90%){messages.SHARED_PORTS}",
        ),
    ],
)
def test_the_use_of_a_resource_has_its_limit(use: Usage, text: str) -> None:
    assert first_text(Health(usages=(use,), counters=LOST)) == text


def test_without_saturation_or_drops_one_line_has_the_signals() -> None:
    health = some_health(
        a_queue(queue=3), a_queue(81), left_out=1, uses=(a_use(),), counts=(a_count(0),)
    )

    assert health_rows(health) == []
    assert remarks_text(health) == (
        "No saturation or drops detected: 3 listeners, the fullest *:8080 (queue 3, "
        "limit 128); conntrack 90 of 100 connections (90%), the host's limit for each "
        "namespace; ListenOverflows is 0."
    )


def test_one_listener_and_none_have_their_own_words() -> None:
    assert "one listener, *:8080 (queue 0, limit 128)" in remarks_text(
        some_health(a_queue())
    )
    assert "no listener" in remarks_text(some_health())


def test_queues_that_are_not_selected_are_not_mentioned() -> None:
    assert "listen" not in remarks_text(Health(usages=(a_use(),)))


def test_a_counter_that_is_no_loss_has_a_row_and_no_remark() -> None:
    health = Health(counters=(a_count(6, "TcpExt.TCPAbortOnTimeout", lost=False),))

    assert len(health_rows(health)) == 1
    assert remarks_text(health) == ""


def test_missing_signals_are_named() -> None:
    some = Health(counters=LOST, unknown=("TcpExt.TCPKeepAlive", "conntrack"))
    nothing = Health(unknown=("accept_queue",))

    assert remarks_text(some) == "No data: TCPKeepAlive, conntrack."
    assert remarks_text(nothing) == (
        "Saturation and drops are unknown: no data for accept_queue."
    )


def test_counters_at_0_are_named_below_a_table() -> None:
    health = Health(counters=(*LOST, a_count(0, "TcpExt.ListenDrops")))

    assert remarks_text(health) == "Counters at 0: ListenDrops."


def test_the_remedy_for_stale_limits_appears_once() -> None:
    stale = [a_queue(at, backlog="stale") for at in (1, 2)]

    (line,) = remarks(some_health(*stale, FULL, somaxconn=4096))

    assert line.startswith(
        "A stale limit dates from when somaxconn was lower than now (4096)"
    )
    assert "Restart the program" in line


def test_a_full_queue_has_the_remark_that_listeners_keep_their_limit() -> None:
    assert "after raising somaxconn, restart" in remarks_text(some_health(FULL))
    assert "after raising" not in remarks_text(some_health(a_queue()))


def test_a_full_queue_with_the_programs_limit_has_a_remark() -> None:
    full = a_queue(queue=129, backlog="application")
    idle = a_queue(1, backlog="application")

    assert remarks_text(some_health(full)) == messages.APPLICATION_LIMIT
    assert messages.APPLICATION_LIMIT not in remarks_text(
        some_health(idle, counts=LOST)
    )


def test_limits_of_unknown_origin_have_one_remark() -> None:
    unseen = [a_queue(at, backlog=None) for at in (1, 2)]
    remark = "limit below somaxconn: 2. The program set it"

    assert remarks_text(some_health(*unseen, counts=LOST)).count(remark) == 1
    assert remarks_text(some_health(*unseen)).count(remark) == 1
    unread = some_health(*unseen, counts=LOST, somaxconn=None)
    assert remarks_text(unread) == ""


def summary(
    health: Health, sysctl: str = "net.core.somaxconn", value: Reading | None = "128"
) -> str:
    return summary_line(SysctlImpact(sysctl=sysctl, value=value, health=health))


def test_a_summary_has_the_value_the_limit_and_the_drops() -> None:
    health = some_health(FULL, counts=(*LOST, a_count(318, "TcpExt.ListenDrops")))

    assert summary(health) == (
        "somaxconn 128: *:8080 queue 129, limit 128, full; ListenOverflows 312; "
        "ListenDrops 318"
    )


@pytest.mark.parametrize(
    ("number", "more"), [(2, ""), (3, "*:3"), (4, "2 more"), (9, "7 more")]
)
def test_a_summary_has_few_queues_of_many(number: int, more: str) -> None:
    queues = [a_queue(at + 1, queue=129) for at in range(number)]

    line = summary(some_health(*queues))

    assert more in line
    assert line.count("queue 129") == (3 if number == 3 else 2)


def test_a_summary_has_the_origin_of_a_limit_that_is_not_somaxconn() -> None:
    line = summary(
        some_health(a_queue(1, backlog="stale"), a_queue(2, backlog="application"))
    )

    assert "limit 128, stale;" in line
    assert line.endswith("limit 128, set by the program")


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (a_use(near=True), "conntrack 90 of 100 (90%)"),
        (a_use("ports", near=True), "ports at most 90 of 100 (90%)"),
    ],
)
def test_a_summary_has_the_use_of_a_resource(use: Usage, text: str) -> None:
    assert summary(Health(usages=(use,)), sysctl="") == text


@pytest.mark.parametrize("value", [None, Unreadable(unreadable="denied")])
def test_a_summary_leaves_out_an_unknown_value(value: Reading | None) -> None:
    assert summary(Health(counters=LOST), value=value) == (
        "somaxconn: ListenOverflows 312"
    )
