"""Does it hurt: real listeners, overflown in real namespaces, read on /metrics."""

import contextlib
import itertools
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.counters import COUNTERS
from exporter.kernel.netns import entered
from testing.lab import LabNetns, named_netns, new_namespaces, wait_until
from testing.running import Exporter, Exposition, Labels, run_exporter
from tests.support.sockets import PORT, open_listener, open_socket, start_connections

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
BACKLOG = 3
CLIENTS = 10


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with run_exporter(
        tmp_path_factory.mktemp("running"),
        "--signals.counters-include=*",
        "--signals.max-listeners=300",
    ) as one:
        yield one


class NamedNetns(LabNetns):
    """A namespace as `ip netns` makes them: the first scrape shows its name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"/run/netns/{name}")
        self.name = name


_NUMBERS = itertools.count()


@contextlib.contextmanager
def spot() -> Iterator[NamedNetns]:
    """Make a namespace whose loopback is up, with a name that was never used."""
    name = f"exsig-{os.getpid()}-{next(_NUMBERS)}"
    with named_netns(name):
        one = NamedNetns(name)
        one.run("ip", "link", "set", "lo", "up")
        yield one


@pytest.fixture
def pod() -> Iterator[NamedNetns]:
    with spot() as one:
        yield one


@pytest.fixture
def other() -> Iterator[NamedNetns]:
    with spot() as one:
        yield one


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    """Give a place for sockets: one that is left would pin its namespace."""
    with contextlib.ExitStack() as stack:
        yield stack


def of(pod: NamedNetns) -> dict[str, str]:
    return {"netns": f"named/{pod.name}"}


def backlog(page: Exposition, pod: NamedNetns) -> str:
    (labels,) = page.samples("netns_listener_info", **of(pod), port=str(PORT))
    return dict(labels).get("backlog", "unknown")


def limit(page: Exposition, pod: NamedNetns) -> float | None:
    return page.value("netns_listener_queue_limit", **of(pod), port=str(PORT))


def stale(page: Exposition, pod: NamedNetns) -> float | None:
    return page.value("netns_listener_stale", **of(pod), port=str(PORT))


def test_a_clamped_limit_gets_stale_and_is_cleared_by_listening_again(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    pod.write(SOMAXCONN, "10")
    running.scrape()
    server = open_listener(pod, opened, backlog=100)

    page = running.scrape()
    assert (limit(page, pod), backlog(page, pod), stale(page, pod)) == (
        10,
        "clamped",
        0,
    )

    pod.write(SOMAXCONN, "50")
    page = running.scrape()
    assert (limit(page, pod), backlog(page, pod), stale(page, pod)) == (10, "stale", 1)

    server.listen(100)
    page = running.scrape()
    assert (limit(page, pod), backlog(page, pod), stale(page, pod)) == (
        50,
        "clamped",
        0,
    )

    server.listen(BACKLOG)
    page = running.scrape()
    assert (limit(page, pod), backlog(page, pod), stale(page, pod)) == (
        BACKLOG,
        "application",
        0,
    )


def test_a_limit_from_before_the_exporter_came_is_told_as_far_as_it_can_be(
    running: Exporter, pod: NamedNetns, other: NamedNetns, opened: contextlib.ExitStack
) -> None:
    """128 under 4096 is the program's own, unless somebody wrote somaxconn since."""
    open_listener(pod, opened, backlog=BACKLOG)
    open_listener(other, opened, backlog=BACKLOG)
    other.write(SOMAXCONN, "50000")

    page = running.scrape()

    assert (backlog(page, pod), stale(page, pod)) == ("application", 0)
    assert (backlog(page, other), stale(page, other)) == ("unknown", None)


def test_an_overflown_queue_shows_in_that_pod_alone_at_the_next_scrape(
    running: Exporter, pod: NamedNetns, other: NamedNetns, opened: contextlib.ExitStack
) -> None:
    overflows = "netns_tcpext_listen_overflows_total"
    drops = "netns_tcpext_listen_drops_total"
    queue = "netns_listener_queue"
    open_listener(pod, opened, backlog=BACKLOG)
    open_listener(other, opened, backlog=BACKLOG)
    page = running.scrape()
    assert page.value(queue, **of(pod), port=str(PORT)) == 0
    assert page.value(overflows, **of(pod)) == 0

    start_connections(pod, opened, count=CLIENTS)
    page = running.scrape()

    full = BACKLOG + 1  # the kernel lets one more in than the limit
    assert page.value(queue, **of(pod), port=str(PORT)) == full
    assert limit(page, pod) == BACKLOG
    assert page.value("netns_fill_ratio", **of(pod), resource="accept_queue") == 1
    assert (page.value(overflows, **of(pod)) or 0) >= CLIENTS - full
    assert (page.value(drops, **of(pod)) or 0) >= CLIENTS - full
    assert page.value(queue, **of(other), port=str(PORT)) == 0
    assert page.value(overflows, **of(other)) == 0
    assert page.value(drops, **of(other)) == 0


def test_an_accepted_connection_leaves_the_queue(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    server = open_listener(pod, opened, backlog=BACKLOG)
    client = open_socket(pod, opened)
    client.connect(("127.0.0.1", PORT))
    page = running.scrape()
    assert page.value("netns_listener_queue", **of(pod), port=str(PORT)) == 1
    assert page.value("netns_ports_in_use", **of(pod), protocol="tcp") == 3

    opened.enter_context(server.accept()[0])

    page = running.scrape()
    assert page.value("netns_listener_queue", **of(pod), port=str(PORT)) == 0


def test_connections_that_were_closed_are_in_time_wait(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    server = open_listener(pod, opened, backlog=BACKLOG)
    for _ in range(BACKLOG):
        client = open_socket(pod, opened)
        client.connect(("127.0.0.1", PORT))
        accepted = server.accept()[0]
        client.close()
        wait_until(lambda one=accepted: one.recv(1) == b"")  # type: ignore[misc]
        accepted.close()

    page = running.scrape()

    assert page.value("netns_tcp_time_wait_sockets", **of(pod)) == BACKLOG
    buckets = page.value(
        "netns_sysctl_value", **of(pod), sysctl="net.ipv4.tcp_max_tw_buckets"
    )
    assert buckets
    ratio = page.value("netns_fill_ratio", **of(pod), resource="time_wait")
    assert ratio == pytest.approx(BACKLOG / buckets)


def test_tracked_flows_are_held_against_the_machines_limit(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    """A rule that asks for a flow's state makes its namespace track flows."""
    rule = ("-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    pod.run("iptables", "-w", *rule)
    open_listener(pod, opened, backlog=BACKLOG)
    client = open_socket(pod, opened)
    client.connect(("127.0.0.1", PORT))

    page = running.scrape()

    assert page.value("netns_conntrack_entries", **of(pod)) == 1
    limit = float(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    assert page.samples("netns_conntrack_limit") == {frozenset(): limit}
    ratio = page.value("netns_fill_ratio", **of(pod), resource="conntrack")
    assert ratio == pytest.approx(1 / limit)
    assert page.value("netns_nf_conntrack_drop_total", **of(pod)) == 0


def listeners_of_every_kind(
    pod: LabNetns, opened: contextlib.ExitStack
) -> Iterator[socket.socket]:
    """Yield 200 sockets: IPv4, IPv6, both at once, mapped, wildcard, MPTCP, twins."""
    wildcards = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
    kinds: list[tuple[int, str, int, Callable[[socket.socket], None]]] = [
        (socket.AF_INET, "127.0.0.1", 0, _plain),
        (socket.AF_INET, wildcards[socket.AF_INET], 0, _plain),
        (socket.AF_INET6, "::1", 0, _plain),
        (socket.AF_INET6, wildcards[socket.AF_INET6], 0, _only_ipv6),
        (socket.AF_INET6, wildcards[socket.AF_INET6], 0, _both),
        (socket.AF_INET6, "::ffff:127.0.0.1", 0, _both),
        (socket.AF_INET, wildcards[socket.AF_INET], 0, _of_the_veth),
        (socket.AF_INET, "127.0.0.1", socket.IPPROTO_MPTCP, _plain),
    ]
    for number in range(200):
        family, address, protocol, set_up = kinds[number % len(kinds)]
        made = open_socket(pod, opened, family=family, protocol=protocol)
        set_up(made)
        made.bind((address, 10_000 + number))
        made.listen(number)
        yield made


def _plain(_made: socket.socket) -> None:
    pass


def _only_ipv6(made: socket.socket) -> None:
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _both(made: socket.socket) -> None:
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def _of_the_veth(made: socket.socket) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"e0")


def test_two_hundred_listeners_of_every_kind_are_what_ss_says(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    pod.run("ip", "link", "add", "e0", "type", "veth", "peer", "e1")
    made = list(listeners_of_every_kind(pod, opened))
    with entered(pod.path, pod.ino):
        client = socket.create_connection(("127.0.0.1", 10_000))
    opened.enter_context(client)

    page = running.scrape()

    told = {
        (_label(labels, "address"), int(_label(labels, "port"))): (
            int(queue),
            int(page.value("netns_listener_queue_limit", **dict(labels)) or 0),
        )
        for labels, queue in page.samples("netns_listener_queue", **of(pod)).items()
    }
    assert told == dict(_rows_of_ss(pod.run("ss", "-lntH")))
    assert len(told) == len(made) == 200
    assert page.value("netns_listening_sockets", **of(pod)) == 200
    mptcp = page.samples("netns_listener_info", **of(pod), protocol="mptcp")
    assert len(mptcp) == 25


def _label(labels: Labels, name: str) -> str:
    return dict(labels)[name]


def _rows_of_ss(text: str) -> Iterator[tuple[tuple[str, int], tuple[int, int]]]:
    for line in text.splitlines():
        _state, queue, limit, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        plain = address.replace("[", "").replace("]", "")
        yield (plain, int(port)), (int(queue), int(limit))


def test_every_counter_is_what_nstat_says(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    open_listener(pod, opened, backlog=BACKLOG)
    start_connections(pod, opened, count=CLIENTS)

    def same() -> bool:
        page = running.scrape()
        told = json.loads(pod.run("nstat", "-asz", "--json"))["kernel"]
        ours = {
            counter.name.replace(".", ""): page.value(counter.metric, **of(pod))
            for counter in COUNTERS
            if not counter.name.startswith("nf_conntrack.")
        }
        assert all(told.get(name) is not None for name in ours)
        return ours == {name: told[name] for name in ours}

    wait_until(same)  # between the two a client may retransmit


def test_of_several_sockets_on_one_port_the_fullest_is_shown(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    for limit_of_one in (100, BACKLOG):
        open_listener(pod, opened, backlog=limit_of_one, reuse_port=True)

    page = running.scrape()

    assert limit(page, pod) == BACKLOG
    assert page.value("netns_listener_sockets", **of(pod), port=str(PORT)) == 2
    assert page.value("netns_listening_sockets", **of(pod)) == 2


def test_listeners_past_the_cap_are_counted_and_the_fullest_kept(
    tmp_path: Path, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    for port in range(PORT, PORT + 20):
        open_listener(pod, opened, backlog=BACKLOG, port=port)
    client = open_socket(pod, opened)
    client.connect(("127.0.0.1", PORT + 19))

    with run_exporter(tmp_path, "--signals.max-listeners=5") as running:
        page = running.scrape()

    shown = page.samples("netns_listener_queue", **of(pod))
    assert len(shown) == 5
    assert str(PORT + 19) in {_label(labels, "port") for labels in shown}
    assert page.value("netns_listeners_left_out", **of(pod)) == 15
    assert page.value("netns_listening_sockets", **of(pod)) == 20
    problem = page.value("netns_collector_problem", problem="listeners_left_out")
    assert problem is not None
    assert problem >= 15


def test_unix_listeners_are_an_option(
    tmp_path: Path, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    with entered(pod.path, pod.ino):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.enter_context(server).bind('\0exporter "test"\n')
    server.listen(7)

    with run_exporter(tmp_path, "--signals.listeners=all") as running:
        page = running.scrape()

    (labels,) = page.samples("netns_listener_queue_limit", **of(pod))
    assert dict(labels)["address"] == '@exporter "test"\n'
    assert "port" not in dict(labels)
    assert page.value("netns_listener_info", **of(pod), protocol="unix") == 1


def test_without_the_right_to_enter_counters_and_sockets_are_still_told(
    tmp_path: Path, opened: contextlib.ExitStack
) -> None:
    kept = "-all,+sys_ptrace"
    prefix = ("setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}")
    with (
        new_namespaces(comm=b"exsig") as (pod,),
        run_exporter(tmp_path, prefix=prefix) as running,
    ):
        pod.run("ip", "link", "set", "lo", "up")
        open_listener(pod, opened, backlog=BACKLOG)
        client = open_socket(pod, opened)
        client.connect(("127.0.0.1", PORT))
        wait_until(lambda: running.scrape().samples("netns_info", comm="exsig"))

        page = running.scrape()

    (labels,) = page.samples("netns_info", comm="exsig")
    netns = _label(labels, "netns")
    assert page.value("netns_tcp_active_opens_total", netns=netns) == 1
    assert page.value("netns_ports_in_use", netns=netns, protocol="tcp") == 3
    assert not page.samples("netns_listener_queue", netns=netns)
    assert not page.samples("netns_listening_sockets", netns=netns)
