"""
Compare a new web configuration with the one in use: what it changes, what it loses.

A file that is emptied, cut short or half-written lacks keys. So a key that is absent is
not a statement: protection ends only where the file says so, by a weaker value or an
empty one that is written out. Pure.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from exporter.config.certificate import describe_certificate
from exporter.config.web import ClientAuth, TlsConfig, WebConfig

_STRENGTH: dict[ClientAuth, int] = {"none": 0, "optional": 1, "required": 2}


class Loss(NamedTuple):
    """
    A protection that a new configuration no longer has.

    Attributes:
        key: the key that had to be written, dotted.
        what: what would be lost.
        statement: what to write in the file for it to be meant, "" if nothing does.
    """

    key: str
    what: str
    statement: str


def find_losses(
    current: WebConfig, new: WebConfig, written: Collection[str]
) -> list[Loss]:
    """
    Return the protection that *current* has and *new* loses without a statement.

    *written*: the dotted keys of the new file that have a value, those of a mapping
    only if it is empty.
    """
    return [
        loss
        for loss in _losses(current, new)
        if not any(f"{loss.key}.".startswith(f"{key}.") for key in written)
    ]


def loss_text(losses: Collection[Loss]) -> str:
    """Return what a configuration with *losses* would do, and how to mean it."""
    lost = ", ".join(loss.what for loss in losses)
    statements = [f"`{loss.statement}`" for loss in losses if loss.statement]
    remedies = [f"write {' and '.join(statements)}"] if statements else []
    if len(statements) < len(losses):
        remedies.append("restart the exporter")
    return (
        f"it would end protection without saying so: {lost}; if that is meant, "
        f"{' and '.join(remedies)}"
    )


def describe(config: WebConfig) -> str:
    """Return what protects a server with *config*, for a log."""
    if config.tls is None and not config.users:
        return "no TLS and no authentication: every client may read it all"
    certificate = describe_certificate(config.tls.cert) if config.tls else ""
    parts = [
        f"TLS with the certificate {certificate}" if config.tls else "no TLS",
        f"client certificates {config.tls.client_auth}" if config.tls else "",
        f"users {', '.join(config.users)}" if config.users else "no authentication",
        f"headers {', '.join(config.headers)}" if config.headers else "",
    ]
    return "; ".join(filter(None, parts))


def describe_changes(current: WebConfig, new: WebConfig) -> str:
    """Return what *new* changes, for a log; names of users, never their hashes."""
    parts = [
        *_mapping_changes("user", current.users, new.users, "new password"),
        *_tls_changes(current.tls, new.tls),
        *_mapping_changes("header", current.headers, new.headers, "new value"),
    ]
    return "; ".join(parts)


def _losses(current: WebConfig, new: WebConfig) -> Iterator[Loss]:
    if current.users and not new.users:
        users = ", ".join(current.users)
        yield Loss(
            "basic_auth_users",
            f"authentication (users {users})",
            "basic_auth_users: {}",
        )
    if current.tls and new.tls:
        yield from _tls_losses(current.tls, new.tls)
    elif current.tls:
        yield Loss("tls_server_config", "TLS", "tls_server_config: {}")
    for name in current.headers.keys() - new.headers.keys():
        key = f"http_server_config.headers.{name}"
        yield Loss(key, f"the header {name}", f"{name}: ''")


def _tls_losses(current: TlsConfig, new: TlsConfig) -> Iterator[Loss]:
    if _STRENGTH[new.client_auth] < _STRENGTH[current.client_auth]:
        yield Loss(
            "tls_server_config.client_auth_type",
            "certificates of clients",
            "client_auth_type: NoClientCert",
        )
    elif current.allowed_sans and not new.allowed_sans:
        what = "the names that certificates of clients must have (client_allowed_sans)"
        yield Loss("tls_server_config.client_allowed_sans", what, "")
    if new.min_version < current.min_version:
        yield Loss(
            "tls_server_config.min_version",
            f"{current.min_version} as the lowest version of TLS",
            f"min_version: {new.min_version}",
        )
    elif current.ciphers and not new.ciphers and new.min_version == "TLS12":
        yield Loss(
            "tls_server_config.cipher_suites",
            "the choice of cipher suites",
            "cipher_suites: []",
        )


def _mapping_changes(
    noun: str, current: Mapping[str, str], new: Mapping[str, str], changed: str
) -> Iterator[str]:
    both = current.keys() & new.keys()
    for how, names in (
        (f"{noun}s added", new.keys() - current.keys()),
        (f"{noun}s removed", current.keys() - new.keys()),
        (f"{changed} of", {name for name in both if current[name] != new[name]}),
    ):
        if names:
            yield f"{how}: {', '.join(sorted(names))}"


def _tls_changes(current: TlsConfig | None, new: TlsConfig | None) -> Iterator[str]:
    if new is None:
        if current:
            yield "TLS off"
        return
    if current is None:
        yield f"TLS on, certificate {describe_certificate(new.cert)}"
        return
    if new.cert != current.cert:
        yield f"new certificate {describe_certificate(new.cert)}"
    names = {"key": "a new key", "client_ca": "other CAs of clients"}
    for field in TlsConfig.__struct_fields__[1:]:
        before, after = getattr(current, field), getattr(new, field)
        if before != after:
            yield names.get(field) or f"{field} {_text(before)} -> {_text(after)}"


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)
