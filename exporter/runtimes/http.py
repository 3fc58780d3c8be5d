"""
HTTP with a deadline, a cap and one kind of error, for whatever is asked that way.

An adapter of requests, not a Session: it follows no redirect (a Session reads a
redirect's body whole even when told not to), keeps no cookie, and asks neither the
environment nor ~/.netrc for proxies and passwords. The libraries are imported when
asked for: who never asks does not pay for them.
"""

import contextlib
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from exporter.runtimes import oci
from exporter.runtimes.records import PollError

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter
    from requests.models import PreparedRequest

SECONDS = 2.0
"""How long a socket may keep silent. An ask as a whole has its caller's deadline."""

_T = TypeVar("_T")
_PIECE = 1 << 16
_WORDS = 300
_OK = 200
_FORBIDDEN = (401, 403)


class SourceError(Exception):
    """A source gave no answer: a stable word, and what happened, for people."""

    def __init__(self, word: PollError, what: str) -> None:
        super().__init__(what)
        self.error = word


def prepare_get(url: str, headers: dict[str, str] | None = None) -> "PreparedRequest":
    """Return a GET that wants no compression: a small body could unpack to a huge."""
    import requests  # noqa: PLC0415

    known = {"User-Agent": "netns-sysctl-exporter", "Accept-Encoding": "identity"}
    with _translate_errors():
        return requests.Request("GET", url, headers=known | (headers or {})).prepare()


def fetch(
    adapter: "HTTPAdapter",
    request: "PreparedRequest",
    *,
    cap: int,
    timeout: float,
    verify: bool | str = True,
) -> bytearray:
    """Return the body of a 200, at most *cap* bytes; SourceError for all else."""
    body = bytearray()
    with stream_response(adapter, request, timeout=timeout, verify=verify) as pieces:
        for piece in pieces:
            body += piece
            if len(body) > cap:
                raise SourceError("too_large", f"more than {cap >> 20} MiB")
    return body


def decode_json(body: bytes | bytearray, kind: type[_T]) -> _T:
    """Return the JSON of *body* as *kind*; SourceError if it is not that."""
    try:
        return oci.decode_json(body, kind)
    except oci.MalformedError as error:
        raise SourceError("malformed", str(error)) from error


@contextlib.contextmanager
def stream_response(
    adapter: "HTTPAdapter",
    request: "PreparedRequest",
    *,
    timeout: float | tuple[float, None],
    verify: bool | str = True,
) -> Iterator[Iterator[bytes]]:
    """Give the body of a 200 in the pieces it comes in; SourceError for all else."""
    with _translate_errors():
        response = adapter.send(request, stream=True, timeout=timeout, verify=verify)
    with contextlib.closing(response):
        if response.status_code != _OK:
            word: PollError = (
                "refused" if response.status_code in _FORBIDDEN else "malformed"
            )
            raise SourceError(word, f"HTTP {response.status_code}")
        yield _pieces(response.raw.read1)


def _pieces(read1: Callable[[int], bytes]) -> Iterator[bytes]:
    # Not Response.iter_content: it waits for a whole piece, and urllib3 reads a
    # chunk's header line of any length.
    while True:
        with _translate_errors():
            piece = read1(_PIECE)
        if not piece:
            return
        yield piece


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Turn what the libraries raise into SourceError."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    outer = sys.exception()  # what our caller is just handling explains nothing
    try:
        yield
    except (OSError, HTTPError) as error:  # requests' errors are OSErrors
        chain = list(_chain(error, outer))
        for cause in chain:
            if isinstance(cause, TimeoutError) and not _is_sockets(cause):
                raise cause from None
        what = f"{type(chain[-1]).__name__}: {chain[-1]}"
        raise SourceError(_word(chain), what[:_WORDS]) from error


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
    Tell a socket's timeout from one that a signal handler raises, the deadline.

    To the libraries they are the same, and they wrap both. Taking one for the other
    is harmless: the caller is told `silent` by one of us either way.
    """
    return type(error) is TimeoutError and (
        error.errno is not None or "timed out" in str(error)
    )


def _word(chain: list[BaseException]) -> PollError:
    if any(isinstance(cause, PermissionError | ssl.SSLError) for cause in chain):
        return "refused"
    if any(isinstance(cause, FileNotFoundError) for cause in chain):
        return "absent"
    # What the kernel reports is an OSError; the rest is what a parser thought of it.
    return "silent" if isinstance(chain[-1], OSError) else "malformed"
