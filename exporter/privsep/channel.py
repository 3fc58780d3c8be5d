"""
Both ends of the channel between the collector, with capabilities, and the server.

The collector handles requests of a byte each (framing.py): one for a snapshot, three
for the web configuration, which tell what became of the last one, and one for when it
completed its last pass. It reads nothing else from the server, and never from the
network. Anything else ends the exporter.
"""

import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from exporter.privsep.framing import Request, recv_frame, send_frame

MAX_REPLY = 1 << 30
"""Bytes of one reply."""

_LAST_PASS = struct.Struct("!dd")

SEND_SECONDS = 30.0
"""How long the server may take to read a reply."""


class LastPass(NamedTuple):
    """
    The last pass that the collector completed.

    Attributes:
        time: when it was completed, in monotonic seconds.
        limit: after how many seconds the next one is overdue.
    """

    time: float
    limit: float

    def encode(self) -> bytes:
        """Return the reply to Request.LAST_PASS."""
        return _LAST_PASS.pack(*self)

    def is_overdue(self, now: float) -> bool:
        """Return whether the next one should have been completed by *now*."""
        return now - self.time > self.limit


class PeerGoneError(Exception):
    """The other process ended, or broke the protocol."""


class CollectionFailedError(Exception):
    """The collector could not collect a snapshot; its log has the reason."""


def serve_request(
    channel: socket.socket, handlers: Mapping[Request, Callable[[], bytes]]
) -> Request:
    """
    Receive one request, send what its handler returns; return the request.

    Raises PeerGoneError if the server ended, sent a request without a handler, or does
    not read its reply.
    """
    request = _receive_request(channel, handlers)
    reply = handlers[request]()
    channel.settimeout(SEND_SECONDS)
    try:
        send_frame(channel, reply)
    except ConnectionError as error:
        raise PeerGoneError("the server process ended") from error
    except OSError as error:
        message = f"the server process does not read its reply: {error}"
        raise PeerGoneError(message) from error
    return request


def _receive_request(channel: socket.socket, handled: Iterable[Request]) -> Request:
    byte = channel.recv(1)
    if not byte:
        raise PeerGoneError("the server process ended")
    for request in handled:
        if request.value == byte:
            return request
    raise PeerGoneError("the server process sent a malformed request")


class Channel:
    """
    The server's end: requests snapshots and the web configuration from the collector.

    A reply that arrives after its deadline is received before the next request is
    sent, and discarded: the collector sends a web configuration until it is accepted.
    A thread receives replies at any time, so that the collector never waits for the
    server; it calls *ended* when the collector is gone. Any thread may send a request;
    they take turns.
    """

    def __init__(
        self, channel: socket.socket, ended: Callable[[PeerGoneError], None]
    ) -> None:
        self._channel = channel
        self._ended = ended
        self._replies: queue.SimpleQueue[bytes | PeerGoneError] = queue.SimpleQueue()
        self._is_pending = False
        self._turn = threading.Lock()
        threading.Thread(target=self._receive_replies, daemon=True).start()

    def snapshot(self, seconds: float) -> bytes:
        """
        Return the JSON of a snapshot; TimeoutError if none arrives in *seconds*.

        Raises CollectionFailedError if the collector failed to collect one,
        PeerGoneError if it is gone.
        """
        reply = self._request(Request.SNAPSHOT, seconds)
        if not reply:
            raise CollectionFailedError
        return reply

    def web_config(self, request: Request, seconds: float) -> bytes:
        """Return the JSON of a WebConfigReply; *request*: a WEB_CONFIG one."""
        return self._request(request, seconds)

    def last_pass(self, seconds: float) -> LastPass:
        """Return the last pass of the collector; errors as snapshot."""
        reply = self._request(Request.LAST_PASS, seconds)
        try:
            return LastPass(*_LAST_PASS.unpack(reply))
        except struct.error as error:
            raise PeerGoneError("the collector sent a malformed reply") from error

    def _request(self, request: Request, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise TimeoutError
        try:
            if self._is_pending:
                self._reply(deadline)
            self._send(request)
            return self._reply(deadline)
        finally:
            self._turn.release()

    def _send(self, request: Request) -> None:
        try:
            self._channel.sendall(request.value)
        except OSError as error:
            raise PeerGoneError(str(error)) from error
        self._is_pending = True

    def _reply(self, deadline: float) -> bytes:
        try:
            reply = self._replies.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(reply, PeerGoneError):
            self._replies.put(reply)  # for the next request
            raise reply
        self._is_pending = False
        return reply

    def _receive_replies(self) -> None:
        try:
            while True:
                self._replies.put(recv_frame(self._channel, MAX_REPLY))
        except EOFError:
            gone = PeerGoneError("the collector process ended")
        except OSError as error:
            gone = PeerGoneError(str(error))
        self._replies.put(gone)
        self._ended(gone)
