"""The WSGI application, asked as a web server asks it."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.privsep import CollectionFailedError
from exporter.server import Application, Scraper, accepts_gzip, negotiate
from tests.builders import a_namespace, a_parcel, the_hosts_namespace
from tests.running import Page

PARCEL = msgspec.json.encode(a_parcel(the_hosts_namespace(), a_namespace()))


class Answer:
    def __init__(self, snapshot: Callable[[float], bytes], **environ: str) -> None:
        given = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", **environ}
        self.body = b"".join(Application(Scraper(snapshot))(given, self.start))

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = int(status[:3])
        self.headers = dict(headers)


def test_metrics_are_a_page() -> None:
    answer = Answer(lambda _: PARCEL)

    assert answer.status == 200
    assert Page(answer.body.decode()).value("netns_namespaces", state="read") == 2
    assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_process_metrics_are_the_servers_own() -> None:
    page = Page(Answer(lambda _: PARCEL).body.decode())

    assert page.value("process_resident_memory_bytes")
    assert page.value("netns_collector_resident_memory_bytes")


@pytest.mark.parametrize("error", [TimeoutError(), CollectionFailedError()])
def test_no_snapshot_is_a_503_that_says_why(error: Exception) -> None:
    def fail(_: float) -> bytes:
        raise error

    answer = Answer(fail)

    assert answer.status == 503
    assert b"collector" in answer.body


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "GET", 200),
        ("/-/healthy", "GET", 200),
        ("/metrics/", "GET", 404),
        ("/metrics", "POST", 405),
        ("", "GET", 404),
        ("/\udcff", "GET", 404),
    ],
)
def test_each_path_has_its_answer(path: str, method: str, status: int) -> None:
    answer = Answer(lambda _: PARCEL, PATH_INFO=path, REQUEST_METHOD=method)

    assert answer.status == status


def test_head_has_headers_only() -> None:
    answer = Answer(lambda _: PARCEL, REQUEST_METHOD="HEAD")

    assert answer.body == b""
    assert int(answer.headers["Content-Length"]) > 1000


@given(st.text())
def test_any_accept_header_gets_a_format(accept: str) -> None:
    encode, content_type = negotiate(accept)

    assert content_type.startswith(("text/plain", "application/openmetrics-text"))
    assert "\n" not in content_type
    assert encode(Nothing()) in {b"", b"# EOF\n"}


class Nothing:
    def collect(self) -> list[Any]:
        return []


@given(st.text())
def test_any_accept_encoding_is_a_yes_or_no(header: str) -> None:
    assert accepts_gzip(header) in {True, False}
