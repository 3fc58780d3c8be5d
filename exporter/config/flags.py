"""The flags of the configuration, one for each key, and what was given of them."""

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


def _natural(text: str) -> int:
    if not text.isdecimal():
        message = f"{text!r} is not a number from 0 up"
        raise argparse.ArgumentTypeError(message)
    return int(text)


_VALUES: dict[str, dict[str, Any]] = {
    "sysctls.max_fds": {"type": _natural, "metavar": "N"},
    "path.procfs": {"metavar": "DIR"},
    "path.rootfs": {"metavar": "DIR"},
    "runtimes.docker": {"metavar": "URL"},
    "runtimes.kubelet": {"metavar": "URL"},
    "runtimes.kubelet_token_file": {"metavar": "FILE"},
    "runtimes.kubelet_ca_file": {"metavar": "FILE"},
    "runtimes.stale_after": {"type": _natural, "metavar": "SECONDS"},
    "signals.max_listeners": {"type": _natural, "metavar": "N"},
    "metrics.max_series": {"type": _natural, "metavar": "N"},
}

_REPEATED = {
    "sysctls.include",
    "sysctls.exclude",
    "signals.counters_include",
    "signals.counters_exclude",
    "web.listen_address",
}

_WEB = ("web.listen_address", "web.systemd_socket", "web.config_file")

_HELP = {
    "sysctls.profile": "which sysctls to read: about 40, or all of the catalog",
    "sysctls.include": "read these as well: a glob, repeatable",
    "sysctls.exclude": "but not these: a glob, repeatable",
    "sysctls.max_fds": "files to hold open at most (default 65536)",
    "path.procfs": "where the node's proc is mounted (default /proc)",
    "path.rootfs": "where the node's root is mounted (default /)",
    "runtimes.docker": "the Docker API to ask, or '' for never (default "
    "unix:///run/docker.sock, below --path.rootfs)",
    "runtimes.kubelet": "the kubelet to ask, as https://127.0.0.1:10250 (default none)",
    "runtimes.kubelet_token_file": "the token for a kubelet with https",
    "runtimes.kubelet_ca_file": "who vouches for its certificate (default the system)",
    "runtimes.kubelet_insecure": "take any certificate from the kubelet",
    "runtimes.stale_after": "seconds that an answer counts while its source is silent "
    "(default 3600)",
    "signals.listeners": "whose accept queues to read: of tcp, all (unix sockets too) "
    "or none (default tcp)",
    "signals.max_listeners": "listeners of one namespace to show (default 100)",
    "signals.counters_include": "export these counters as well: a glob, repeatable",
    "signals.counters_exclude": "but not these: a glob, repeatable",
    "metrics.detail": "how much of each namespace to export (default full)",
    "metrics.max_series": "series of a page beyond which the least important "
    "namespaces are reduced (default 300000, 0 for no limit)",
    "log.level": "the least severe messages to log (default info)",
    "log.format": "how to log (default logfmt)",
}


def complete_files(action: argparse.Action) -> None:
    """Let a shell complete file names there: what shtab.FILE is, without loading it."""
    vars(action)["complete"] = {"bash": "_shtab_compgen_files", "zsh": "_files"}


def parent_parser() -> argparse.ArgumentParser:
    """Return a parent of every command that reads the node."""
    parent = argparse.ArgumentParser(add_help=False)
    flags = parent.add_argument_group("configuration")
    complete_files(
        flags.add_argument("--config.file", metavar="FILE", help="YAML configuration")
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


def add_web(serve: argparse.ArgumentParser) -> None:
    """Add what only serving takes, named as Prometheus's own exporters have it."""
    serve.add_argument(
        "--web.listen-address",
        dest="web.listen_address",
        action="append",
        metavar="ADDRESS",
        help="where to listen, repeatable: HOST:PORT, :PORT or unix:PATH (default "
        ":10128, every address)",
    )
    serve.add_argument(
        "--web.systemd-socket",
        dest="web.systemd_socket",
        action="store_const",
        const=True,
        help="listen on what a systemd .socket unit hands over instead",
    )
    file = serve.add_argument(
        "--web.config.file",
        dest="web.config_file",
        metavar="FILE",
        help="TLS and users, in the form of Prometheus's exporter-toolkit",
    )
    complete_files(file)


def overrides(arguments: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the flags that were given, as config sections."""
    sections: dict[str, dict[str, Any]] = {}
    for key in (*_HELP, *_WEB):
        value = arguments.get(key)
        if value is not None:
            section, _, name = key.partition(".")
            ready = tuple(value) if key in _REPEATED else value
            sections.setdefault(section, {})[name] = ready
    return sections
