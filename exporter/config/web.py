"""
The web configuration as the server receives it from the collector, in JSON.

The collector makes it from the operator's files (exporter/config/web_file.py), since
the server cannot open any.
"""

from typing import Literal

import msgspec

from exporter.model import Frozen

ClientAuth = Literal["none", "optional", "required"]
Version = Literal["TLS12", "TLS13"]


class TlsConfig(Frozen, frozen=True, kw_only=True):
    """
    How to speak TLS.

    Attributes:
        cert: the server's certificate with its intermediate certificates, PEM.
        key: its private key, PEM, unencrypted.
        client_ca: certificates of the CAs that sign clients' certificates, PEM.
        client_auth: whether a client needs a certificate that they signed; `optional`
            refuses a bad one.
        allowed_sans: a client's certificate must contain one of these; () for any.
        ciphers: of TLS 1.2, by OpenSSL's names; () for OpenSSL's defaults.
        min_version: the lowest version of TLS.
        max_version: the highest version of TLS.
        prefer_server_ciphers: whether the server's order of ciphers counts.
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
    All that the server needs.

    Attributes:
        tls: None for plain HTTP.
        headers: of every response, by name.
        users: bcrypt hashes by user name; {} for no authentication.
    """

    tls: TlsConfig | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    users: dict[str, str] = msgspec.field(default_factory=dict)


class WebConfigStatus(Frozen, frozen=True, kw_only=True):
    """
    What became of the operator's files.

    Attributes:
        is_current: whether they, as they are now, are in use.
        loaded: unix time at which they were last found valid and in use.
        rejections: changes that were not put to use, since start.
    """

    is_current: bool
    loaded: float
    rejections: int


class WebConfigReply(Frozen, frozen=True, kw_only=True):
    """
    The collector's reply to a request for the web configuration.

    Attributes:
        config: to be used from now on, None if it is the one in use.
        status: None where no files are configured.
    """

    config: WebConfig | None = None
    status: WebConfigStatus | None = None
