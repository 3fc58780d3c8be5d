"""
The configuration: defaults < YAML file < flags, one frozen Config.

The file is strict: an unknown key is an error that names it and the nearest
known one.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from exporter.catalog import Profile
from exporter.model import Frozen

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["logfmt", "json"]

PROFILES = get_args(Profile)
LOG_LEVELS = get_args(LogLevel)
LOG_FORMATS = get_args(LogFormat)

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNKNOWN = re.compile(r"unknown field `(.*?)`")


class ConfigError(ValueError):
    """A configuration that cannot be used; says where and what to do."""


class Sysctls(Frozen, frozen=True, kw_only=True):
    """
    Which sysctls to read.

    profile: `default`, about 40, or `all`; include and exclude: globs over the
    catalog's names, exclude wins; max_fds: how many sysctl files may be held
    open, each 1.1 KiB of kernel memory, never more than RLIMIT_NOFILE allows.
    """

    profile: Profile = "default"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_fds: Annotated[int, msgspec.Meta(ge=0)] = 65536


class Paths(Frozen, frozen=True, kw_only=True):
    """
    Where the node is mounted.

    procfs: its proc; rootfs: its root, for /var/log/pods and mounts.
    """

    procfs: str = "/proc"
    rootfs: str = "/"


class Runtimes(Frozen, frozen=True, kw_only=True):
    """
    Whom to ask besides reading files.

    docker: the Docker API, "" for never; a unix socket's path is below
    path.rootfs; kubelet: its address, "" for never, with
    kubelet_token_file and kubelet_ca_file ("" for the system's authorities) where
    it is https; kubelet_insecure: take any certificate; stale_after: seconds that
    an answer counts while its source is silent.
    """

    docker: str = "unix:///run/docker.sock"
    kubelet: str = ""
    kubelet_token_file: str = f"{_SERVICE_ACCOUNT}/token"
    kubelet_ca_file: str = ""
    kubelet_insecure: bool = False
    stale_after: Annotated[float, msgspec.Meta(ge=0)] = 3600.0


class Web(Frozen, frozen=True, kw_only=True):
    """listen_address: host:port, :port for every address, or [v6]:port."""

    listen_address: str = ":10128"


class Log(Frozen, frozen=True, kw_only=True):
    """What to log, and how; on standard error."""

    level: LogLevel = "info"
    format: LogFormat = "logfmt"


class Config(Frozen, frozen=True, kw_only=True):
    """The whole configuration; the YAML file has the same shape."""

    sysctls: Sysctls = Sysctls()
    path: Paths = Paths()
    runtimes: Runtimes = Runtimes()
    web: Web = Web()
    log: Log = Log()


def load(file: str | None, flags: dict[str, dict[str, Any]]) -> Config:
    """Return the defaults, overridden by *file*, overridden by *flags*."""
    config = parse(_read(file), file) if file else Config()
    sections = {
        section: msgspec.structs.replace(getattr(config, section), **values)
        for section, values in flags.items()
    }
    return msgspec.structs.replace(config, **sections)


def parse(text: bytes, file: str) -> Config:
    """Return the configuration in *text*; *file* is for the error message."""
    try:
        return msgspec.yaml.decode(text, type=Config | None) or Config()
    except ValueError as error:  # msgspec's are; PyYAML adds plain ones
        message = f"{file}: {error}{_nearest(str(error))}"
        raise ConfigError(message) from error


def split_address(address: str) -> tuple[str, int]:
    """
    Return host and port of a listen address; the host "" means every address.

    >>> split_address("[::1]:10128")
    ('::1', 10128)
    """
    found = _ADDRESS.fullmatch(address)
    if not found or int(found["port"]) > _MAX_PORT:
        message = (
            f"listen address {address!r}: want HOST:PORT, :PORT or [IPV6]:PORT "
            "with a port up to 65535"
        )
        raise ConfigError(message)
    return found["v6"] or found["host"] or "", int(found["port"])


_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+(?:%\w+)?)\]|(?P<host>[^][:]*)):(?P<port>[0-9]{1,5})"
)
_MAX_PORT = 65535


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        message = f"cannot read the configuration {file}: {error.strerror}"
        raise ConfigError(message) from error


def _nearest(message: str) -> str:
    found = _UNKNOWN.search(message)
    if not found:
        return ""
    near = difflib.get_close_matches(found[1], _keys(Config), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _keys(struct: type[Frozen]) -> list[str]:
    keys: list[str] = []
    for field in msgspec.structs.fields(struct):
        keys.append(field.encode_name)
        if isinstance(field.type, type) and issubclass(field.type, Frozen):
            keys += _keys(field.type)
    return keys
