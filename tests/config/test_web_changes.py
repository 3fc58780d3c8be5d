"""What a new web configuration changes, and what it would lose without saying so."""

from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from exporter.config.web import TlsConfig, WebConfig
from exporter.config.web_changes import (
    describe,
    describe_changes,
    find_losses,
    loss_text,
)
from tests.support.web_files import CA, CERT, HASH, KEY, pem

NONE = WebConfig()
TLS = TlsConfig(
    cert=CERT,
    key=KEY,
    client_ca=CA,
    client_auth="required",
    allowed_sans=("a.test",),
    ciphers=("ECDHE-ECDSA-AES128-SHA",),
)
FULL = WebConfig(
    tls=TLS,
    users={"a": HASH, "b": HASH},
    headers={"X-Frame-Options": "deny", "X-XSS-Protection": "0"},
)


def with_tls(**changes: Any) -> WebConfig:  # noqa: ANN401
    tls = msgspec.structs.replace(TLS, **changes)
    return msgspec.structs.replace(FULL, tls=tls)


def lost(current: WebConfig, new: WebConfig, *written: str) -> list[str]:
    return [loss.key for loss in find_losses(current, new, written)]


@pytest.mark.parametrize(
    ("current", "new", "keys"),
    [
        (
            FULL,
            NONE,
            [
                "basic_auth_users",
                "http_server_config.headers.X-Frame-Options",
                "http_server_config.headers.X-XSS-Protection",
                "tls_server_config",
            ],
        ),
        (NONE, FULL, []),
        (FULL, FULL, []),
        (NONE, NONE, []),
        (FULL, with_tls(client_auth="optional", allowed_sans=()), ["client_auth_type"]),
        (FULL, with_tls(client_auth="none", allowed_sans=()), ["client_auth_type"]),
        (with_tls(client_auth="optional"), FULL, []),
        (FULL, with_tls(allowed_sans=()), ["client_allowed_sans"]),
        (FULL, with_tls(allowed_sans=("b.test",)), []),
        (with_tls(min_version="TLS13"), FULL, ["min_version"]),
        (FULL, with_tls(min_version="TLS13", ciphers=()), []),
        (FULL, with_tls(ciphers=()), ["cipher_suites"]),
        (FULL, with_tls(cert=pem("CERTIFICATE", "BBBB"), client_ca=CERT), []),
    ],
)
def test_each_protection_that_ends_is_a_loss(
    current: WebConfig, new: WebConfig, keys: Collection[str]
) -> None:
    found = [key.removeprefix("tls_server_config.") for key in lost(current, new)]

    assert sorted(found) == keys


def test_users_may_be_removed_but_the_last() -> None:
    current = WebConfig(users={"a": HASH, "b": HASH})

    assert lost(current, WebConfig(users={"a": HASH})) == []
    assert lost(current, NONE) == ["basic_auth_users"]
    assert lost(current, NONE, "basic_auth_users") == []


@pytest.mark.parametrize(
    "written",
    [
        "http_server_config",
        "http_server_config.headers",
        "http_server_config.headers.X-Frame-Options",
    ],
)
def test_a_key_is_stated_by_its_value_or_by_an_empty_mapping_around_it(
    written: str,
) -> None:
    current = WebConfig(headers={"X-Frame-Options": "deny"})

    assert lost(current, NONE, written) == []
    assert lost(current, NONE, f"{written}s") == [
        "http_server_config.headers.X-Frame-Options"
    ]


def test_the_text_names_each_statement() -> None:
    text = loss_text(find_losses(FULL, NONE, ()))

    assert "authentication (users a, b), TLS, the header X-" in text
    assert "write `basic_auth_users: {}` and `tls_server_config: {}` and `X-" in text
    assert "restart" not in text


def test_what_no_value_states_takes_a_restart() -> None:
    text = loss_text(find_losses(FULL, with_tls(allowed_sans=()), ()))

    assert text.endswith("if that is meant, restart the exporter")


def test_a_configuration_is_described_without_secrets() -> None:
    text = describe(FULL)

    assert text.startswith("TLS with the certificate sha256:")
    assert text.endswith(
        "; client certificates required; users a, b; headers X-Frame-Options, "
        "X-XSS-Protection"
    )
    assert HASH not in text
    assert describe(WebConfig(users={"a": HASH})) == "no TLS; users a"
    assert describe(NONE).startswith("no TLS and no authentication: ")


@pytest.mark.parametrize(
    ("current", "new", "text"),
    [
        (NONE, WebConfig(users={"b": HASH, "a": HASH}), "users added: a, b"),
        (FULL, msgspec.structs.replace(FULL, users={"a": HASH}), "users removed: b"),
        (
            WebConfig(users={"a": HASH}),
            WebConfig(users={"a": HASH.replace("10", "12")}),
            "new password of: a",
        ),
        (WebConfig(tls=TLS), NONE, "TLS off"),
        (FULL, with_tls(key=pem("PRIVATE KEY", "BBBB")), "a new key"),
        (FULL, with_tls(client_ca=CERT), "other CAs of clients"),
        (FULL, with_tls(client_auth="optional"), "client_auth required -> optional"),
        (FULL, with_tls(allowed_sans=()), "allowed_sans a.test -> none"),
        (FULL, with_tls(min_version="TLS13"), "min_version TLS12 -> TLS13"),
        (
            FULL,
            msgspec.structs.replace(FULL, headers={"X-Frame-Options": "sameorigin"}),
            "headers removed: X-XSS-Protection; new value of: X-Frame-Options",
        ),
        (FULL, FULL, ""),
    ],
)
def test_each_change_is_described(
    current: WebConfig, new: WebConfig, text: str
) -> None:
    assert describe_changes(current, new) == text


def test_a_new_certificate_is_described_by_its_fingerprint() -> None:
    renewed = with_tls(cert=pem("CERTIFICATE", "BBBB"))

    assert describe_changes(FULL, renewed).startswith("new certificate sha256:")
    assert describe_changes(NONE, WebConfig(tls=TLS)).startswith(
        "TLS on, certificate sha256:"
    )
