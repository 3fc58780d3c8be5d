"""
HTTP GET with a timeout, a size limit and one kind of error.

It uses an adapter of requests, not a Session: an adapter follows no redirect (a
Session reads the whole body of a redirect even with redirects off), keeps no cookie,
and takes neither proxies from the environment nor passwords from ~/.netrc. The
libraries are imported at their first use, since the collector loads this module
too.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from exporter.runtimes import records
from exporter.runtimes.records import MalformedError, PollError

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter
    from requests.models import PreparedRequest

SECONDS = 2.0
"""Timeout of a socket. The caller limits the time of a whole poll."""

_T = TypeVar("_T")
_CHUNK_BYTES = 1 << 16
_MAX_DETAIL = 300
_OK = 200
_FORBIDDEN = (401, 403)


class SourceError(Exception):
    """
    A source returned no usable response; the text describes what happened.

    Attributes:
        error: the kind of failure.
    """

    def __init__(self, error: PollError, detail: str) -> None:
        super().__init__(detail)
        self.error = error


def prepare_get(url: str, headers: dict[str, str] | None = None) -> "PreparedRequest":
    """Return a GET that accepts no compression: a small body could unpack to a huge."""
    import requests  # noqa: PLC0415

    common = {"User-Agent": "netns-sysctl-exporter", "Accept-Encoding": "identity"}
    every = common | (headers or {})
    with _translate_errors():
        return requests.Request("GET", url, headers=every).prepare()


def fetch(
    adapter: "HTTPAdapter",
    request: "PreparedRequest",
    *,
    max_bytes: int,
    timeout: float,
    verify: bool | str = True,
) -> bytearray:
    """Return the body of a 200, at most *max_bytes*; SourceError for all else."""
    body = bytearray()
    with stream_response(adapter, request, timeout=timeout, verify=verify) as chunks:
        for chunk in chunks:
            body += chunk
            if len(body) > max_bytes:
                raise SourceError("too_large", f"more than {max_bytes >> 20} MiB")
    return body


def decode_json(body: bytes | bytearray, kind: type[_T]) -> _T:
    """Return the JSON of *body* as *kind*; SourceError if it does not match."""
    try:
        return records.decode_json(body, kind)
    except MalformedError as error:
        raise SourceError("malformed", str(error)) from error


@contextlib.contextmanager
def stream_response(
    adapter: "HTTPAdapter",
    request: "PreparedRequest",
    *,
    timeout: float | tuple[float, None],
    verify: bool | str = True,
) -> Iterator[Iterator[bytes]]:
    """Yield the body of a 200 in chunks as they arrive; SourceError for all else."""
    with _translate_errors():
        response = adapter.send(request, stream=True, timeout=timeout, verify=verify)
    with contextlib.closing(response):
        if response.status_code != _OK:
            is_forbidden = response.status_code in _FORBIDDEN
            kind: PollError = "refused" if is_forbidden else "malformed"
            raise SourceError(kind, f"HTTP {response.status_code}")
        yield _chunks(response.raw.read1)


def _chunks(read1: Callable[[int], bytes]) -> Iterator[bytes]:
    # Not Response.iter_content: it waits for a full chunk, and urllib3 reads the
    # header line of an HTTP chunk of any length.
    while True:
        with _translate_errors():
            chunk = read1(_CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise SourceError for the exceptions of the libraries."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    outer = sys.exception()  # what the caller is handling is no cause of ours
    try:
        yield
    except (OSError, HTTPError) as error:  # requests' errors are OSErrors
        chain = list(_chain(error, outer))
        for cause in chain:
            if isinstance(cause, TimeoutError) and not _is_sockets(cause):
                raise cause from None
        detail = f"{type(chain[-1]).__name__}: {chain[-1]}"
        raise SourceError(_kind(chain), detail[:_MAX_DETAIL]) from error


def _chain(
    error: BaseException, outer: BaseException | None
) -> Iterator[BaseException]:
    seen = [outer]  # an error that is raised again may be its own context
    link: BaseException | None = error
    while link is not None and link not in seen:
        seen.append(link)
        yield link
        link = link.__cause__ or link.__context__


def _is_sockets(error: TimeoutError) -> bool:
    """
    Return whether a timeout is a socket's, not the caller's from a signal handler.

    The libraries treat and wrap both alike. A mistake is harmless: the result is
    `silent` in both cases.
    """
    return type(error) is TimeoutError and (
        error.errno is not None or "timed out" in str(error)
    )


def _kind(chain: list[BaseException]) -> PollError:
    import ssl  # noqa: PLC0415

    if any(isinstance(cause, PermissionError | ssl.SSLError) for cause in chain):
        return "refused"
    if any(isinstance(cause, FileNotFoundError) for cause in chain):
        return "absent"
    # The kernel's errors are OSErrors; all others are a parser's.
    return "silent" if isinstance(chain[-1], OSError) else "malformed"
