"""
The web configuration as the server has it: the wire between the two processes.

The collector makes it of the operator's files (webfile.py), since the server can open
none.
"""

from typing import Literal

import msgspec

from exporter.model import Frozen

ClientAuth = Literal["none", "optional", "required"]
Version = Literal["TLS12", "TLS13"]


class TlsConfig(Frozen, frozen=True, kw_only=True):
    """
    How to speak TLS; cert, key and client_ca are PEM texts, not paths.

    client_auth: whether a client needs a certificate of client_ca, optional: only a
    good one if it gives any; allowed_sans: one of these has to be in it, () for no
    matter; ciphers: OpenSSL's names for TLS 1.2, () for its defaults.
    """

    cert: str
    key: str
    client_ca: str = ""
    client_auth: ClientAuth = "none"
    allowed_sans: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    prefer_server_ciphers: bool = True


class WebConfig(Frozen, frozen=True, kw_only=True):
    """
    What the server has to know.

    tls: None for plain HTTP; headers: for every response; users: bcrypt hashes by
    name, {} for no authentication.
    """

    tls: TlsConfig | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    users: dict[str, str] = msgspec.field(default_factory=dict)
