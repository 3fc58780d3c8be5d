"""Peers that stall, do not read, guess passwords, or request hostile pages."""

import contextlib
import itertools
import random
import secrets
import select
import socket
import threading
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote

from bench.soak.attacks.attack import (
    HOSTILE_NAMES,
    PASSWORD,
    USER,
    Counts,
    Target,
    authorization,
    in_threads,
)

_STALLED = 300
"""Connections, more than the exporter has open at once."""

_GUESSERS, _GUESS_PAUSE = 6, 0.05
_PAGE_PAUSE = 0.2
_TIMEOUT_SECONDS = 30.0

_HEAD = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
_LOGIN = "".join(f"{k}: {v}\r\n" for k, v in authorization(USER, PASSWORD).items())
_SENT = (
    b"",
    b"\x16\x03\x01\x02\x00\x01",  # the start of a TLS handshake
    _HEAD,
    _HEAD + b"\r\n",
    _HEAD + _LOGIN.encode() + b"\r\n",
    10 * (_HEAD + _LOGIN.encode() + b"\r\n"),
)
"""What stalled peers send before they stop reading and writing."""

_PATHS = (
    "/?sort=name",
    "/?q=%00",
    "/?q=%F0%9F%92%A9%E2%80%AE",
    "/?sort=" + "x" * 4000,
    "/%2e%2e/%2e%2e/etc/passwd",
    "/netns/host",
    *(f"/?q={quote(name, errors='replace')}" for name in HOSTILE_NAMES),
)


def stalls(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Keep connections open that send too little, or read nothing."""
    poll, peers = select.poll(), dict[int, socket.socket]()
    sent = itertools.cycle(_SENT)
    while not stop.wait(0.05):
        for fd, _ in poll.poll(0):
            poll.unregister(fd)
            peers.pop(fd).close()
        for _ in range(min(10, _STALLED - len(peers))):
            with contextlib.suppress(OSError):
                peer = _connect(target, next(sent))
                peers[peer.fileno()] = peer
                poll.register(peer, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
                counts.add("stalled connections")
    for peer in peers.values():
        peer.close()


def _connect(target: Target, sent: bytes) -> socket.socket:
    address = ("127.0.0.1", target.port)
    peer = socket.create_connection(address, 5, (_other_address(), 0))
    try:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.sendall(sent)
    except OSError:
        peer.close()
        raise
    return peer


def guesses(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Guess passwords, of users that exist and that do not."""

    def guess() -> None:
        user = random.choice((USER, secrets.token_hex(4)))
        login = authorization(user, secrets.token_hex(8))
        status = _get(target, "/metrics", dict(login))
        counts.add(f"guessed passwords: {_outcome(status)}")
        stop.wait(_GUESS_PAUSE)

    in_threads(_GUESSERS, guess, stop)


def pages(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Request pages with hostile queries, with and without the password."""

    def request() -> None:
        login = random.choice(({}, authorization(USER, PASSWORD)))
        status = _get(target, random.choice(_PATHS), dict(login))
        counts.add(f"requested pages: {_outcome(status)}")
        counts.add(
            "pages with a server error",
            int(status in range(500, 600) and status != _BUSY),
        )
        stop.wait(_PAGE_PAUSE)

    in_threads(1, request, stop)


_BUSY = 503


def _get(target: Target, path: str, headers: dict[str, str]) -> int:
    """Return the status of a request, 0 if the connection was closed."""
    connection = HTTPConnection(
        "127.0.0.1",
        target.port,
        timeout=_TIMEOUT_SECONDS,
        source_address=(_other_address(), 0),
    )
    with contextlib.closing(connection):
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException):
            return 0
        return response.status


def _outcome(status: int) -> str:
    return {0: "closed", 200: "answered", 503: "busy"}.get(status, f"refused, {status}")


def _other_address() -> str:
    """Return an address of the loopback interface other than the observer's."""
    return f"127.0.{random.randint(1, 250)}.{random.randint(1, 250)}"
