"""Dumps and queries of listening sockets, on real namespaces."""

import errno
import os
import socket
import struct

import pytest

from exporter.kernel import sock_diag
from exporter.kernel.netns import entered
from exporter.kernel.sock_diag import (
    DUMP_TCP,
    DUMP_UNIX,
    dump_listeners,
    query_listeners,
)
from testing.lab import add_veth, new_namespaces, wait_until
from tests.support.listeners import (
    HAS_MPTCP,
    MPTCP,
    ListenerNetns,
    listener_namespaces,
)

needs_root = pytest.mark.root
pytestmark = pytest.mark.usefixtures("no_leaked_files")

both_protocols = pytest.mark.parametrize(
    "protocol", sorted({socket.IPPROTO_TCP, MPTCP})
)

BAD_FAMILY = DUMP_UNIX[:16] + b"\xfe" + DUMP_UNIX[17:]
NO_OPERATION = struct.pack("=IHHII", 16, 1, 1, 1, 0)  # NLMSG_NOOP has no reply


@needs_root
def test_an_unchanged_namespace_gives_the_same_bytes(
    with_shared_port: ListenerNetns,
) -> None:
    with_shared_port.listen_unix("\0socket")
    first = with_shared_port.dump(DUMP_TCP, DUMP_UNIX)
    assert all(with_shared_port.dump(DUMP_TCP, DUMP_UNIX) == first for _ in range(20))

    added = with_shared_port.listen("127.0.0.1")

    assert with_shared_port.dump(DUMP_TCP, DUMP_UNIX) != first
    added.close()
    assert with_shared_port.dump(DUMP_TCP, DUMP_UNIX) == first


@needs_root
def test_a_dump_beyond_the_limit_is_truncated(with_shared_port: ListenerNetns) -> None:
    whole = with_shared_port.dump()
    part = with_shared_port.dump(DUMP_TCP, DUMP_UNIX, max_bytes=4096)

    assert (whole.truncated, part.truncated) == (False, True)
    assert 4096 < len(part.raw) < 4096 + (32 << 10) < len(whole.raw)
    assert whole.raw.startswith(part.raw)


@needs_root
def test_a_dump_has_the_cookie_of_its_namespace() -> None:
    with new_namespaces(2) as pods:
        for pod in pods:
            with entered(pod.path, pod.ino):
                cookie = dump_listeners(DUMP_TCP).netns_cookie

            assert cookie == pod.cookie


@needs_root
def test_a_query_returns_the_bytes_of_a_dump(many_listeners: ListenerNetns) -> None:
    dump = many_listeners.dump()

    assert many_listeners.query(dump) == dump._replace(exact=True)
    assert dump.raw.count(b"mptcp") == (36 if HAS_MPTCP else 0)


@needs_root
def test_each_socket_of_a_port_with_several_addresses_is_found(
    netns: ListenerNetns,
) -> None:
    for address in ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1"):
        netns.listen(address, port=80)
    netns.listen("::", port=80, v6only=1)
    dump = netns.dump()

    assert netns.query(dump) == dump._replace(exact=True)


@needs_root
@both_protocols
def test_a_query_returns_current_queues_and_limits(
    netns: ListenerNetns, protocol: int
) -> None:
    listener = netns.listen("127.0.0.1", 8, protocol=protocol)
    dump = netns.dump()
    netns.connect(listener, 5)
    wait_until(lambda: netns.listener().queue == 5)
    listener.listen(6)

    assert netns.query(dump) == netns.dump()._replace(exact=True)
    assert (netns.listener().queue, netns.listener().limit) == (5, 6)


@needs_root
def test_a_query_of_no_socket_has_the_cookie_of_the_namespace(
    netns: ListenerNetns,
) -> None:
    assert netns.query(netns.dump()) == (b"", False, netns.pod.cookie, True)


@needs_root
def test_a_closed_socket_is_not_found(many_listeners: ListenerNetns) -> None:
    listener = many_listeners.listen("127.0.0.1")
    dump = many_listeners.dump()
    listener.close()

    assert many_listeners.query(dump) is None


@needs_root
def test_another_socket_at_the_same_address_is_not_returned(
    netns: ListenerNetns,
) -> None:
    listener = netns.listen("127.0.0.1", port=80)
    dump = netns.dump()
    listener.close()
    netns.listen("127.0.0.1", port=80)

    assert netns.query(dump) is None


@needs_root
def test_sockets_that_share_a_port_require_a_dump(netns: ListenerNetns) -> None:
    """The kernel finds the same one, whichever is queried."""
    netns.listen("127.0.0.1", port=80)
    netns.listen("127.0.0.1", port=80)

    assert netns.query(netns.dump()) is None


@needs_root
def test_a_query_in_another_namespace_finds_nothing() -> None:
    with listener_namespaces(2) as (netns, other):
        netns.listen("127.0.0.1", port=80)
        other.listen("127.0.0.1", port=80)

        assert other.query(netns.dump()) is None


@needs_root
def test_a_query_does_not_wait_if_the_receive_buffer_is_full(
    many_listeners: ListenerNetns, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump, real = many_listeners.dump(), sock_diag._diag_socket

    def small_buffer() -> socket.socket:
        diag = real()
        diag.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return diag

    monkeypatch.setattr(sock_diag, "_diag_socket", small_buffer)

    assert many_listeners.query(dump) is None


@needs_root
def test_no_file_stays_open(
    with_shared_port: ListenerNetns, monkeypatch: pytest.MonkeyPatch
) -> None:
    netns = with_shared_port
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        netns.dump(DUMP_TCP, DUMP_UNIX)
        netns.dump(max_bytes=1)
        netns.query(netns.dump())
        with pytest.raises(OSError, match="sock_diag"):
            netns.dump(DUMP_UNIX, BAD_FAMILY)
    monkeypatch.setattr(sock_diag, "_receive", lambda _: pytest.fail("interrupted"))
    with pytest.raises(pytest.fail.Exception):
        netns.dump()

    assert len(os.listdir("/proc/self/fd")) == before


@needs_root
def test_a_dump_does_not_keep_a_namespace_alive() -> None:
    with new_namespaces() as (pod,):
        veth = add_veth(pod.pid)
        with entered(pod.path, pod.ino):
            dump_listeners(DUMP_TCP, DUMP_UNIX)
            assert query_listeners([])
        pod.kill()

        wait_until(lambda: not veth.exists())


def test_a_refused_request_is_an_error_with_its_errno() -> None:
    with pytest.raises(OSError, match="sock_diag: ") as refused:
        dump_listeners(BAD_FAMILY)

    assert refused.value.errno in {errno.ENOENT, errno.EINVAL}


def test_a_request_without_a_reply_is_an_error_at_once() -> None:
    with pytest.raises(TimeoutError, match="does not respond"):
        dump_listeners(NO_OPERATION)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


DONE = message(sock_diag.NLMSG_DONE, bytes(4))


def test_the_end_of_a_dump_is_found_in_a_datagram_with_other_messages() -> None:
    assert sock_diag._end_of_dump(message(18, bytes(72)) * 2 + DONE) == 176


def test_a_socket_name_that_resembles_the_end_of_a_dump_does_not_end_it() -> None:
    part = message(18, bytes(72)) + message(20, bytes(16) + DONE)

    assert sock_diag._end_of_dump(part) is None


def test_an_error_in_the_middle_of_a_dump_is_raised() -> None:
    part = message(18, b"") + message(3, struct.pack("=i", -errno.ENOMEM))

    with pytest.raises(OSError, match="sock_diag") as failed:
        sock_diag._end_of_dump(part)

    assert failed.value.errno == errno.ENOMEM
