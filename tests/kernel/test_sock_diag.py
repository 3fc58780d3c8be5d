"""Listening sockets on real namespaces: right, each once, as ss and pyroute2 say."""

import contextlib
import errno
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.diag import MarshalDiag  # type: ignore[import-untyped]

from exporter.kernel import sock_diag
from exporter.kernel.listen_sockets import ListenSocket, parse_listeners
from exporter.kernel.netns import entered
from exporter.kernel.sock_diag import (
    DUMP_TCP,
    DUMP_UNIX,
    MAX_BYTES,
    dump_listeners,
    exact_requests,
    query_listeners,
)
from testing.lab import ProcessNetns, add_veth, new_namespaces, wait_until

needs_root = pytest.mark.root
pytestmark = pytest.mark.usefixtures("no_leaked_files")

HAS_MPTCP = os.path.exists("/proc/sys/net/mptcp/enabled")
MPTCP = socket.IPPROTO_MPTCP if HAS_MPTCP else socket.IPPROTO_TCP
needs_mptcp = pytest.mark.skipif(not HAS_MPTCP, reason="no MPTCP in this kernel")
both_protocols = pytest.mark.parametrize(
    "protocol", sorted({socket.IPPROTO_TCP, MPTCP})
)

SO_COOKIE = 57  # asm-generic/socket.h
LINK_LOCAL = "fe80::77"


class Room(NamedTuple):
    """A namespace, and the sockets that this process has in it."""

    pod: ProcessNetns
    sockets: ExitStack

    def listen(
        self,
        address: str,
        limit: int = 3,
        *,
        port: int = 0,
        protocol: int = 0,
        v6only: int = 0,
        device: str = "",
    ) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with entered(self.pod.path, self.pod.ino):
            one = socket.socket(family, socket.SOCK_STREAM, protocol)
            self.sockets.enter_context(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if v6only:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if device:
                one.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode()
                )
            one.bind(socket.getaddrinfo(address, port, family)[0][4])
            one.listen(limit)
        return one

    def listen_at(self, name: str | bytes, *, kind: int = 1) -> socket.socket:
        with entered(self.pod.path, self.pod.ino):
            unix = socket.socket(socket.AF_UNIX, kind)
        self.sockets.enter_context(unix).bind(name)
        unix.listen(3)
        return unix

    def connect(self, to: socket.socket, count: int) -> None:
        with entered(self.pod.path, self.pod.ino):
            for _ in range(count):
                client = self.sockets.enter_context(socket.socket(to.family))
                client.settimeout(0)
                client.connect_ex(to.getsockname())

    def dump(self, *requests: bytes, max_bytes: int = MAX_BYTES) -> sock_diag.DiagReply:
        with entered(self.pod.path, self.pod.ino):
            return dump_listeners(*requests or (DUMP_TCP,), max_bytes=max_bytes)

    def ask(self, dump: sock_diag.DiagReply) -> sock_diag.DiagReply | None:
        """Ask for the sockets of *dump*, one by one."""
        with entered(self.pod.path, self.pod.ino):
            return query_listeners(exact_requests(dump.raw))

    def listening(self, *requests: bytes) -> list[ListenSocket]:
        with entered(self.pod.path, self.pod.ino):
            return parse_listeners(dump_listeners(*requests or (DUMP_TCP,)).raw)

    def only(self, *requests: bytes) -> ListenSocket:
        (one,) = self.listening(*requests)
        return one


@pytest.fixture
def room() -> Iterator[Room]:
    with rooms(1) as (one,):
        yield one


@contextlib.contextmanager
def rooms(count: int) -> Iterator[list[Room]]:
    with new_namespaces(count) as pods, ExitStack() as sockets:
        for pod in pods:
            pod.run("ip", "link", "set", "lo", "up")
        yield [Room(pod, sockets) for pod in pods]


ADDRESSES: list[tuple[str, dict[str, Any], str]] = [
    ("127.0.0.1", {}, "127.0.0.1"),
    ("0.0.0.0", {}, "0.0.0.0"),
    ("::1", {}, "::1"),
    ("::", {}, "*"),
    ("::", {"v6only": 1}, "::"),
    ("::ffff:127.0.0.1", {}, "::ffff:127.0.0.1"),
    (f"{LINK_LOCAL}%e0", {}, f"{LINK_LOCAL}%e0"),
    ("0.0.0.0", {"device": "e0"}, "0.0.0.0%e0"),
    ("::", {"device": "e0"}, "*%e0"),
]


@pytest.fixture
def singles(room: Room) -> Room:
    """198 listeners of every kind: those with a queue, those of MPTCP."""
    with_device(room)
    for number in range(18 * 9):
        address, how, _ = ADDRESSES[number % 9]
        one = room.listen(address, number % 7, **how)
        room.connect(one, number % 4 if address in {"127.0.0.1", "::1"} else 0)
    for number in range(18):
        room.listen("127.0.0.1", number, protocol=MPTCP)
        room.listen("::", number, protocol=MPTCP)
    return room


@pytest.fixture
def crowd(singles: Room) -> Room:
    """200 listeners: two of them are twins, which share address and port."""
    singles.listen("127.0.0.1", 9, port=300)
    singles.listen("127.0.0.1", 9, port=300)
    return singles


def with_device(room: Room) -> None:
    add_veth(room.pod.pid, f"sd{room.pod.pid}")
    room.pod.run("ip", "link", "set", "e0", "up")
    room.pod.run("ip", "address", "add", f"{LINK_LOCAL}/64", "dev", "e0", "nodad")


def by_ss(room: Room, options: str) -> Counter[tuple[str, int, int, int]]:
    rows = [line.split() for line in room.pod.run("ss", options).splitlines()]
    found: Counter[tuple[str, int, int, int]] = Counter()
    for _, queue, limit, local, *_ in rows:
        address, _, port = local.rpartition(":")
        plain = address.replace("[", "").replace("]", "")
        found[plain, int(port), int(queue), int(limit)] += 1
    return found


def by_pyroute2(raw: bytes, device: str) -> Iterator[ListenSocket]:
    for message in MarshalDiag().parse(raw):
        address = message["idiag_src"]
        if address == "::" and not message.get_attr("INET_DIAG_SKV6ONLY"):
            address = "*"
        ulp = message.get_attr("INET_DIAG_ULP_INFO") or ""
        yield ListenSocket(
            cookie=message["idiag_cookie"],
            protocol="mptcp" if b"mptcp".hex(":") in ulp else "tcp",
            address=f"{address}%{device}" if message["idiag_if"] else address,
            port=message["idiag_sport"],
            queue=message["idiag_rqueue"],
            limit=message["idiag_wqueue"],
        )


@needs_root
@both_protocols
def test_the_limit_is_what_the_last_listen_got(room: Room, protocol: int) -> None:
    room.pod.write("net.core.somaxconn", "10")
    one = room.listen("127.0.0.1", 100, protocol=protocol)
    assert room.only().limit == 10

    room.pod.write("net.core.somaxconn", "50")
    assert room.only().limit == 10

    one.listen(100)
    assert room.only().limit == 50

    one.listen(3)
    assert room.only().limit == 3


@needs_root
def test_the_queue_is_who_waits_to_be_accepted(room: Room) -> None:
    one = room.listen("127.0.0.1", 8)
    room.connect(one, 5)
    wait_until(lambda: room.only().queue == 5)

    one.accept()[0].close()

    assert room.only().queue == 4


@needs_root
@both_protocols
def test_a_limit_of_three_holds_four(room: Room, protocol: int) -> None:
    room.connect(room.listen("127.0.0.1", 3, protocol=protocol), 10)
    wait_until(lambda: overflows(room) >= 6)

    assert (room.only().queue, room.only().limit) == (4, 3)


def overflows(room: Room) -> int:
    text = Path(f"/proc/{room.pod.pid}/net/netstat").read_text().splitlines()
    names, numbers = (line.split() for line in text if line.startswith("TcpExt:"))
    return int(numbers[names.index("ListenOverflows")])


@needs_root
def test_the_same_as_ss(crowd: Room) -> None:
    found = crowd.listening()

    assert len(found) == 200
    assert Counter(one[2:] for one in found) == by_ss(crowd, "-lntH")
    assert any(one.queue for one in found)


@needs_root
@needs_mptcp
def test_mptcp_is_told_once_and_is_what_ss_calls_so(crowd: Room) -> None:
    found = [one for one in crowd.listening() if one.protocol == "mptcp"]

    assert len(found) == 36
    assert Counter(one[2:] for one in found) == by_ss(crowd, "-lnMH")


@needs_root
def test_the_same_as_pyroute2(crowd: Room) -> None:
    raw = crowd.dump().raw
    with entered(crowd.pod.path, crowd.pod.ino):
        found = parse_listeners(raw)

    assert found == list(by_pyroute2(raw, "e0"))


@needs_root
@pytest.mark.parametrize(("address", "how", "shown"), ADDRESSES)
def test_addresses(room: Room, address: str, how: dict[str, Any], shown: str) -> None:
    with_device(room)
    room.listen(address, **how | {"port": 80})

    assert room.only()[1:] == ("tcp", shown, 80, 0, 3)


@needs_root
def test_an_interface_that_is_gone_is_its_number(room: Room) -> None:
    with_device(room)
    room.listen("0.0.0.0", device="e0")
    with entered(room.pod.path, room.pod.ino):
        index = socket.if_nametoindex("e0")
    room.pod.run("ip", "link", "delete", "e0")

    assert room.only().address == f"0.0.0.0%{index}"


@needs_root
def test_names_are_asked_only_for_who_is_bound_to_an_interface(room: Room) -> None:
    room.listen("::1")

    assert parse_listeners(room.dump().raw, no_name)


def no_name(_index: int) -> str:
    pytest.fail("asked")


@needs_root
def test_each_once_and_of_this_namespace_alone() -> None:
    with rooms(2) as (one, other):
        ours = [one.listen(a) for a in ("127.0.0.1", "::1", "::") for _ in range(30)]
        other.listen("127.0.0.1")
        unix = one.listen_at("\0here")
        other.listen_at("\0there")
        cookies = [s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8) for s in [*ours, unix]]

        found = [listening.cookie for listening in one.listening(DUMP_TCP, DUMP_UNIX)]

        assert sorted(found) == sorted(
            int.from_bytes(c, sys.byteorder) for c in cookies
        )


@needs_root
@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"\0abstract", "@abstract"), (b"\0a\0b\0", "@a@b@"), (b"\0\xff", "@\\xff")],
)
def test_abstract_names(room: Room, name: bytes, shown: str) -> None:
    room.listen_at(name)

    assert room.only(DUMP_UNIX)[1:] == ("unix", shown, 0, 0, 3)


@needs_root
@pytest.mark.parametrize("name", ["plain.sock", "with space", "é", b"\xff\n"])
def test_paths(room: Room, name: str | bytes, tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    room.listen_at(path)

    assert room.only(DUMP_UNIX).address == path.decode("utf-8", "backslashreplace")


@needs_root
def test_unix_listeners_are_the_same_as_to_ss(room: Room, tmp_path: Path) -> None:
    room.listen_at(str(tmp_path / "a"))
    busy = room.listen_at("\0b\0c")
    room.listen_at("\0packets", kind=socket.SOCK_SEQPACKET)
    room.connect(busy, 1)
    rows = [line.split() for line in room.pod.run("ss", "-lxH").splitlines()]

    found = {(one.address, one.queue, one.limit) for one in room.listening(DUMP_UNIX)}

    assert found == {(row[4], int(row[2]), int(row[3])) for row in rows}
    assert ("@b@c", 1, 3) in found


@needs_root
def test_an_unchanged_namespace_gives_the_same_bytes(crowd: Room) -> None:
    crowd.listen_at("\0one")
    first = crowd.dump(DUMP_TCP, DUMP_UNIX)
    assert all(crowd.dump(DUMP_TCP, DUMP_UNIX) == first for _ in range(20))

    one = crowd.listen("127.0.0.1")

    assert crowd.dump(DUMP_TCP, DUMP_UNIX) != first
    one.close()
    assert crowd.dump(DUMP_TCP, DUMP_UNIX) == first


@needs_root
def test_more_than_the_limit_is_cut_and_told(crowd: Room) -> None:
    whole = crowd.dump()
    cut = crowd.dump(DUMP_TCP, DUMP_UNIX, max_bytes=4096)

    assert (whole.truncated, cut.truncated) == (False, True)
    assert 4096 < len(cut.raw) < 4096 + (32 << 10) < len(whole.raw)
    assert whole.raw.startswith(cut.raw)


@needs_root
def test_known_ones_are_answered_to_the_byte_as_in_a_dump(singles: Room) -> None:
    dump = singles.dump()

    assert singles.ask(dump) == dump._replace(exact=True)
    assert dump.raw.count(b"mptcp") == (36 if HAS_MPTCP else 0)


@needs_root
def test_of_a_port_that_several_addresses_share_each_is_found(room: Room) -> None:
    for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1"):
        room.listen(address, port=80)
    room.listen("::", port=80, v6only=1)
    dump = room.dump()

    assert room.ask(dump) == dump._replace(exact=True)


@needs_root
@both_protocols
def test_what_is_answered_is_of_now(room: Room, protocol: int) -> None:
    one = room.listen("127.0.0.1", 8, protocol=protocol)
    dump = room.dump()
    room.connect(one, 5)
    wait_until(lambda: room.only().queue == 5)
    one.listen(6)

    assert room.ask(dump) == room.dump()._replace(exact=True)
    assert (room.only().queue, room.only().limit) == (5, 6)


@needs_root
def test_without_listeners_the_namespace_is_told(room: Room) -> None:
    found = room.ask(room.dump())

    assert found == (b"", False, room.pod.cookie, True)


@needs_root
def test_one_that_closed_is_not_found(singles: Room) -> None:
    one = singles.listen("127.0.0.1")
    dump = singles.dump()
    one.close()

    assert singles.ask(dump) is None


@needs_root
def test_another_socket_in_the_same_place_is_not_it(room: Room) -> None:
    one = room.listen("127.0.0.1", port=80)
    dump = room.dump()
    one.close()
    room.listen("127.0.0.1", port=80)

    assert room.ask(dump) is None


@needs_root
def test_twins_take_a_dump(room: Room) -> None:
    """The kernel finds one of them, whichever is asked for."""
    room.listen("127.0.0.1", port=80)
    room.listen("127.0.0.1", port=80)

    assert room.ask(room.dump()) is None


@needs_root
def test_another_namespace_does_not_answer() -> None:
    with rooms(2) as (one, other):
        one.listen("127.0.0.1", port=80)
        other.listen("127.0.0.1", port=80)

        assert other.ask(one.dump()) is None


@needs_root
def test_where_answers_find_no_room_nobody_waits(
    singles: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, real = singles.dump(), sock_diag._diag_socket

    def narrow() -> socket.socket:
        diag = real()
        diag.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return diag

    monkeypatch.setattr(sock_diag, "_diag_socket", narrow)

    assert singles.ask(dump) is None


@needs_root
def test_nothing_stays_open(crowd: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        crowd.dump(DUMP_TCP, DUMP_UNIX)
        crowd.dump(max_bytes=1)
        crowd.ask(crowd.dump())
        with pytest.raises(OSError, match="sock_diag"):
            crowd.dump(DUMP_UNIX, BAD_FAMILY)
    monkeypatch.setattr(sock_diag, "_receive", no_name)
    with pytest.raises(pytest.fail.Exception):
        crowd.dump()

    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_a_dump_does_not_keep_a_namespace_alive() -> None:
    with new_namespaces() as (pod,):
        name = f"sd{pod.pid}"
        add_veth(pod.pid, name)
        with entered(pod.path, pod.ino):
            dump_listeners(DUMP_TCP, DUMP_UNIX)
            assert query_listeners([])
        pod.kill()

        wait_until(lambda: not os.path.exists(f"/sys/class/net/{name}"))


BAD_FAMILY = DUMP_UNIX[:16] + b"\xfe" + DUMP_UNIX[17:]
NO_OPERATION = struct.pack("=IHHII", 16, 1, 1, 1, 0)  # NLMSG_NOOP has no answer


def test_a_refusal_is_an_error_with_its_number() -> None:
    with pytest.raises(OSError, match="sock_diag: ") as refused:
        dump_listeners(BAD_FAMILY)

    assert refused.value.errno in {errno.ENOENT, errno.EINVAL}


def test_who_does_not_answer_is_not_waited_for() -> None:
    with pytest.raises(TimeoutError, match="does not respond"):
        dump_listeners(NO_OPERATION)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


DONE = message(sock_diag.NLMSG_DONE, bytes(4))


def test_the_end_of_a_dump_is_found_where_it_shares_a_datagram() -> None:
    assert sock_diag._end_of_dump(message(18, bytes(72)) * 2 + DONE) == 176


def test_a_name_that_looks_like_the_end_of_a_dump_is_not_it() -> None:
    assert (
        sock_diag._end_of_dump(message(18, bytes(72)) + message(20, bytes(16) + DONE))
        is None
    )


def test_a_dump_that_failed_midway_is_an_error() -> None:
    with pytest.raises(OSError, match="sock_diag") as failed:
        sock_diag._end_of_dump(
            message(18, b"") + message(3, struct.pack("=i", -errno.ENOMEM))
        )

    assert failed.value.errno == errno.ENOMEM


def attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


ATTRIBUTES = st.builds(attribute, st.sampled_from([0, 4, 11, 19]), st.binary())
BODIES = st.lists(st.binary(max_size=80) | ATTRIBUTES).map(b"".join)
WHOLE = st.sampled_from([b"", bytes(16), bytes(72), b"\2" + b"\1" * 71])
MESSAGES = st.builds(
    lambda kind, whole, rest: message(kind, whole + rest),
    st.sampled_from([2, 3, 18, 20]),
    WHOLE,
    BODIES,
)


@given(raw=st.binary() | st.lists(MESSAGES | st.binary(max_size=9)).map(b"".join))
def test_any_bytes_are_a_list_of_what_can_be_shown(raw: bytes) -> None:
    assert all(len(one) == len(DUMP_TCP) for one in exact_requests(raw))
    for one in parse_listeners(raw, lambda _: "not UTF-8: \udcff"):
        assert one.address.encode().isascii() or one.protocol == "unix"


def test_what_is_cut_off_is_dropped_and_the_rest_is_the_same() -> None:
    inet = message(18, b"\x02\x0a" + bytes(range(70)))
    named = attribute(0, b"/x") + attribute(4, bytes(8))
    raw = inet + message(20, bytes(16) + named) + inet
    whole = parse_listeners(raw, str)
    assert [one.protocol for one in whole] == ["tcp", "unix", "tcp"]

    for end in range(len(raw)):
        found = parse_listeners(raw[:end], str)

        assert found == whole[: len(found)]
        assert len(found) == sum(end >= size for size in (88, 88 + 52, len(raw)))


def test_a_dump_says_which_namespace_it_is_of() -> None:
    with new_namespaces(2) as pods:
        for pod in pods:
            with entered(pod.path, pod.ino):
                found = dump_listeners(DUMP_TCP).netns_cookie

            assert found == pod.cookie
