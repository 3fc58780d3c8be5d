"""The HTTP side: an unprivileged process that asks the collector and renders."""

import codecs
import gzip
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NoReturn

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.exposition import generate_latest as generate_text
from waitress.server import create_server

from exporter import __version__
from exporter.exposition import Families, Renderer
from exporter.model import Parcel, Stats
from exporter.privsep import Channel, CollectionFailedError, PeerGoneError

SCRAPE_SECONDS = 9.0
"""Below Prometheus's default scrape timeout of 10 s, so that it sees our reason."""

GZIP_LEVEL = 1
"""Level 9 takes four times the CPU for a page that stays on the local network."""

PLAIN = "text/plain; charset=utf-8"

INDEX = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>netns-sysctl-exporter</title></head>
<body><h1>netns-sysctl-exporter</h1>
<p>The sysctls of every network namespace on this node.</p>
<p><a href="/metrics">Metrics</a></p></body></html>
"""

log = logging.getLogger(__name__)

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Scraper:
    """Asks the collector for a parcel and renders it; one scrape at a time."""

    def __init__(self, snapshot: Callable[[float], bytes]) -> None:
        self._snapshot = snapshot
        self._decoder = msgspec.json.Decoder(Parcel)
        self._renderer = Renderer(__version__)
        self._lock = threading.Lock()
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition in the format that *accept* asks for, and its type."""
        encode, content_type = negotiate(accept)
        deadline = time.monotonic() + SCRAPE_SECONDS
        if not self._lock.acquire(timeout=SCRAPE_SECONDS):
            raise TimeoutError
        try:
            left = max(0.0, deadline - time.monotonic())
            parcel = self._decoder.decode(self._snapshot(left))
            body, rest = self._renderer.render(parcel, content_type)
        finally:
            self._lock.release()
        rest += self._own.collect()
        return body + encode(Families(rest)), content_type


def negotiate(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """Return the encoder and content type for an Accept header, plain text if odd."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        return generate_text, CONTENT_TYPE_PLAIN_0_0_4


class Application:
    """The WSGI application."""

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> list[bytes]:
        """Answer one request; PEP 3333."""
        body = self._answer(environ, start)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    def _answer(self, environ: dict[str, Any], start: StartResponse) -> list[bytes]:
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return _reply(start, HTTPStatus.METHOD_NOT_ALLOWED, b"GET or HEAD\n")
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start)
            case "/":
                return _reply(start, HTTPStatus.OK, INDEX, "text/html; charset=utf-8")
            case "/-/healthy":
                return _reply(start, HTTPStatus.OK, b"healthy\n")
        return _reply(start, HTTPStatus.NOT_FOUND, b"not found; try /metrics\n")

    def _metrics(self, environ: dict[str, Any], start: StartResponse) -> list[bytes]:
        try:
            body, content_type = self._scraper.page(environ.get("HTTP_ACCEPT", ""))
        except TimeoutError:
            reason = f"no snapshot from the collector within {SCRAPE_SECONDS} s\n"
            return _reply(start, HTTPStatus.SERVICE_UNAVAILABLE, reason.encode())
        except CollectionFailedError:
            reason = "the collector failed to make a snapshot; its log says why\n"
            return _reply(start, HTTPStatus.SERVICE_UNAVAILABLE, reason.encode())
        except (PeerGoneError, msgspec.DecodeError) as error:
            _end(error)
        headers = [("Vary", "Accept, Accept-Encoding")]
        if accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", "")):
            body = gzip.compress(body, compresslevel=GZIP_LEVEL, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
        return _reply(start, HTTPStatus.OK, body, content_type, headers)


def accepts_gzip(header: str) -> bool:
    """
    Return whether an Accept-Encoding header allows gzip; RFC 9110, 12.5.3.

    >>> accepts_gzip("br, gzip;q=0.5"), accepts_gzip("*;q=0, gzip")
    (True, True)
    >>> accepts_gzip("gzip;q=0.00"), accepts_gzip("")
    (False, False)
    """
    codings = {}
    for item in header.lower().split(","):
        coding, _, quality = item.replace(" ", "").partition(";")
        codings[coding] = quality.rstrip("0.") not in {"q=", "q"}
    return codings.get("gzip", codings.get("*", False))


def rehearse() -> None:
    """
    Import everything, by making a page of an empty node in each format.

    Nobody may not be able to read the Python installation, and codecs and
    encoders are imported on first use.
    """
    codecs.lookup("idna")  # waitress resolves a host name, even for given sockets
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        Application(Scraper(lambda _: _EMPTY))(
            {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/metrics",
                "HTTP_ACCEPT": accept,
                "HTTP_ACCEPT_ENCODING": "gzip",
            },
            lambda _status, _headers: None,
        )


def _end(error: Exception) -> NoReturn:
    """End this process from any of its threads."""
    log.error("the server is ending: %s", error)
    os._exit(os.EX_UNAVAILABLE)


def serve(channel: socket.socket, listener: socket.socket) -> None:
    """Serve until the process is told to end."""
    create_server(
        Application(Scraper(Channel(channel, _end).snapshot)),
        sockets=[listener],
        threads=4,
        ident=None,
        clear_untrusted_proxy_headers=True,
        channel_timeout=30,
        max_request_header_size=16384,
        max_request_body_size=1024,
    ).run()


_EMPTY = msgspec.json.encode(
    Parcel(
        node="",
        kernel="",
        time=0.0,
        sysctls=(),
        shared=(),
        shared_readings=(),
        namespaces=(),
        problems=(),
        stats=Stats(
            fds=0,
            fd_limit=0,
            bound=0,
            visited=0,
            hidden={},
            read_errors={},
            answered={},
            stages=(),
            cpu_seconds=0.0,
            resident_bytes=0,
        ),
    )
)


def _reply(
    start: StartResponse,
    status: HTTPStatus,
    body: bytes,
    content_type: str = PLAIN,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    start(
        f"{status.value} {status.phrase}",
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ],
    )
    return [body]
