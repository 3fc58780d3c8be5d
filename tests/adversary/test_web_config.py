"""
No change of the web configuration's files ends protection unless the file says so.

A running exporter with TLS and a user is given one bad file after another; requests
without the password stay refused throughout, and those with it are answered.
"""

import contextlib
import http.client
import os
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import bcrypt
import pytest

from testing.lab import wait_until
from testing.running import Exporter, Exposition, run_exporter
from tests.support.clients import SECONDS, make_certificate, request
from tests.support.server import PASSWORD, basic_authorization

pytestmark = pytest.mark.root

USERS = "basic_auth_users:\n  prometheus: {hash}\n"
TLS = "tls_server_config:\n  cert_file: own.crt\n  key_file: own.key\n"
HEADERS = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
PREFIX = "netns_exporter_web_config"


class Secured:
    """A running exporter with TLS, a user and a header, and its files."""

    def __init__(self, exporter: Exporter, web: Path, text: str) -> None:
        self.exporter = exporter
        self.web = web
        self.text = text
        self.password = basic_authorization("prometheus", PASSWORD)

    def get(self, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self.exporter.port,
            timeout=SECONDS,
            context=ssl._create_unverified_context(),
        )
        with contextlib.closing(connection):
            return request(connection, "/metrics", **headers)

    def scrape(self) -> Exposition:
        status, headers, body = self.get(Authorization=self.password)
        assert status == 200
        assert headers["x-frame-options"] == "deny"
        return Exposition(body.decode())

    def is_protected(self) -> bool:
        """Return whether clients without password or TLS get nothing."""
        status, _, body = self.get()
        try:
            self.exporter.get("/metrics")
        except (http.client.HTTPException, OSError):
            return status == 401 and b"netns" not in body
        return False

    def count_logged(self, text: str) -> int:
        return self.exporter.log.read_text().count(text)

    def is_current(self) -> bool:
        return self.scrape().value(f"{PREFIX}_last_reload_successful") == 1

    def restore(self) -> None:
        if self.web.is_dir():
            self.web.rmdir()
        else:
            self.web.unlink(missing_ok=True)
        self.web.write_text(self.text)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    for name in ("own", "other"):
        make_certificate(tmp_path, name)
    web = tmp_path / "web.yaml"
    text = USERS.format(hash=hashed) + TLS + HEADERS
    web.write_text(text)
    with run_exporter(tmp_path, f"--web.config.file={web}") as exporter:
        yield Secured(exporter, web, text)


def without(secured: Secured, section: str) -> str:
    """Return the text without the section that begins with *section*."""
    lines = secured.text.splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if line.startswith(section))
    rest = lines[first + 1 :]
    end = next((at for at, line in enumerate(rest) if line[0] != " "), len(rest))
    return "".join(lines[:first] + rest[end:])


def replace(secured: Secured, how: Callable[[Path], object]) -> None:
    secured.web.unlink()
    how(secured.web)


def has_rejected_more(secured: Secured, rejections: int) -> bool:
    return secured.count_logged("not reloaded") > rejections


BAD: dict[str, Callable[[Secured], object]] = {
    "empty": lambda s: s.web.write_text(""),
    "no users": lambda s: s.web.write_text(without(s, "basic_auth_users")),
    "no TLS": lambda s: s.web.write_text(without(s, "tls_server_config")),
    "no header": lambda s: s.web.write_text(without(s, "http_server_config")),
    "an empty mapping": lambda s: s.web.write_text("{}"),
    "cut short": lambda s: s.web.write_text(s.text[: s.text.index("tls_server") + 4]),
    "100,000 brackets": lambda s: s.web.write_text("[" * 100_000),
    "bytes": lambda s: s.web.write_bytes(bytes(range(256))),
    "removed": lambda s: s.web.unlink(),
    "a directory": lambda s: replace(s, Path.mkdir),
    "a FIFO": lambda s: replace(s, os.mkfifo),
    "another key": lambda s: s.web.write_text(s.text.replace("own.key", "other.key")),
}


def test_no_bad_file_ends_protection(secured: Secured) -> None:
    server = secured.exporter.server_pid
    assert secured.is_current()
    assert secured.is_protected()
    for kind, spoil in BAD.items():
        before = secured.count_logged("not reloaded")
        secured.restore()
        spoil(secured)

        wait_until(partial(has_rejected_more, secured, before))
        wait_until(lambda: not secured.is_current())

        assert secured.is_protected(), kind
        problems = secured.scrape().samples("netns_collector_problem")
        assert any(("problem", "web_config") in labels for labels in problems), kind
    secured.restore()
    wait_until(secured.is_current)
    assert secured.exporter.server_pid == server
    assert secured.scrape().value(f"{PREFIX}_failures_total") == len(BAD)
    log = secured.exporter.log.read_text()
    assert "write `basic_auth_users: {}` and `tls_server_config: {}`" in log
    assert "$2b$" not in log, "a hash"
    assert "Traceback" not in log


def test_what_the_file_states_is_done_and_logged(secured: Secured) -> None:
    secured.web.write_text(
        "{tls_server_config: {}, http_server_config: {}, basic_auth_users: {}}"
    )

    def is_open() -> bool:
        with contextlib.suppress(http.client.HTTPException, OSError):
            return secured.exporter.get("/metrics")[0] == 200
        return False

    wait_until(is_open)
    page = secured.exporter.scrape()
    assert page.value(f"{PREFIX}_last_reload_successful") == 1
    assert page.value(f"{PREFIX}_failures_total") == 0
    changes = "users removed: prometheus; TLS off; headers removed: X-Frame-Options"
    assert changes in secured.exporter.log.read_text()


def test_a_start_without_protection_is_logged_plainly(tmp_path: Path) -> None:
    web = tmp_path / "web.yaml"
    web.write_text("")
    with run_exporter(tmp_path, f"--web.config.file={web}") as exporter:
        assert exporter.get("/metrics")[0] == 200
    assert "no TLS and no authentication" in exporter.log.read_text()
