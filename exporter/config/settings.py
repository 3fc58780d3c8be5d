"""
The configuration: defaults < YAML file < flags, one frozen Config.

The file is strict: an unknown key is an error that suggests the nearest valid one.
"""

import re
from typing import Annotated, Any, Literal, get_args

import msgspec

from exporter import catalog, counters
from exporter.catalog import Profile, UnknownSysctlError
from exporter.config.yaml_decoder import MAX_BYTES, YamlError, decode_yaml
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

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*?)`")
_RULE = re.compile(r"`\$\.policy\[(\d+)\]")


class SysctlSettings(Frozen, frozen=True, kw_only=True):
    """
    Which sysctls to read.

    Attributes:
        profile: `default`, about 40 sysctls, or `all` of the catalog.
        include: globs over the names of the catalog, to read as well.
        exclude: globs over them, to leave out; takes precedence over *include*.
        max_fds: maximum number of files to hold open, 1.1 KiB of kernel memory each;
            never more than RLIMIT_NOFILE allows.
    """

    profile: Profile = "default"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_fds: Annotated[int, msgspec.Meta(ge=0)] = 65536


class PathSettings(Frozen, frozen=True, kw_only=True):
    """
    Where the node is mounted.

    Attributes:
        procfs: its proc.
        rootfs: its root, for /var/log/pods, files of runtimes and mounts.
    """

    procfs: str = "/proc"
    rootfs: str = "/"


class RuntimeSettings(Frozen, frozen=True, kw_only=True):
    """
    Which APIs of container runtimes to poll, besides reading files.

    Attributes:
        docker: address of the Docker API, "" for none; the path of a unix socket is
            below PathSettings.rootfs.
        kubelet: address of the kubelet, "" for none.
        kubelet_token_file: the token for a kubelet with https.
        kubelet_ca_file: the CA of its certificate, "" for the system's CAs.
        kubelet_insecure: whether to accept any certificate of it.
        stale_after: seconds for which the last response of a runtime is used while it
            does not respond.
    """

    docker: str = "unix:///run/docker.sock"
    kubelet: str = ""
    kubelet_token_file: str = f"{_SERVICE_ACCOUNT}/token"
    kubelet_ca_file: str = ""
    kubelet_insecure: bool = False
    stale_after: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


class SignalSettings(Frozen, frozen=True, kw_only=True):
    """
    Which signals of saturation and drops to read.

    Attributes:
        listeners: whose accept queues: `tcp` (MPTCP too), `all` (unix sockets as well)
            or `none`.
        max_listeners: maximum number to export per namespace, the fullest first.
        counters_include: globs over the kernel's names (TcpExt.*), to export as well.
        counters_exclude: globs over them, to leave out; takes precedence.
    """

    listeners: ListenerScope = "tcp"
    max_listeners: Annotated[int, msgspec.Meta(ge=0)] = 100
    counters_include: tuple[str, ...] = ()
    counters_exclude: tuple[str, ...] = ()


class MetricSettings(Frozen, frozen=True, kw_only=True):
    """
    How much of each namespace to export.

    Attributes:
        detail: `full`; `drift`, of the sysctls those that differ from the host's or
            were set, of the counters those that indicate a loss; `summary`, neither
            sysctls nor listeners.
        max_series: maximum number of series in an exposition, beyond which the least
            important namespaces are reduced; 0 for no limit.
        max_unnamed: how many namespaces without a name of their own are exported for
            each user and for each owner; 0 for no limit.
    """

    detail: Detail = "full"
    max_series: Annotated[int, msgspec.Meta(ge=0)] = 300_000
    max_unnamed: Annotated[int, msgspec.Meta(ge=0)] = 50


class WebSettings(Frozen, frozen=True, kw_only=True):
    """
    Where and how to serve.

    Attributes:
        listen_address: host:port, :port for every address, [v6]:port or unix:path;
            several in a list.
        config_file: TLS and users, exporter/config/web_file.py; "" for neither.
        systemd_socket: whether to serve on the sockets of a .socket unit instead.
    """

    listen_address: str | tuple[str, ...] = (":10128",)
    config_file: str = ""
    systemd_socket: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return all addresses; a single one may be configured without a list."""
        addresses = self.listen_address
        return (addresses,) if isinstance(addresses, str) else addresses


class LogSettings(Frozen, frozen=True, kw_only=True):
    """
    What to log on standard error.

    Attributes:
        level: the lowest severity.
        format: `logfmt` or `json`.
    """

    level: LogLevel = "info"
    format: LogFormat = "logfmt"


class Config(Frozen, frozen=True, kw_only=True):
    """
    The whole configuration; the YAML file has the same shape.

    Attributes:
        sysctls: which sysctls to read.
        path: where the node is mounted.
        runtimes: which APIs of runtimes to poll.
        signals: which signals of saturation and drops to read.
        metrics: how much of each namespace to export.
        web: where and how to serve.
        log: what to log.
        policy: rules that values must follow.
    """

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
    Return the defaults, overridden by *file*, overridden by *flags*; ConfigError.

    Rules are checked against the catalog here, since a flag may exclude a sysctl.
    """
    config = parse_config(_read(file), file) if file else Config()
    sections = {
        section: msgspec.structs.replace(getattr(config, section), **values)
        for section, values in flags.items()
    }
    config = msgspec.structs.replace(config, **sections)
    if error := _check_policy(config):
        raise ConfigError(f"{file}: {error}")
    _check_counters(config.signals)
    return config


def parse_config(text: bytes, file: str) -> Config:
    """Return the configuration in *text*; *file* is its name in a ConfigError."""
    try:
        return decode_yaml(text, Config)
    except YamlError as error:
        rule, suggestion = _rule_name(text, str(error)), _suggestion(str(error))
        raise ConfigError(f"{file}: {error}{rule}{suggestion}") from error


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration {file}: {error.strerror}"
        ) from error


def _check_counters(signals: SignalSettings) -> None:
    include, exclude = signals.counters_include, signals.counters_exclude
    try:
        counters.select(include=include, exclude=exclude)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_policy(config: Config) -> str:
    """Return the error of the first rule that cannot be used, "" if all can."""
    if not config.policy:
        return ""
    sysctls = [entry.sysctl() for entry in catalog.load()]
    names = [rule.name for rule in config.policy]
    for at, rule in enumerate(config.policy):
        if rule.name in names[:at]:
            error = "another rule has this name; give each its own"
        else:
            error = _check_rule(rule, config, sysctls)
        if error:
            return f"policy rule {rule.name!r}: {error}"
    return ""


def _check_rule(rule: Rule, config: Config, sysctls: list[Sysctl]) -> str:
    names = [sysctl.name for sysctl in sysctls]
    try:
        matching = catalog.match_glob(rule.sysctl, names)
    except UnknownSysctlError as error:
        return str(error)
    for pattern in config.sysctls.exclude:
        matching -= catalog.match_glob(pattern, names)
    if not matching:
        return f"sysctls.exclude leaves out {rule.sysctl!r}; remove it from there"
    evaluated = [s for s in sysctls if s.name in matching and s.class_ != "shared"]
    if not evaluated:
        return (
            f"all namespaces share {rule.sysctl!r} of the host; choose another sysctl"
        )
    return validate_rule(rule, evaluated)


def _suggestion(message: str) -> str:
    found = _UNKNOWN_FIELD.search(message)
    if not found:
        return ""
    return did_you_mean(found[1], _keys(Rule if _RULE.search(message) else Config))


def _rule_name(text: bytes, message: str) -> str:
    """Return the name, if any, of the rule at the place that *message* names."""
    found = _RULE.search(message)
    if not found:
        return ""
    rule = decode_yaml(text, dict)["policy"][int(found[1])]
    name = rule.get("name") if isinstance(rule, dict) else None
    return f" (rule {name!r})" if isinstance(name, str) else ""


def _keys(struct: type[Frozen]) -> list[str]:
    keys: list[str] = []
    for field in msgspec.structs.fields(struct):
        keys.append(field.encode_name)
        if isinstance(field.type, type) and issubclass(field.type, Frozen):
            keys += _keys(field.type)
    return keys
