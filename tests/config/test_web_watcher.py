"""The web configuration follows its files, and an invalid file changes nothing."""

import os
from pathlib import Path

import pytest

from exporter.config.web import TlsConfig, WebConfig
from exporter.config.web_watcher import WebConfigWatcher
from exporter.errors import ConfigError
from tests.support.web_files import HASH, PAIR, REQUIRED, pem


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("opened"))


@pytest.fixture
def watcher(web: Path) -> WebConfigWatcher:
    web.write_text(
        f"tls_server_config: {{{PAIR}, {REQUIRED}}}\nbasic_auth_users: {{a: {HASH}}}"
    )
    return WebConfigWatcher(str(web))


def test_an_invalid_file_at_start_is_an_error(web: Path) -> None:
    with pytest.raises(ConfigError):
        WebConfigWatcher(str(web))


def test_unchanged_files_are_not_read(
    watcher: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_reading(monkeypatch)

    assert watcher.reload_if_changed() is None
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

    config = watcher.reload_if_changed()

    assert config
    assert getattr(config.tls, part) == new
    assert watcher.config is config
    assert watcher.reload_if_changed() is None


def test_a_change_is_read_once(
    web: Path, watcher: WebConfigWatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.write_text(f"basic_auth_users: {{b: {HASH}}}")
    assert watcher.reload_if_changed()
    forbid_reading(monkeypatch)

    assert watcher.reload_if_changed() is None


def test_the_changed_file_may_name_other_files(
    web: Path, watcher: WebConfigWatcher
) -> None:
    web.write_text(f"basic_auth_users: {{b: {HASH}}}")

    assert watcher.reload_if_changed() == WebConfig(users={"b": HASH})
    (web.parent / "cert.pem").unlink()
    assert watcher.reload_if_changed() is None
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
    watcher = WebConfigWatcher(str(web))
    swap = web.parent / "..data_tmp"
    swap.symlink_to("..2")
    swap.replace(data)

    config = watcher.reload_if_changed()

    assert config
    assert config.tls == TlsConfig(
        cert=pem("CERTIFICATE", "BBBB"), key=pem("PRIVATE KEY", "BBBB")
    )


def test_an_unchanged_symlink_is_not_read_again(
    web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.with_name("linked.yaml").symlink_to(web)
    web.write_text(f"tls_server_config: {{{PAIR}}}")
    watcher = WebConfigWatcher(str(web.with_name("linked.yaml")))
    forbid_reading(monkeypatch)

    assert watcher.reload_if_changed() is None


def test_a_symlink_may_be_removed_and_restored(web: Path) -> None:
    web.write_text(f"tls_server_config: {{{PAIR}}}")
    link = web.with_name("linked.yaml")
    link.symlink_to(web)
    watcher = WebConfigWatcher(str(link))
    link.unlink()
    assert watcher.reload_if_changed() is None
    assert watcher.problem == f"cannot read '{link}': No such file or directory"

    link.symlink_to(web)

    assert watcher.reload_if_changed() is None
    assert watcher.problem == ""


def test_a_touched_file_is_not_a_change(web: Path, watcher: WebConfigWatcher) -> None:
    os.utime(web, (1, 1))

    assert watcher.reload_if_changed() is None
    assert watcher.problem == ""


@pytest.mark.parametrize("name", ["web.yaml", "cert.pem"])
@pytest.mark.parametrize("how", ["removed", "truncated", "garbage"])
def test_an_invalid_file_changes_nothing_until_it_is_repaired(
    web: Path, watcher: WebConfigWatcher, name: str, how: str
) -> None:
    good, path = watcher.config, web.parent / name
    text = path.read_text()
    if how == "removed":
        path.unlink()
    else:
        path.write_text(text[:40] if how == "truncated" else "{garbage")

    assert watcher.reload_if_changed() is None
    assert str(path) in watcher.problem or path.stem in watcher.problem
    assert watcher.config is good
    assert watcher.reload_if_changed() is None
    assert watcher.problem

    path.write_text(text)
    assert watcher.reload_if_changed() is None, "the server has this one"
    assert watcher.problem == ""

    (web.parent / "key.pem").write_text(pem("PRIVATE KEY", "BBBBB"))
    assert watcher.reload_if_changed()


def test_an_invalid_file_may_be_replaced_by_a_changed_one(
    web: Path, watcher: WebConfigWatcher
) -> None:
    web.write_text("rate_limit: {}")
    assert watcher.reload_if_changed() is None
    assert watcher.problem == (f"{web}: rate_limit: not supported; use a reverse proxy")

    web.write_text(f"basic_auth_users: {{b: {HASH}}}")

    assert watcher.reload_if_changed() == WebConfig(users={"b": HASH})
    assert watcher.problem == ""
