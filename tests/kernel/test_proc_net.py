"""Counters and socket numbers of a namespace, compared with nstat."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.counters import COUNTERS
from exporter.kernel.netns import entered
from exporter.kernel.proc_net import (
    FILES,
    CounterParser,
    NetFiles,
    Sockstat,
    parse_sockstat,
    read_conntrack,
    read_files,
    reread_changed,
)
from testing.lab import ProcessNetns, add_veth, new_namespaces, wait_until

pytestmark = pytest.mark.usefixtures("no_leaked_files")

NAMES = [counter.name for counter in COUNTERS]
NOTHING = NetFiles(b"", b"", b"", b"", b"")
V4 = (socket.AF_INET, "127.0.0.1")
V6 = (socket.AF_INET6, "::1")


@contextlib.contextmanager
def net(path: str | Path) -> Iterator[int]:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield directory
    finally:
        os.close(directory)


def counters(pod: ProcessNetns) -> dict[str, int | None]:
    with net(f"/proc/{pod.pid}/net") as directory:
        values = CounterParser(NAMES).parse(
            read_files(directory), read_conntrack(directory)
        )
    return dict(zip(NAMES, values, strict=True))


def sockstat(pod: ProcessNetns) -> Sockstat:
    with net(f"/proc/{pod.pid}/net") as directory:
        files = read_files(directory)
    return parse_sockstat(files.sockstat, files.sockstat6)


def number(pod: ProcessNetns, name: str) -> int:
    return counters(pod)[name] or 0


@contextlib.contextmanager
def pods(count: int = 1) -> Iterator[list[ProcessNetns]]:
    with new_namespaces(count) as namespaces:
        for pod in namespaces:
            pod.run("ip", "link", "set", "lo", "up")
        yield namespaces


class Sockets(contextlib.ExitStack):
    """Sockets of one namespace, closed at the end."""

    def __init__(self, pod: ProcessNetns) -> None:
        super().__init__()
        self.pod = pod

    def add(self, family: int, kind: int) -> socket.socket:
        with entered(self.pod.path, self.pod.ino):
            return self.enter_context(socket.socket(family, kind))

    def listener(self, where: tuple[int, str], backlog: int = 9) -> socket.socket:
        family, address = where
        listener = self.add(family, socket.SOCK_STREAM)
        listener.bind((address, 0))
        listener.listen(backlog)
        return listener

    def connect(self, listener: socket.socket) -> socket.socket:
        """Start a connection without waiting for it."""
        client = self.add(listener.family, socket.SOCK_STREAM)
        client.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            client.connect(listener.getsockname())
        return client

    def pair(self, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
        client = self.connect(listener)
        accepted, _ = listener.accept()
        return client, self.enter_context(accepted)

    def udp(self, where: tuple[int, str]) -> socket.socket:
        family, address = where
        receiver = self.add(family, socket.SOCK_DGRAM)
        receiver.bind((address, 0))
        return receiver


def overflow(pod: ProcessNetns) -> None:
    """Overflow an accept queue that holds one connection."""
    with Sockets(pod) as sockets:
        listener = sockets.listener(V4, backlog=0)
        for _ in range(4):
            sockets.connect(listener)
        wait_until(lambda: number(pod, "TcpExt.ListenOverflows"))


def overflow_receive_buffer(pod: ProcessNetns, where: tuple[int, str]) -> None:
    """Send a UDP socket more than its receive buffer holds."""
    with Sockets(pod) as sockets:
        receiver = sockets.udp(where)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sender = sockets.add(where[0], socket.SOCK_DGRAM)
        for _ in range(50):
            sender.sendto(bytes(1000), receiver.getsockname())


def be_refused(pod: ProcessNetns) -> None:
    """Connect to a port on which nothing listens."""
    with Sockets(pod) as sockets:
        listener = sockets.listener(V4)
        address = listener.getsockname()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            sockets.add(V4[0], socket.SOCK_STREAM).connect(address)


def compared_with_nstat(
    pod: ProcessNetns,
) -> tuple[dict[str, int | None], dict[str, int]]:
    """Return our counters and those of nstat, by its names, while none changes."""
    theirs: dict[str, int] = {}

    def quiet() -> bool:
        before = counters(pod)
        theirs.update(json.loads(pod.run("nstat", "-asz", "--json"))["kernel"])
        return counters(pod) == before

    wait_until(quiet)
    return {n.replace(".", ""): value for n, value in counters(pod).items()}, theirs


@pytest.mark.root
def test_every_counter_has_the_value_of_nstat() -> None:
    with pods() as (pod,):
        overflow(pod)
        overflow_receive_buffer(pod, V4)
        overflow_receive_buffer(pod, V6)
        be_refused(pod)

        ours, theirs = compared_with_nstat(pod)

        both = ours.keys() & theirs.keys()
        assert {name: ours[name] for name in both} == {n: theirs[n] for n in both}
        assert ours.keys() - both == {n for n in ours if n.startswith("nf_conntrack")}
        assert {name for name in both if theirs[name]} >= {
            "TcpExtListenOverflows",
            "TcpExtListenDrops",
            "TcpActiveOpens",
            "TcpPassiveOpens",
            "TcpAttemptFails",
            "TcpOutRsts",
            "UdpRcvbufErrors",
            "UdpInErrors",
            "Udp6RcvbufErrors",
        }


@pytest.mark.root
def test_this_kernel_has_every_counter_of_the_table() -> None:
    with new_namespaces() as (pod,), net(f"/proc/{pod.pid}/net") as directory:
        missing = {name for name, value in counters(pod).items() if value is None}
        if not read_conntrack(directory):  # its module is not loaded
            missing = {n for n in missing if not n.startswith("nf_conntrack.")}
        has_mptcp = b"\nMPTcpExt:" in read_files(directory).netstat  # CONFIG_MPTCP
        if not has_mptcp:
            missing = {n for n in missing if not n.startswith("MPTcpExt.")}

        assert not missing


@pytest.mark.root
def test_an_overflow_is_counted_only_in_its_namespace() -> None:
    with pods(2) as (pod, neighbour):
        overflow(pod)

        assert number(pod, "TcpExt.ListenOverflows") >= 1
        assert number(pod, "TcpExt.ListenDrops") >= 1
        assert counters(neighbour)["TcpExt.ListenOverflows"] == 0
        assert counters(neighbour)["TcpExt.ListenDrops"] == 0


@pytest.mark.root
def test_an_open_directory_follows_the_thread_into_each_namespace() -> None:
    names = ["TcpExt.ListenOverflows", "nf_conntrack.drop"]
    reader = CounterParser(names)
    with pods(2) as (pod, neighbour), net("/proc/thread-self/net") as directory:
        overflow(pod)
        overflows = []
        for netns in (pod, neighbour, pod):
            with entered(netns.path, netns.ino):
                files, conntrack = read_files(directory), read_conntrack(directory)
            overflows.append(reader.parse(files, conntrack)[0])

        assert overflows[0] == overflows[2] == number(pod, names[0])
        assert overflows[1] == 0


@pytest.mark.root
def test_sockets_of_both_families_are_counted_in_their_namespace() -> None:
    with pods(2) as (pod, neighbour), Sockets(pod) as sockets:
        four, six = sockets.listener(V4), sockets.listener(V6)
        for listener in (four, four, six):
            sockets.pair(listener)
        client, accepted = sockets.pair(four)
        for where in (V4, V4, V6):
            sockets.udp(where)

        wait_until(lambda: sockstat(pod).tcp == 2 + 4 * 2)
        assert sockstat(pod).udp == 3
        assert sockstat(pod).time_wait == 0

        client.close()
        accepted.close()

        wait_until(lambda: sockstat(pod).time_wait == 1)
        assert sockstat(pod).tcp == 2 + 3 * 2
        assert sockstat(neighbour)[:3] == (0, 0, 0)


@pytest.mark.root
def test_tcp_memory_is_that_of_the_machine() -> None:
    with pods(2) as (pod, neighbour), Sockets(pod) as sockets:
        before = sockstat(neighbour).tcp_memory_pages
        assert before is not None
        client, _ = sockets.pair(sockets.listener(V4))
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(bytes(1 << 16))

        wait_until(lambda: (sockstat(neighbour).tcp_memory_pages or 0) > before + 20)


@pytest.mark.root
def test_the_directory_of_an_ended_process_is_an_error() -> None:
    with new_namespaces() as (pod,), net(f"/proc/{pod.pid}/net") as directory:
        pod.kill()

        with pytest.raises(ProcessLookupError):
            read_files(directory)


@pytest.mark.root
def test_reading_does_not_keep_a_namespace_alive() -> None:
    with new_namespaces() as (pod,), net(f"/proc/{pod.pid}/net") as directory:
        veth = add_veth(pod.pid)
        read_files(directory)
        read_conntrack(directory)
        pod.kill()

        wait_until(lambda: not veth.exists())


def test_without_ipv6_its_counters_are_absent_not_zero(tmp_path: Path) -> None:
    (tmp_path / "netstat").write_text("TcpExt: ListenDrops\nTcpExt: 3\n")
    (tmp_path / "sockstat").write_text("UDP: inuse 2 mem 0\n")
    reader = CounterParser(["TcpExt.ListenDrops", "Udp6.RcvbufErrors", "Udp.InErrors"])

    with net(tmp_path) as directory:
        files, conntrack = read_files(directory), read_conntrack(directory)

    assert files.snmp6 == files.sockstat6 == conntrack == b""
    assert reader.parse(files, conntrack) == (3, None, None)
    assert parse_sockstat(files.sockstat, files.sockstat6) == (None, 2, *[None] * 3)


def test_a_long_file_is_read_to_its_end(tmp_path: Path) -> None:
    text = b"drop\n" + b"0001\n" * 40_000
    (tmp_path / "stat").mkdir()
    (tmp_path / "stat/nf_conntrack").write_bytes(text)

    with net(tmp_path) as directory:
        assert read_conntrack(directory) == text


def test_any_other_error_is_raised(tmp_path: Path) -> None:
    (tmp_path / "netstat").symlink_to("netstat")

    with net(tmp_path) as directory, pytest.raises(OSError, match="symbolic links"):
        read_files(directory)


class TestRereadChanged:
    """Files that cannot have changed are not read."""

    def reread(
        self, tmp_path: Path, before: NetFiles, *, snmp6: bool = False
    ) -> NetFiles:
        with net(tmp_path) as directory:
            return reread_changed(directory, before, snmp6=snmp6)

    @pytest.fixture
    def before(self, tmp_path: Path) -> NetFiles:
        texts = NetFiles(b"a", b"b", b"c", b"d", b"UDP6: inuse 0\n")
        for name, text in texts._asdict().items():
            (tmp_path / name).write_bytes(text)
        with net(tmp_path) as directory:
            return read_files(directory)

    def test_without_packets_netstat_is_not_read(
        self, tmp_path: Path, before: NetFiles
    ) -> None:
        (tmp_path / "netstat").write_bytes(b"new")
        (tmp_path / "snmp6").write_bytes(b"new")
        (tmp_path / "sockstat").write_bytes(b"new")

        now = self.reread(tmp_path, before)

        assert now == before._replace(sockstat=b"new")

    def test_with_packets_netstat_is_read(
        self, tmp_path: Path, before: NetFiles
    ) -> None:
        (tmp_path / "netstat").write_bytes(b"new")
        (tmp_path / "snmp").write_bytes(b"new")

        now = self.reread(tmp_path, before)

        assert now == before._replace(netstat=b"new", snmp=b"new")

    def test_snmp6_is_always_read_for_counters_beyond_udp(
        self, tmp_path: Path, before: NetFiles
    ) -> None:
        (tmp_path / "snmp6").write_bytes(b"new")

        assert self.reread(tmp_path, before, snmp6=True).snmp6 == b"new"
        assert CounterParser(["Ip6.ReasmFails"]).needs_snmp6
        assert not CounterParser(["Udp6.RcvbufErrors", "Ip.ReasmFails"]).needs_snmp6

    @pytest.mark.parametrize("sockets", [(1, 1), (1, 0), (0, 1)])
    def test_snmp6_is_read_while_there_are_udp_sockets_and_once_more(
        self, tmp_path: Path, before: NetFiles, sockets: tuple[int, int]
    ) -> None:
        then, now = (b"UDP6: inuse %d\n" % number for number in sockets)
        (tmp_path / "sockstat6").write_bytes(now)
        (tmp_path / "snmp6").write_bytes(b"new")

        found = self.reread(tmp_path, before._replace(sockstat6=then))

        assert found.snmp6 == b"new"

    def test_an_ended_process_is_an_error(
        self, tmp_path: Path, before: NetFiles
    ) -> None:
        for name in FILES:
            (tmp_path / name).unlink()

        with pytest.raises(ProcessLookupError):
            self.reread(tmp_path, before)

    @pytest.mark.root
    def test_an_overflow_is_counted_at_once(self) -> None:
        with pods() as (pod,), net(f"/proc/{pod.pid}/net") as directory:
            before = read_files(directory)
            overflow(pod)
            now = reread_changed(directory, before, snmp6=False)

        reader = CounterParser(["TcpExt.ListenOverflows"])
        assert reader.parse(before, b"") == (0,)
        assert (reader.parse(now, b"")[0] or 0) > 0


def test_the_hexadecimal_counters_of_all_cpus_are_summed() -> None:
    text = (
        b"entries  drop insert_failed early_drop icmp_error  expect_new\n"
        b"00000001  0000000a 00000000 000000ff 00000000  00000000\n"
        b"00000001  00000006 00000000 00000001 00000000  00000000\n"
    )
    names = ["nf_conntrack.early_drop", "nf_conntrack.drop", "nf_conntrack.gone"]

    assert CounterParser(names).parse(NOTHING, text) == (256, 16, None)


def test_a_changed_header_is_parsed_again() -> None:
    reader = CounterParser(["Tcp.InErrs", "TcpExt.TW", "Udp.InErrors"])
    old = NOTHING._replace(
        netstat=b"TcpExt: TW Else\nTcpExt: 1 2\n",
        snmp=b"Tcp: InErrs\nTcp: -3\nUdp: InErrors\nUdp: 4\n",
    )
    new = NOTHING._replace(
        netstat=b"TcpExt: Else TW\nTcpExt: 5 6\n",
        snmp=b"IcmpMsg: InType3\nIcmpMsg: 9\nTcp: New InErrs\nTcp: 7 8\n",
    )

    for _ in range(2):
        assert reader.parse(old, b"") == (-3, 1, 4)
        assert reader.parse(new, b"") == (8, 6, None)


def test_a_counter_may_be_named_twice() -> None:
    files = NOTHING._replace(netstat=b"TcpExt: TW\nTcpExt: 1\n")

    assert CounterParser(["TcpExt.TW"] * 2).parse(files, b"") == (1, 1)


def test_a_prefix_of_a_name_is_another_counter() -> None:
    line = b"%-32s\t%d\n"
    files = NOTHING._replace(snmp6=line % (b"Ip6InNoRoutesX", 1) + line % (b"Ip6In", 2))

    assert CounterParser(["Ip6.InNoRoutes", "Ip6.In"]).parse(files, b"") == (None, 2)


def test_the_first_and_the_last_line_of_snmp6_are_parsed() -> None:
    files = NOTHING._replace(snmp6=b"%-32s\t1\n%-32s\t20\n" % (b"Ip6In", b"Udp6Out"))

    assert CounterParser(["Ip6.In", "Udp6.Out"]).parse(files, b"") == (1, 20)


PIECES = st.sampled_from(
    [
        *(b"TcpExt: ListenDrops TW\nTcpExt: ", b"Tcp: InErrs\nTcp: ", b"drop\n"),
        *(b"%-32b\t" % b"Udp6RcvbufErrors", b"TCP: inuse ", b"UDP6: inuse "),
        *(b" ", b"\n", b"0", b"7", b"-", b"f", b"9" * 5000, b"\xff", b"\0"),
    ]
)
ANYTHING = st.binary() | st.lists(PIECES, max_size=9).map(b"".join)
READER = CounterParser(NAMES)
TOO_LONG = NOTHING._replace(sockstat6=b"UDP6: inuse " + b"9" * 5000)


@example(files=TOO_LONG, conntrack=b"")
@given(files=st.builds(NetFiles, *[ANYTHING] * 5), conntrack=ANYTHING)
def test_any_bytes_are_parsed_to_integers_or_none(
    files: NetFiles, conntrack: bytes
) -> None:
    values = READER.parse(files, conntrack)
    parsed = parse_sockstat(files.sockstat, files.sockstat6)

    assert len(values) == len(NAMES)
    assert {type(value) for value in (*values, *parsed)} <= {int, type(None)}
