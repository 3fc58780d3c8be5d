"""The flags of the configuration, one for each key."""

import argparse
from typing import Any

from exporter.config.settings import (
    DETAILS,
    LISTENERS,
    LOG_FORMATS,
    LOG_LEVELS,
    PROFILES,
)

_CHOICES = {
    "sysctls.profile": PROFILES,
    "signals.listeners": LISTENERS,
    "metrics.detail": DETAILS,
    "log.level": LOG_LEVELS,
    "log.format": LOG_FORMATS,
}


def _non_negative_int(text: str) -> int:
    if not text.isdecimal():
        message = f"{text!r} is not a non-negative integer"
        raise argparse.ArgumentTypeError(message)
    return int(text)


_VALUES: dict[str, dict[str, Any]] = {
    "sysctls.max_fds": {"type": _non_negative_int, "metavar": "N"},
    "path.procfs": {"metavar": "DIR"},
    "path.rootfs": {"metavar": "DIR"},
    "runtimes.docker": {"metavar": "URL"},
    "runtimes.kubelet": {"metavar": "URL"},
    "runtimes.kubelet_token_file": {"metavar": "FILE"},
    "runtimes.kubelet_ca_file": {"metavar": "FILE"},
    "runtimes.stale_after": {"type": _non_negative_int, "metavar": "SECONDS"},
    "signals.max_listeners": {"type": _non_negative_int, "metavar": "N"},
    "metrics.max_series": {"type": _non_negative_int, "metavar": "N"},
    "metrics.max_unnamed": {"type": _non_negative_int, "metavar": "N"},
}

_REPEATED = {
    "sysctls.include",
    "sysctls.exclude",
    "signals.counters_include",
    "signals.counters_exclude",
    "web.listen_address",
}

_WEB_KEYS = ("web.listen_address", "web.systemd_socket", "web.config_file")

_HELP = {
    "sysctls.profile": "which sysctls to read: about 40, or all of the catalog",
    "sysctls.include": "additional sysctls to read: a glob, repeatable",
    "sysctls.exclude": "sysctls to leave out, even if included: a glob, repeatable",
    "sysctls.max_fds": "maximum number of files to hold open (default 65536)",
    "path.procfs": "where the node's proc is mounted (default /proc)",
    "path.rootfs": "where the node's root is mounted (default /)",
    "runtimes.docker": "address of the Docker API to poll, '' for none (default "
    "unix:///run/docker.sock, below --path.rootfs)",
    "runtimes.kubelet": "address of the kubelet to poll, such as "
    "https://127.0.0.1:10250 (default none)",
    "runtimes.kubelet_token_file": "the token for a kubelet with https",
    "runtimes.kubelet_ca_file": "the CA that signed the kubelet's certificate (default "
    "the system's CAs)",
    "runtimes.kubelet_insecure": "accept any certificate from the kubelet",
    "runtimes.stale_after": "seconds for which the last response of a runtime is used "
    "while it does not respond (default 3600)",
    "signals.listeners": "which accept queues to read: tcp, all (unix sockets too) "
    "or none (default tcp)",
    "signals.max_listeners": "maximum number of listeners to export per namespace "
    "(default 100)",
    "signals.counters_include": "additional counters to export: a glob, repeatable",
    "signals.counters_exclude": "counters to leave out, even if included: a glob, "
    "repeatable",
    "metrics.detail": "how much of each namespace to export (default full)",
    "metrics.max_series": "maximum number of series in a response; if exceeded, the "
    "least important namespaces are reduced (default 300000, 0 for no limit)",
    "metrics.max_unnamed": "maximum number of network namespaces without a name of "
    "their own to export for each user and owner (default 50, 0 for no limit)",
    "log.level": "the lowest severity to log (default info)",
    "log.format": "the format of log lines (default logfmt)",
}


def complete_files(action: argparse.Action) -> None:
    """Let shells complete file names for *action*, as shtab.FILE does, unimported."""
    vars(action)["complete"] = {"bash": "_shtab_compgen_files", "zsh": "_files"}


def parent_parser() -> argparse.ArgumentParser:
    """Return the parent parser of every command that reads the node."""
    parent = argparse.ArgumentParser(add_help=False)
    flags = parent.add_argument_group("configuration")
    complete_files(
        flags.add_argument(
            "--config.file", metavar="FILE", help="configuration file, in YAML"
        )
    )
    for key, text in _HELP.items():
        options: dict[str, Any] = {"dest": key, "help": text}
        if key in _CHOICES:
            options["choices"] = _CHOICES[key]
        elif key in _REPEATED:
            options |= {"action": "append", "metavar": "GLOB"}
        elif key == "runtimes.kubelet_insecure":
            options |= {"action": "store_const", "const": True}
        else:
            options |= _VALUES[key]
        action = flags.add_argument(f"--{key.replace('_', '-')}", **options)
        if action.metavar in {"FILE", "DIR"}:
            complete_files(action)
    return parent


def add_web_flags(serve: argparse.ArgumentParser) -> None:
    """Add the flags of `serve`, named as in Prometheus's own exporters."""
    serve.add_argument(
        "--web.listen-address",
        dest="web.listen_address",
        action="append",
        metavar="ADDRESS",
        help="where to listen: HOST:PORT, [IPV6]:PORT, :PORT for every address, or "
        "unix:PATH; repeatable (default :10128)",
    )
    serve.add_argument(
        "--web.systemd-socket",
        dest="web.systemd_socket",
        action="store_const",
        const=True,
        help="listen on the sockets passed by a systemd .socket unit instead",
    )
    file = serve.add_argument(
        "--web.config.file",
        dest="web.config_file",
        metavar="FILE",
        help="TLS, users and headers, in the format of Prometheus's exporter-toolkit",
    )
    complete_files(file)


def overrides(arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the flags that were set, by section and key of the configuration."""
    sections: dict[str, dict[str, Any]] = {}
    for key in (*_HELP, *_WEB_KEYS):
        value = arguments.get(key)
        if value is not None:
            section, _, name = key.partition(".")
            values = tuple(value) if key in _REPEATED else value
            sections.setdefault(section, {})[name] = values
    return sections
