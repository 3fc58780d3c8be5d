"""
The configuration: defaults < YAML file < flags, one frozen Config.

The file is strict: an unknown key is an error that names it and the nearest
known one.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from exporter import catalog, counters
from exporter.catalog import Profile, UnknownSysctlError
from exporter.errors import ConfigError
from exporter.log import LogFormat, LogLevel
from exporter.model import Detail, Frozen, Rule, Sysctl
from exporter.policy_rules import validate_rule
from exporter.suggestions import did_you_mean

ListenerScope = Literal["tcp", "all", "none"]

PROFILES = get_args(Profile)
DETAILS = get_args(Detail)
LOG_LEVELS = get_args(LogLevel)
LOG_FORMATS = get_args(LogFormat)
LISTENERS = get_args(ListenerScope)

YAML_ERRORS = (  # what PyYAML raises on `!!bool x` and its like, besides its own
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    RecursionError,
)
"""Of a text that a person wrote, all that reading it as YAML may raise."""

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*?)`")
_RULE = re.compile(r"`\$\.policy\[(\d+)\]")


class SysctlSettings(Frozen, frozen=True, kw_only=True):
    """
    Which sysctls to read.

    profile: `default`, about 40, or `all`; include and exclude: globs over the
    catalog's names, exclude wins; max_fds: how many files may be held
    open, each 1.1 KiB of kernel memory, never more than RLIMIT_NOFILE allows.
    """

    profile: Profile = "default"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_fds: Annotated[int, msgspec.Meta(ge=0)] = 65536


class PathSettings(Frozen, frozen=True, kw_only=True):
    """
    Where the node is mounted.

    procfs: its proc; rootfs: its root, for /var/log/pods and mounts.
    """

    procfs: str = "/proc"
    rootfs: str = "/"


class RuntimeSettings(Frozen, frozen=True, kw_only=True):
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
    stale_after: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


class SignalSettings(Frozen, frozen=True, kw_only=True):
    """
    What to look at to tell whether limits hurt.

    listeners: `tcp` (MPTCP too), `all` (unix sockets as well) or `none`;
    max_listeners: how many of one namespace to show, the fullest; counters_include,
    counters_exclude: globs over the kernel's names, TcpExt.*, exclude wins.
    """

    listeners: ListenerScope = "tcp"
    max_listeners: Annotated[int, msgspec.Meta(ge=0)] = 100
    counters_include: tuple[str, ...] = ()
    counters_exclude: tuple[str, ...] = ()


class MetricSettings(Frozen, frozen=True, kw_only=True):
    """
    How much of each namespace to export.

    detail: `full`, `drift` (of the sysctls those that differ from the host's or were
    set, of the counters those that tell a loss) or `summary` (neither sysctls nor
    listeners); max_series: of a page, beyond which the least important namespaces are
    reduced, 0 for no limit.
    """

    detail: Detail = "full"
    max_series: Annotated[int, msgspec.Meta(ge=0)] = 300_000


class WebSettings(Frozen, frozen=True, kw_only=True):
    """
    Where and how to serve.

    listen_address: each host:port, :port for every address, [v6]:port, or unix:path;
    config_file: TLS and users, webconfig.py, "" for neither; systemd_socket: serve on
    what a .socket unit hands over instead.
    """

    listen_address: str | tuple[str, ...] = (":10128",)
    config_file: str = ""
    systemd_socket: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return every listen_address; one needs no list."""
        one = self.listen_address
        return (one,) if isinstance(one, str) else one


class LogSettings(Frozen, frozen=True, kw_only=True):
    """What to log, and how; on standard error."""

    level: LogLevel = "info"
    format: LogFormat = "logfmt"


class Config(Frozen, frozen=True, kw_only=True):
    """The whole configuration; the YAML file has the same shape."""

    sysctls: SysctlSettings = SysctlSettings()
    path: PathSettings = PathSettings()
    runtimes: RuntimeSettings = RuntimeSettings()
    signals: SignalSettings = SignalSettings()
    metrics: MetricSettings = MetricSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    policy: tuple[Rule, ...] = ()


def load(file: str | None, flags: dict[str, dict[str, Any]]) -> Config:
    """
    Return the defaults, overridden by *file*, overridden by *flags*.

    Rules are held against the catalog here, since a flag may exclude a sysctl.
    """
    config = parse_config(_read(file), file) if file else Config()
    sections = {
        section: msgspec.structs.replace(getattr(config, section), **values)
        for section, values in flags.items()
    }
    config = msgspec.structs.replace(config, **sections)
    if wrong := _check_policy(config):
        message = f"{file}: {wrong}"
        raise ConfigError(message)
    _check_counters(config.signals)
    return config


def _check_counters(chosen: SignalSettings) -> None:
    include, exclude = chosen.counters_include, chosen.counters_exclude
    try:
        counters.select(include=include, exclude=exclude)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def parse_config(text: bytes, file: str) -> Config:
    """Return the configuration in *text*; *file* is for the error message."""
    try:
        return msgspec.yaml.decode(text, type=Config | None) or Config()
    except YAML_ERRORS as error:
        said = yaml_error_text(error)
        message = f"{file}: {said}{_rule_name(text, said)}{_suggestion(said)}"
        raise ConfigError(message) from error


def yaml_error_text(error: Exception) -> str:
    """Return what to tell of one of NOT_YAML."""
    return str(error) if isinstance(error, ValueError) else f"not YAML: {error!r}"


def _check_policy(config: Config) -> str:
    """Return what is wrong with the first rule that cannot be used, or ""."""
    if not config.policy:
        return ""
    every = [entry.sysctl() for entry in catalog.load()]
    names = [rule.name for rule in config.policy]
    for at, rule in enumerate(config.policy):
        wrong = _duplicate_name(rule.name, names[:at]) or _check_rule(
            rule, config, every
        )
        if wrong:
            return f"policy rule {rule.name!r}: {wrong}"
    return ""


def _duplicate_name(name: str, before: list[str]) -> str:
    return "another rule has this name; give each its own" if name in before else ""


def _check_rule(rule: Rule, config: Config, every: list[Sysctl]) -> str:
    names = [sysctl.name for sysctl in every]
    try:
        covered = catalog.match_glob(rule.sysctl, names)
    except UnknownSysctlError as error:
        return str(error)
    for pattern in config.sysctls.exclude:
        covered -= catalog.match_glob(pattern, names)
    if not covered:
        return f"sysctls.exclude leaves out {rule.sysctl!r}; take it out of there"
    judged = [s for s in every if s.name in covered and s.class_ != "shared"]
    if not judged:
        return f"the machine has one {rule.sysctl!r}, the host's; choose another sysctl"
    return validate_rule(rule, judged)


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        message = f"cannot read the configuration {file}: {error.strerror}"
        raise ConfigError(message) from error


def _suggestion(message: str) -> str:
    found = _UNKNOWN_FIELD.search(message)
    if not found:
        return ""
    known = _known_keys(Rule if _RULE.search(message) else Config)
    return did_you_mean(found[1], known)


def _rule_name(text: bytes, message: str) -> str:
    """Return the name, if it has one, of the rule at the place in *message*."""
    found = _RULE.search(message)
    if not found:
        return ""
    rule = msgspec.yaml.decode(text)["policy"][int(found[1])]
    name = rule.get("name") if isinstance(rule, dict) else None
    return f" (rule {name!r})" if isinstance(name, str) else ""


def _known_keys(struct: type[Frozen]) -> list[str]:
    keys: list[str] = []
    for field in msgspec.structs.fields(struct):
        keys.append(field.encode_name)
        if isinstance(field.type, type) and issubclass(field.type, Frozen):
            keys += _known_keys(field.type)
    return keys
