"""Listening sockets are parsed as ss and pyroute2 show them."""

import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.diag import MarshalDiag  # type: ignore[import-untyped]

from exporter.kernel.listen_sockets import ListenSocket, parse_listeners
from exporter.kernel.netns import entered
from exporter.kernel.sock_diag import DUMP_TCP, DUMP_UNIX, exact_requests
from testing.lab import wait_until
from tests.support.listeners import (
    ADDRESSES,
    HAS_MPTCP,
    MPTCP,
    ListenerNetns,
    listener_namespaces,
)

needs_root = pytest.mark.root
pytestmark = pytest.mark.usefixtures("no_leaked_files")

needs_mptcp = pytest.mark.skipif(not HAS_MPTCP, reason="no MPTCP in this kernel")
both_protocols = pytest.mark.parametrize(
    "protocol", sorted({socket.IPPROTO_TCP, MPTCP})
)

SO_COOKIE = 57  # asm-generic/socket.h


def by_ss(netns: ListenerNetns, options: str) -> Counter[tuple[str, int, int, int]]:
    rows = [line.split() for line in netns.pod.run("ss", options).splitlines()]
    listeners: Counter[tuple[str, int, int, int]] = Counter()
    for _, queue, limit, local, *_ in rows:
        address, _, port = local.rpartition(":")
        plain = address.replace("[", "").replace("]", "")
        listeners[plain, int(port), int(queue), int(limit)] += 1
    return listeners


def by_pyroute2(raw: bytes, device: str) -> Iterator[ListenSocket]:
    for parsed in MarshalDiag().parse(raw):
        address = parsed["idiag_src"]
        if address == "::" and not parsed.get_attr("INET_DIAG_SKV6ONLY"):
            address = "*"
        ulp = parsed.get_attr("INET_DIAG_ULP_INFO") or ""
        yield ListenSocket(
            cookie=parsed["idiag_cookie"],
            protocol="mptcp" if b"mptcp".hex(":") in ulp else "tcp",
            address=f"{address}%{device}" if parsed["idiag_if"] else address,
            port=parsed["idiag_sport"],
            queue=parsed["idiag_rqueue"],
            limit=parsed["idiag_wqueue"],
        )


@needs_root
@both_protocols
def test_the_limit_is_that_of_the_last_listen(
    netns: ListenerNetns, protocol: int
) -> None:
    netns.pod.write("net.core.somaxconn", "10")
    listener = netns.listen("127.0.0.1", 100, protocol=protocol)
    assert netns.listener().limit == 10

    netns.pod.write("net.core.somaxconn", "50")
    assert netns.listener().limit == 10

    listener.listen(100)
    assert netns.listener().limit == 50

    listener.listen(3)
    assert netns.listener().limit == 3


@needs_root
def test_the_queue_holds_connections_that_are_not_accepted(
    netns: ListenerNetns,
) -> None:
    listener = netns.listen("127.0.0.1", 8)
    netns.connect(listener, 5)
    wait_until(lambda: netns.listener().queue == 5)

    listener.accept()[0].close()

    assert netns.listener().queue == 4


@needs_root
@both_protocols
def test_a_limit_of_three_admits_four(netns: ListenerNetns, protocol: int) -> None:
    netns.connect(netns.listen("127.0.0.1", 3, protocol=protocol), 10)
    wait_until(lambda: overflows(netns) >= 6)

    assert (netns.listener().queue, netns.listener().limit) == (4, 3)


def overflows(netns: ListenerNetns) -> int:
    text = Path(f"/proc/{netns.pod.pid}/net/netstat").read_text().splitlines()
    names, numbers = (line.split() for line in text if line.startswith("TcpExt:"))
    return int(numbers[names.index("ListenOverflows")])


@needs_root
def test_tcp_listeners_are_those_of_ss(with_shared_port: ListenerNetns) -> None:
    listeners = with_shared_port.listeners()

    assert len(listeners) == 200
    assert Counter(row[2:] for row in listeners) == by_ss(with_shared_port, "-lntH")
    assert any(listener.queue for listener in listeners)


@needs_root
@needs_mptcp
def test_mptcp_listeners_appear_once_and_are_those_of_ss(
    with_shared_port: ListenerNetns,
) -> None:
    listeners = [x for x in with_shared_port.listeners() if x.protocol == "mptcp"]

    assert len(listeners) == 36
    assert Counter(row[2:] for row in listeners) == by_ss(with_shared_port, "-lnMH")


@needs_root
def test_listeners_are_those_of_pyroute2(with_shared_port: ListenerNetns) -> None:
    raw = with_shared_port.dump().raw
    with entered(with_shared_port.pod.path, with_shared_port.pod.ino):
        listeners = parse_listeners(raw)

    assert listeners == list(by_pyroute2(raw, "e0"))


@needs_root
@pytest.mark.parametrize(("address", "arguments", "displayed"), ADDRESSES)
def test_an_address_is_displayed_as_by_ss(
    netns: ListenerNetns, address: str, arguments: dict[str, Any], displayed: str
) -> None:
    netns.add_device()
    netns.listen(address, **arguments | {"port": 80})

    assert netns.listener()[1:] == ("tcp", displayed, 80, 0, 3)


@needs_root
def test_a_deleted_interface_is_displayed_by_its_index(netns: ListenerNetns) -> None:
    netns.add_device()
    netns.listen("0.0.0.0", device="e0")
    with entered(netns.pod.path, netns.pod.ino):
        index = socket.if_nametoindex("e0")
    netns.pod.run("ip", "link", "delete", "e0")

    assert netns.listener().address == f"0.0.0.0%{index}"


@needs_root
def test_only_sockets_bound_to_an_interface_need_its_name(netns: ListenerNetns) -> None:
    def interface_name(_index: int) -> str:
        pytest.fail("called")

    netns.listen("::1")

    assert parse_listeners(netns.dump().raw, interface_name)


@needs_root
def test_each_listener_appears_once_and_only_in_its_namespace() -> None:
    with listener_namespaces(2) as (netns, other):
        addresses = ("127.0.0.1", "::1", "::")
        own = [netns.listen(address) for address in addresses for _ in range(30)]
        other.listen("127.0.0.1")
        own.append(netns.listen_unix("\0own"))
        other.listen_unix("\0other")
        raw = [s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8) for s in own]

        cookies = [x.cookie for x in netns.listeners(DUMP_TCP, DUMP_UNIX)]

        assert sorted(cookies) == sorted(int.from_bytes(c, sys.byteorder) for c in raw)


@needs_root
@pytest.mark.parametrize(
    ("name", "displayed"),
    [(b"\0abstract", "@abstract"), (b"\0a\0b\0", "@a@b@"), (b"\0\xff", "@\\xff")],
)
def test_an_abstract_name_starts_with_an_at_sign(
    netns: ListenerNetns, name: bytes, displayed: str
) -> None:
    netns.listen_unix(name)

    assert netns.listener(DUMP_UNIX)[1:] == ("unix", displayed, 0, 0, 3)


@needs_root
@pytest.mark.parametrize("name", ["plain.sock", "with space", "é", b"\xff\n"])
def test_a_path_may_contain_any_byte(
    netns: ListenerNetns, name: str | bytes, tmp_path: Path
) -> None:
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    netns.listen_unix(path)

    address = netns.listener(DUMP_UNIX).address
    assert address == path.decode("utf-8", "backslashreplace")


@needs_root
def test_unix_listeners_are_those_of_ss(netns: ListenerNetns, tmp_path: Path) -> None:
    netns.listen_unix(str(tmp_path / "a"))
    busy = netns.listen_unix("\0b\0c")
    netns.listen_unix("\0packets", kind=socket.SOCK_SEQPACKET)
    netns.connect(busy, 1)
    rows = [line.split() for line in netns.pod.run("ss", "-lxH").splitlines()]

    listeners = {(x.address, x.queue, x.limit) for x in netns.listeners(DUMP_UNIX)}

    assert listeners == {(row[4], int(row[2]), int(row[3])) for row in rows}
    assert ("@b@c", 1, 3) in listeners


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


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
def test_any_bytes_are_parsed_to_printable_listeners(raw: bytes) -> None:
    assert all(len(request) == len(DUMP_TCP) for request in exact_requests(raw))
    for listener in parse_listeners(raw, lambda _: "not UTF-8: \udcff"):
        assert listener.address.encode().isascii() or listener.protocol == "unix"


def test_a_truncated_message_is_ignored_and_the_others_parsed() -> None:
    inet = message(18, b"\x02\x0a" + bytes(range(70)))
    named = attribute(0, b"/x") + attribute(4, bytes(8))
    raw = inet + message(20, bytes(16) + named) + inet
    whole = parse_listeners(raw, str)
    assert [listener.protocol for listener in whole] == ["tcp", "unix", "tcp"]

    for end in range(len(raw)):
        listeners = parse_listeners(raw[:end], str)

        assert listeners == whole[: len(listeners)]
        assert len(listeners) == sum(end >= size for size in (88, 88 + 52, len(raw)))
