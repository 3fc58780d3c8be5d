"""Signals of real listeners and connections in real namespaces, on /metrics."""

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
    ) as exporter:
        yield exporter


class NamedNetns(LabNetns):
    """A namespace as `ip netns` makes them: the first scrape shows its name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"/run/netns/{name}")
        self.name = name


_NUMBERS = itertools.count()


@contextlib.contextmanager
def named_namespace() -> Iterator[NamedNetns]:
    """Make a namespace with loopback up and a name that was never used."""
    name = f"exsig-{os.getpid()}-{next(_NUMBERS)}"
    with named_netns(name):
        netns = NamedNetns(name)
        netns.run("ip", "link", "set", "lo", "up")
        yield netns


@pytest.fixture
def pod() -> Iterator[NamedNetns]:
    with named_namespace() as netns:
        yield netns


@pytest.fixture
def other() -> Iterator[NamedNetns]:
    with named_namespace() as netns:
        yield netns


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    """Close sockets at the end: an open one would keep its namespace alive."""
    with contextlib.ExitStack() as stack:
        yield stack


def owner(pod: NamedNetns) -> dict[str, str]:
    return {"netns": f"named/{pod.name}"}


def backlog(metrics: Exposition, pod: NamedNetns) -> str:
    (labels,) = metrics.samples("netns_listener_info", **owner(pod), port=str(PORT))
    return dict(labels).get("backlog", "unknown")


def limit(metrics: Exposition, pod: NamedNetns) -> float | None:
    return metrics.value("netns_listener_queue_limit", **owner(pod), port=str(PORT))


def stale(metrics: Exposition, pod: NamedNetns) -> float | None:
    return metrics.value("netns_listener_stale", **owner(pod), port=str(PORT))


def test_a_clamped_limit_is_stale_until_the_program_listens_again(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    pod.write(SOMAXCONN, "10")
    running.scrape()
    server = open_listener(pod, opened, backlog=100)

    metrics = running.scrape()
    assert (limit(metrics, pod), backlog(metrics, pod), stale(metrics, pod)) == (
        10,
        "clamped",
        0,
    )

    pod.write(SOMAXCONN, "50")
    metrics = running.scrape()
    assert (limit(metrics, pod), backlog(metrics, pod), stale(metrics, pod)) == (
        10,
        "stale",
        1,
    )

    server.listen(100)
    metrics = running.scrape()
    assert (limit(metrics, pod), backlog(metrics, pod), stale(metrics, pod)) == (
        50,
        "clamped",
        0,
    )

    server.listen(BACKLOG)
    metrics = running.scrape()
    assert (limit(metrics, pod), backlog(metrics, pod), stale(metrics, pod)) == (
        BACKLOG,
        "application",
        0,
    )


def test_a_limit_older_than_the_exporter_is_attributed_only_when_certain(
    running: Exporter, pod: NamedNetns, other: NamedNetns, opened: contextlib.ExitStack
) -> None:
    """A limit below somaxconn is the program's own, unless somaxconn was written."""
    open_listener(pod, opened, backlog=BACKLOG)
    open_listener(other, opened, backlog=BACKLOG)
    other.write(SOMAXCONN, "50000")

    metrics = running.scrape()

    assert (backlog(metrics, pod), stale(metrics, pod)) == ("application", 0)
    assert (backlog(metrics, other), stale(metrics, other)) == ("unknown", None)


def test_an_overflow_is_exported_for_its_namespace_only(
    running: Exporter, pod: NamedNetns, other: NamedNetns, opened: contextlib.ExitStack
) -> None:
    overflows = "netns_tcpext_listen_overflows_total"
    drops = "netns_tcpext_listen_drops_total"
    queue = "netns_listener_queue"
    open_listener(pod, opened, backlog=BACKLOG)
    open_listener(other, opened, backlog=BACKLOG)
    metrics = running.scrape()
    assert metrics.value(queue, **owner(pod), port=str(PORT)) == 0
    assert metrics.value(overflows, **owner(pod)) == 0

    start_connections(pod, opened, count=CLIENTS)
    metrics = running.scrape()

    full = BACKLOG + 1  # the kernel accepts one more than the limit
    assert metrics.value(queue, **owner(pod), port=str(PORT)) == full
    assert limit(metrics, pod) == BACKLOG
    assert metrics.value("netns_fill_ratio", **owner(pod), resource="accept_queue") == 1
    assert (metrics.value(overflows, **owner(pod)) or 0) >= CLIENTS - full
    assert (metrics.value(drops, **owner(pod)) or 0) >= CLIENTS - full
    assert metrics.value(queue, **owner(other), port=str(PORT)) == 0
    assert metrics.value(overflows, **owner(other)) == 0
    assert metrics.value(drops, **owner(other)) == 0


def test_an_accepted_connection_leaves_the_queue(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    server = open_listener(pod, opened, backlog=BACKLOG)
    client = open_socket(pod, opened)
    client.connect(("127.0.0.1", PORT))
    metrics = running.scrape()
    assert metrics.value("netns_listener_queue", **owner(pod), port=str(PORT)) == 1
    assert metrics.value("netns_ports_in_use", **owner(pod), protocol="tcp") == 3

    opened.enter_context(server.accept()[0])

    metrics = running.scrape()
    assert metrics.value("netns_listener_queue", **owner(pod), port=str(PORT)) == 0


def test_closed_connections_are_counted_in_time_wait(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    server = open_listener(pod, opened, backlog=BACKLOG)
    for _ in range(BACKLOG):
        client = open_socket(pod, opened)
        client.connect(("127.0.0.1", PORT))
        accepted = server.accept()[0]
        client.close()
        wait_until(lambda sock=accepted: sock.recv(1) == b"")  # type: ignore[misc]
        accepted.close()

    metrics = running.scrape()

    assert metrics.value("netns_tcp_time_wait_sockets", **owner(pod)) == BACKLOG
    buckets = metrics.value(
        "netns_sysctl_value", **owner(pod), sysctl="net.ipv4.tcp_max_tw_buckets"
    )
    assert buckets
    ratio = metrics.value("netns_fill_ratio", **owner(pod), resource="time_wait")
    assert ratio == pytest.approx(BACKLOG / buckets)


def test_tracked_connections_are_compared_with_the_nodes_limit(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    """A rule that matches on the state makes its namespace track connections."""
    rule = ("-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    pod.run("iptables", "-w", *rule)
    open_listener(pod, opened, backlog=BACKLOG)
    client = open_socket(pod, opened)
    client.connect(("127.0.0.1", PORT))

    metrics = running.scrape()

    assert metrics.value("netns_conntrack_entries", **owner(pod)) == 1
    limit = float(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    assert metrics.samples("netns_conntrack_limit") == {frozenset(): limit}
    ratio = metrics.value("netns_fill_ratio", **owner(pod), resource="conntrack")
    assert ratio == pytest.approx(1 / limit)
    assert metrics.value("netns_nf_conntrack_drop_total", **owner(pod)) == 0


def listeners_of_every_kind(
    pod: LabNetns, opened: contextlib.ExitStack
) -> Iterator[socket.socket]:
    """Yield 200 listeners: IPv4, IPv6, dual-stack, mapped, wildcard, bound, MPTCP."""
    wildcards = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
    kinds: list[tuple[int, str, int, Callable[[socket.socket], None]]] = [
        (socket.AF_INET, "127.0.0.1", 0, _no_option),
        (socket.AF_INET, wildcards[socket.AF_INET], 0, _no_option),
        (socket.AF_INET6, "::1", 0, _no_option),
        (socket.AF_INET6, wildcards[socket.AF_INET6], 0, _ipv6_only),
        (socket.AF_INET6, wildcards[socket.AF_INET6], 0, _dual_stack),
        (socket.AF_INET6, "::ffff:127.0.0.1", 0, _dual_stack),
        (socket.AF_INET, wildcards[socket.AF_INET], 0, _bind_to_veth),
        (socket.AF_INET, "127.0.0.1", socket.IPPROTO_MPTCP, _no_option),
    ]
    for number in range(200):
        family, address, protocol, configure = kinds[number % len(kinds)]
        listener = open_socket(pod, opened, family=family, protocol=protocol)
        configure(listener)
        listener.bind((address, 10_000 + number))
        listener.listen(number)
        yield listener


def _no_option(_listener: socket.socket) -> None:
    pass


def _ipv6_only(listener: socket.socket) -> None:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def _dual_stack(listener: socket.socket) -> None:
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def _bind_to_veth(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"e0")


def test_two_hundred_listeners_of_every_kind_match_ss(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    pod.run("ip", "link", "add", "e0", "type", "veth", "peer", "e1")
    listeners = list(listeners_of_every_kind(pod, opened))
    with entered(pod.path, pod.ino):
        client = socket.create_connection(("127.0.0.1", 10_000))
    opened.enter_context(client)

    metrics = running.scrape()

    exported = {
        (_label(labels, "address"), int(_label(labels, "port"))): (
            int(queue),
            int(metrics.value("netns_listener_queue_limit", **dict(labels)) or 0),
        )
        for labels, queue in metrics.samples(
            "netns_listener_queue", **owner(pod)
        ).items()
    }
    assert exported == dict(_rows_of_ss(pod.run("ss", "-lntH")))
    assert len(exported) == len(listeners) == 200
    assert metrics.value("netns_listening_sockets", **owner(pod)) == 200
    mptcp = metrics.samples("netns_listener_info", **owner(pod), protocol="mptcp")
    assert len(mptcp) == 25


def _label(labels: Labels, name: str) -> str:
    return dict(labels)[name]


def _rows_of_ss(text: str) -> Iterator[tuple[tuple[str, int], tuple[int, int]]]:
    for line in text.splitlines():
        _state, queue, limit, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        unbracketed = address.replace("[", "").replace("]", "")
        yield (unbracketed, int(port)), (int(queue), int(limit))


def test_every_counter_matches_nstat(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    open_listener(pod, opened, backlog=BACKLOG)
    start_connections(pod, opened, count=CLIENTS)

    def same() -> bool:
        metrics = running.scrape()
        expected = json.loads(pod.run("nstat", "-asz", "--json"))["kernel"]
        exported = {
            counter.name.replace(".", ""): metrics.value(counter.metric, **owner(pod))
            for counter in COUNTERS
            if not counter.name.startswith("nf_conntrack.")
        }
        assert all(expected.get(name) is not None for name in exported)
        return exported == {name: expected[name] for name in exported}

    wait_until(same)  # a client may retransmit in between


def test_the_fullest_of_several_sockets_on_a_port_is_exported(
    running: Exporter, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    for backlog in (100, BACKLOG):
        open_listener(pod, opened, backlog=backlog, reuse_port=True)

    metrics = running.scrape()

    assert limit(metrics, pod) == BACKLOG
    assert metrics.value("netns_listener_sockets", **owner(pod), port=str(PORT)) == 2
    assert metrics.value("netns_listening_sockets", **owner(pod)) == 2


def test_listeners_beyond_the_limit_are_counted_and_the_fullest_are_exported(
    tmp_path: Path, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    for port in range(PORT, PORT + 20):
        open_listener(pod, opened, backlog=BACKLOG, port=port)
    client = open_socket(pod, opened)
    client.connect(("127.0.0.1", PORT + 19))

    with run_exporter(tmp_path, "--signals.max-listeners=5") as running:
        metrics = running.scrape()

    shown = metrics.samples("netns_listener_queue", **owner(pod))
    assert len(shown) == 5
    assert str(PORT + 19) in {_label(labels, "port") for labels in shown}
    assert metrics.value("netns_listeners_left_out", **owner(pod)) == 15
    assert metrics.value("netns_listening_sockets", **owner(pod)) == 20
    problem = metrics.value("netns_collector_problem", problem="listeners_left_out")
    assert problem is not None
    assert problem >= 15


def test_unix_listeners_are_exported_if_configured(
    tmp_path: Path, pod: NamedNetns, opened: contextlib.ExitStack
) -> None:
    with entered(pod.path, pod.ino):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.enter_context(server).bind('\0exporter "test"\n')
    server.listen(7)

    with run_exporter(tmp_path, "--signals.listeners=all") as running:
        metrics = running.scrape()

    (labels,) = metrics.samples("netns_listener_queue_limit", **owner(pod))
    assert dict(labels)["address"] == '@exporter "test"\n'
    assert "port" not in dict(labels)
    assert metrics.value("netns_listener_info", **owner(pod), protocol="unix") == 1


def test_without_cap_sys_admin_counters_and_sockets_are_exported(
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

        metrics = running.scrape()

    (labels,) = metrics.samples("netns_info", comm="exsig")
    netns = _label(labels, "netns")
    assert metrics.value("netns_tcp_active_opens_total", netns=netns) == 1
    assert metrics.value("netns_ports_in_use", netns=netns, protocol="tcp") == 3
    assert not metrics.samples("netns_listener_queue", netns=netns)
    assert not metrics.samples("netns_listening_sockets", netns=netns)
