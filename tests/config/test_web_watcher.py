"""
The web configuration follows its files.

An invalid file changes nothing, nor does one that ends protection by being incomplete.
"""

import logging
import os
import time
from pathlib import Path

import pytest

from exporter.config.web import TlsConfig, WebConfig
from exporter.config.web_watcher import WebConfigWatcher
from exporter.errors import ConfigError
from tests.support.web_files import HASH, PAIR, REQUIRED, pem


def started(file: Path) -> WebConfigWatcher:
    """Return the watcher of *file* whose first configuration is in use."""
    watcher = WebConfigWatcher(str(file))
    assert watcher.offer()
    watcher.accept()
    return watcher


def reload(watcher: WebConfigWatcher) -> WebConfig | None:
    """Return what a server uses from now on, None if nothing changes."""
    config = watcher.offer()
    if config:
        watcher.accept()
    return config


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))


@pytest.fixture
def watcher(web: Path) -> WebConfigWatcher:
    web.write_text(
        f"tls_server_config: {{{PAIR}, {REQUIRED}}}\nbasic_auth_users: {{a: {HASH}}}"
    )
    return started(web)


def test_an_invalid_file_at_start_is_an_error(web: Path) -> None:
    with pytest.raises(ConfigError):
        WebConfigWatcher(str(web))


def test_unchanged_files_are_not_read(
    watcher: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_reading(monkeypatch)

    assert reload(watcher) is None
    assert watcher.problem == ""


@pytest.mark.parametrize(
    ("name", "part"),
    [("cert.pem", "cert"), ("key.pem", "key"), ("ca.pem", "client_ca")],
)
@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_changed_certificate_changes_the_configuration(
    web: Path, watcher: WebConfigWatcher, name: str, part: str, how: str
) -> None:
    path = web.parent / name
    new = path.read_text().replace("AAA\n", "AAA\nBBBB\n")
    target = path if how == "written" else path.with_suffix(".new")
    target.write_text(new)
    target.replace(path)

    config = reload(watcher)

    assert config
    assert getattr(config.tls, part) == new
    assert reload(watcher) is None


def test_a_change_is_read_once(
    web: Path, watcher: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.write_text(f"{{tls_server_config: {{}}, basic_auth_users: {{b: {HASH}}}}}")
    assert reload(watcher)
    forbid_reading(monkeypatch)

    assert reload(watcher) is None


def test_the_changed_file_may_name_other_files(
    web: Path, watcher: WebConfigWatcher
) -> None:
    web.write_text(f"{{tls_server_config: {{}}, basic_auth_users: {{b: {HASH}}}}}")

    assert reload(watcher) == WebConfig(users={"b": HASH})
    (web.parent / "cert.pem").unlink()
    assert reload(watcher) is None
    assert watcher.problem == ""


def test_a_kubernetes_secret_is_replaced_through_its_symlink(web: Path) -> None:
    for version, body in (("..1", "AAAA"), ("..2", "BBBB")):
        secret = web.parent / version
        secret.mkdir()
        (secret / "web.yaml").write_text(f"tls_server_config: {{{PAIR}}}")
        (secret / "cert.pem").write_text(pem("CERTIFICATE", body))
        (secret / "key.pem").write_text(pem("PRIVATE KEY", body))
        for file in secret.iterdir():
            os.utime(file, (0, 0))
    data = web.parent / "..data"
    data.symlink_to("..1")
    for name in ("web.yaml", "cert.pem", "key.pem"):
        (web.parent / name).unlink(missing_ok=True)
        (web.parent / name).symlink_to(f"..data/{name}")
    watcher = started(web)
    swap = web.parent / "..data_tmp"
    swap.symlink_to("..2")
    swap.replace(data)

    config = reload(watcher)

    assert config
    assert config.tls == TlsConfig(
        cert=pem("CERTIFICATE", "BBBB"), key=pem("PRIVATE KEY", "BBBB")
    )


def test_an_unchanged_symlink_is_not_read_again(
    web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.with_name("linked.yaml").symlink_to(web)
    web.write_text(f"tls_server_config: {{{PAIR}}}")
    watcher = started(web.with_name("linked.yaml"))
    forbid_reading(monkeypatch)

    assert reload(watcher) is None


def test_a_symlink_may_be_removed_and_restored(web: Path) -> None:
    web.write_text(f"tls_server_config: {{{PAIR}}}")
    link = web.with_name("linked.yaml")
    link.symlink_to(web)
    watcher = started(link)
    link.unlink()
    assert reload(watcher) is None
    assert watcher.problem == f"cannot read '{link}': No such file or directory"

    link.symlink_to(web)

    assert reload(watcher) is None
    assert watcher.problem == ""


def test_a_touched_file_is_not_a_change(web: Path, watcher: WebConfigWatcher) -> None:
    os.utime(web, (1, 1))

    assert reload(watcher) is None
    assert watcher.problem == ""


@pytest.mark.parametrize("name", ["web.yaml", "cert.pem"])
@pytest.mark.parametrize("how", ["removed", "truncated", "garbage"])
def test_an_invalid_file_changes_nothing_until_it_is_repaired(
    web: Path, watcher: WebConfigWatcher, name: str, how: str
) -> None:
    path = web.parent / name
    text = path.read_text()
    if how == "removed":
        path.unlink()
    else:
        path.write_text(text[:40] if how == "truncated" else "{garbage")

    assert reload(watcher) is None
    assert str(path) in watcher.problem or path.stem in watcher.problem
    assert reload(watcher) is None
    assert watcher.problem

    path.write_text(text)
    assert reload(watcher) is None, "the server has this one"
    assert watcher.problem == ""

    (web.parent / "key.pem").write_text(pem("PRIVATE KEY", "BBBBB"))
    assert reload(watcher)


def test_an_invalid_file_may_be_replaced_by_a_changed_one(
    web: Path, watcher: WebConfigWatcher
) -> None:
    web.write_text("rate_limit: {}")
    assert reload(watcher) is None
    assert watcher.problem == (f"{web}: rate_limit: not supported; use a reverse proxy")

    web.write_text(f"{{tls_server_config: {{}}, basic_auth_users: {{b: {HASH}}}}}")

    assert reload(watcher) == WebConfig(users={"b": HASH})
    assert watcher.problem == ""


FULL = f"""
tls_server_config: {{{PAIR}, {REQUIRED}, client_allowed_sans: [a], min_version: TLS13}}
basic_auth_users:
  a: {HASH}
  b: {HASH}
http_server_config: {{headers: {{X-Frame-Options: deny}}}}
"""
BLOCK = f"""http_server_config:
  headers:
    Strict-Transport-Security: max-age=31536000
    X-Frame-Options: deny
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
  client_ca_file: ca.pem
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans:
  - a
  - b
  min_version: TLS13
basic_auth_users:
  a: {HASH}
  b: {HASH}
"""
PARTS = BLOCK.splitlines(keepends=True)


def strength(config: WebConfig) -> tuple[object, ...]:
    """Return what protects a server with *config*."""
    assert config.tls
    return (
        bool(config.users),
        config.tls.client_auth,
        bool(config.tls.allowed_sans),
        config.tls.min_version,
        config.headers.keys(),
    )


@pytest.mark.parametrize("lines", range(len(PARTS)))
def test_a_file_that_is_cut_short_ends_no_protection(web: Path, lines: int) -> None:
    """After any line, and in the middle of any: of users, only some may be gone."""
    web.write_text(BLOCK)
    watcher = WebConfigWatcher(str(web))
    first = reload(watcher)
    assert first
    for end in (0, len(PARTS[lines]) // 2, len(PARTS[lines]) - 1):
        web.write_text("".join(PARTS[:lines]) + PARTS[lines][:end])

        config = reload(watcher)

        if config:
            assert strength(config) == strength(first)
        elif PARTS[lines:] != PARTS[-1:]:
            assert watcher.problem
        web.write_text(BLOCK)
        reload(watcher)


@pytest.mark.parametrize("first", range(len(PARTS)))
def test_no_absence_of_lines_ends_protection(web: Path, first: int) -> None:
    for second in range(first + 1, len(PARTS) + 1):
        web.write_text(BLOCK)
        watcher = WebConfigWatcher(str(web))
        full = reload(watcher)
        assert full
        web.write_text("".join(PARTS[:first] + PARTS[second:]))

        config = reload(watcher)

        if config:
            assert strength(config) == strength(full)


def test_a_rejected_change_says_what_would_be_lost_and_how_to_mean_it(
    web: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web.write_text(FULL)
    watcher = started(web)
    web.write_text("")

    for _ in range(3):
        assert reload(watcher) is None

    for text in (
        "authentication (users a, b), TLS, the header X-Frame-Options",
        "`basic_auth_users: {}` and `tls_server_config: {}` and `X-Frame-Options: ''`",
    ):
        assert text in watcher.problem
        assert caplog.text.count(text) == 1, "logged once"
    status = watcher.status()
    assert status
    assert (status.is_current, status.rejections) == (False, 1)


def test_a_former_statement_is_none_for_the_next_change(web: Path) -> None:
    web.write_text("basic_auth_users: {}")
    watcher = started(web)
    web.write_text(f"basic_auth_users: {{a: {HASH}}}")
    assert reload(watcher)
    web.write_text("")

    assert reload(watcher) is None
    assert watcher.problem


def test_what_the_server_refuses_is_not_compared_with(web: Path) -> None:
    """The users are in force as long as the server uses them."""
    web.write_text(f"basic_auth_users: {{a: {HASH}}}")
    watcher = started(web)
    web.write_text(f"{{tls_server_config: {{{PAIR}}}, basic_auth_users: {{}}}}")
    assert watcher.offer()
    watcher.refuse()
    assert watcher.problem
    assert watcher.offer() is None, "it has been refused"
    web.write_text(f"tls_server_config: {{{PAIR}}}")

    assert reload(watcher) is None
    assert "basic_auth_users" in watcher.problem


def test_a_refused_key_is_tried_again_once_it_changed(
    web: Path, watcher: WebConfigWatcher
) -> None:
    key = web.parent / "key.pem"
    former = key.read_text()
    key.write_text(pem("PRIVATE KEY", "BBBB"))
    assert watcher.offer()
    watcher.refuse()
    key.write_text(pem("PRIVATE KEY", "CCCC"))
    assert watcher.offer()
    watcher.refuse()
    status = watcher.status()
    assert status
    assert status.rejections == 2

    key.write_text(former)

    assert watcher.offer() is None, "in use"
    assert watcher.problem == ""


def test_a_file_that_is_emptied_before_the_first_use_ends_no_protection(
    web: Path,
) -> None:
    web.write_text(f"basic_auth_users: {{a: {HASH}}}")
    watcher = WebConfigWatcher(str(web))
    web.write_text("")

    assert reload(watcher) == WebConfig(users={"a": HASH})
    assert watcher.problem


def test_an_offer_is_repeated_until_it_is_accepted(web: Path) -> None:
    web.write_text(f"basic_auth_users: {{a: {HASH}}}")
    watcher = started(web)
    web.write_text(f"basic_auth_users: {{b: {HASH}}}")

    offers = [watcher.offer() for _ in range(3)]

    assert offers == [WebConfig(users={"b": HASH})] * 3
    watcher.accept()
    assert watcher.offer() is None


def test_files_that_are_replaced_while_they_are_read_are_read_again(
    web: Path, watcher: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, real = web.parent / "key.pem", os.fstat
    key.write_text(pem("PRIVATE KEY", "BBBB"))

    def touch_after(fd: int) -> os.stat_result:
        status = real(fd)
        os.utime(key, (1, 1))
        return status

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", touch_after)
        assert reload(watcher) is None
        assert watcher.problem == ""

    assert reload(watcher)


@pytest.mark.parametrize("kind", ["directory", "FIFO", "loop", "no permission"])
def test_a_file_of_another_kind_is_a_problem_and_does_not_block(
    web: Path, watcher: WebConfigWatcher, kind: str
) -> None:
    text = web.read_text()
    web.unlink()
    match kind:
        case "directory":
            web.mkdir()
        case "FIFO":
            os.mkfifo(web)
        case "loop":
            web.symlink_to(web)
        case "no permission":
            web.write_text("")  # root reads it all the same
            web.chmod(0)
    assert reload(watcher) is None
    assert watcher.problem

    web.rmdir() if kind == "directory" else web.unlink()
    web.write_text(text)
    assert reload(watcher) is None
    assert watcher.problem == ""


def test_the_time_of_the_last_load_is_kept(
    web: Path, watcher: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    (web.parent / "ca.pem").write_text("garbage")
    assert reload(watcher) is None
    status = watcher.status()
    assert status
    assert status.loaded > 1000
    (web.parent / "ca.pem").write_text(pem("CERTIFICATE", "CBCB"))
    assert reload(watcher)
    status = watcher.status()
    assert status
    assert (status.is_current, status.loaded, status.rejections) == (True, 1000, 1)


def test_the_start_and_each_reload_are_logged(
    web: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    web.write_text("")
    watcher = started(web)
    web.write_text(f"basic_auth_users: {{a: {HASH}}}")
    reload(watcher)
    os.utime(web, (1, 1))
    reload(watcher)

    assert caplog.messages == [
        "web configuration: no TLS and no authentication: every client may read it all",
        "web configuration reloaded: users added: a",
        "web configuration reloaded: no change",
    ]


def test_without_a_file_there_is_a_configuration_without_a_status() -> None:
    watcher = WebConfigWatcher("")

    assert watcher.offer() == WebConfig()
    watcher.accept()
    assert watcher.offer() is None
    assert watcher.status() is None
