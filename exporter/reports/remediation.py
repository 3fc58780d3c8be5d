"""
Who can set a sysctl for an owner, and how: tables, and what of them fits. Pure.

The lines are for copying, so what goes into them is quoted for where it goes.
Kubernetes' versions: its page "Using sysctls in a Kubernetes Cluster".
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator

from exporter.model import Class, Frozen, Owner, OwnerKind, SettableBy, Sysctl

SAFE_SINCE = {
    "net.ipv4.ip_local_port_range": "1.11",
    "net.ipv4.tcp_syncookies": "1.11",
    "net.ipv4.ping_group_range": "1.18",
    "net.ipv4.ip_unprivileged_port_start": "1.22",
    "net.ipv4.ip_local_reserved_ports": "1.27",
    "net.ipv4.tcp_keepalive_time": "1.29",
    "net.ipv4.tcp_fin_timeout": "1.29",
    "net.ipv4.tcp_keepalive_intvl": "1.29",
    "net.ipv4.tcp_keepalive_probes": "1.29",
    "net.ipv4.tcp_rmem": "1.32",
    "net.ipv4.tcp_wmem": "1.32",
}
"""The kubelet's safe list, and since which Kubernetes; the field came with 1.11."""

PLACEHOLDER = "VALUE"

_OWN: frozenset[SettableBy] = frozenset({"pod", "pod-unsafe"})
_IN_DOCKER = frozenset({"docker"})
_IN_PODMAN = frozenset({"podman"})
_NERDCTL = frozenset({"containerd"})
_BUNDLE = frozenset({"", "runc", "crun", "crio", "garden"})
_SECONDARY = "secondary"
_WITHIN_MAIN = re.compile(r"within/[^/]*")

OwnerScope = OwnerKind | str
"""An OwnerKind, or `secondary`: a further namespace of a pod or a container."""


class Fix(Frozen, frozen=True, kw_only=True):
    """A way to set a value: where, and the lines to put there."""

    where: str
    lines: tuple[str, ...] = ()


class FixTemplate(Frozen, frozen=True, kw_only=True):
    """
    A fix, as templates, and what it works for.

    places: () for all, so are scopes and runtimes; compose: only for containers of
    a Compose project.
    """

    where: str
    lines: tuple[str, ...] = ()
    settable_by: frozenset[SettableBy] = _OWN
    owner_scopes: tuple[OwnerScope, ...] = ()
    classes: frozenset[Class] = frozenset()
    runtimes: frozenset[str] = frozenset()
    compose: bool = False


TEMPLATES = (
    FixTemplate(
        where="on the host, for the whole machine: it is one variable",
        lines=("sysctl -w {shell}",),
        settable_by=frozenset({"node"}),
    ),
    FixTemplate(
        where="on the host, to stay after a reboot: a file in /etc/sysctl.d",
        lines=("{name} = {value}",),
        settable_by=frozenset({"node"}),
    ),
    FixTemplate(
        where="It cannot be set: it shows what the kernel or a daemon did.",
        settable_by=frozenset({"none"}),
    ),
    FixTemplate(
        where="on the host, for what runs on its own network",
        lines=("sysctl -w {shell}",),
        owner_scopes=("host",),
    ),
    FixTemplate(
        where="on the host, to stay after a reboot: a file in /etc/sysctl.d",
        lines=("{name} = {value}",),
        owner_scopes=("host",),
    ),
    FixTemplate(
        where="in the pod's specification, safe since Kubernetes {since}",
        lines=(
            "securityContext:",
            "  sysctls:",
            "  - name: {name}",
            "    value: {json}",
        ),
        settable_by=frozenset({"pod"}),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="in the pod's specification, where the kubelet allows it (below)",
        lines=(
            "securityContext:",
            "  sysctls:",
            "  - name: {name}",
            "    value: {json}",
        ),
        settable_by=frozenset({"pod-unsafe"}),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="in the kubelet's configuration, without which the pod is refused",
        lines=("allowedUnsafeSysctls: [{name}]",),
        settable_by=frozenset({"pod-unsafe"}),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="or in the kubelet's configuration, for all new pods of the node that "
        "do not ask otherwise (Kubernetes 1.37, alpha: feature gate DefaultPodSysctls)",
        lines=("defaultPodSysctls:", "  {name}: {json}"),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="or by the CNI plug-in `tuning`, last in the network's list of plug-ins "
        "(/etc/cni/tuning/allowlist.conf may forbid it)",
        lines=('{{"type": "tuning",', ' "sysctl": {{{json_name}: {json}}}}}'),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="in compose.yaml",
        lines=(
            "services:",
            "  {service}:",
            "    sysctls:",
            "      {name}: {json}",
        ),
        owner_scopes=("container",),
        compose=True,
    ),
    FixTemplate(
        where="when the container is made",
        lines=("docker run --sysctl {shell} …",),
        owner_scopes=("container",),
        runtimes=_IN_DOCKER,
    ),
    FixTemplate(
        where="when the container is made, or its pod (podman pod create)",
        lines=("podman run --sysctl {shell} …",),
        owner_scopes=("container",),
        runtimes=_IN_PODMAN,
    ),
    FixTemplate(
        where="or for every container of podman: in containers.conf",
        lines=("[containers]", "default_sysctls = [{json_setting}]"),
        owner_scopes=("container",),
        runtimes=_IN_PODMAN,
    ),
    FixTemplate(
        where="when the container is made",
        lines=("nerdctl run --sysctl {shell} …",),
        owner_scopes=("container",),
        runtimes=_NERDCTL,
    ),
    FixTemplate(
        where="in the container's configuration",
        lines=("lxc.sysctl.{name} = {value}",),
        owner_scopes=("container",),
        runtimes=frozenset({"lxc"}),
    ),
    FixTemplate(
        where="in the bundle's config.json, which whoever makes the container writes",
        lines=('"linux": {{"sysctl": {{{json_name}: {json}}}}}',),
        owner_scopes=("container",),
        runtimes=_BUNDLE,
    ),
    FixTemplate(
        where="in the unit that makes the namespace: no setting of systemd does it, "
        "but a command in its namespace, with all rights, before the service",
        lines=("[Service]", "ExecStartPre=+/usr/sbin/sysctl -w {systemd}"),
        owner_scopes=("unit",),
    ),
    FixTemplate(
        where="in the namespace, until somebody makes it anew (whoever makes it can do "
        "the same); of a mount that is not in /run/netns: nsenter --net=ITS_PATH",
        lines=("ip netns exec {netns} sysctl -w {shell}",),
        owner_scopes=("named",),
        runtimes=frozenset({""}),
    ),
    FixTemplate(
        where="in the namespace, until Docker makes it anew (rootless, below its own "
        "state directory)",
        lines=("nsenter --net=/run/docker/netns/{netns} sysctl -w {shell}",),
        owner_scopes=("named",),
        runtimes=_IN_DOCKER,
    ),
    FixTemplate(
        where="in the namespace, while it lives: PID is any process in it",
        lines=("nsenter --target PID --net sysctl -w {shell}",),
        owner_scopes=("process", _SECONDARY),
    ),
    FixTemplate(
        where="or on the host, since a new namespace copies it; then make this one "
        "anew",
        lines=("sysctl -w {shell}",),
        owner_scopes=("pod", "container", "unit", "named", "process", _SECONDARY),
        classes=frozenset({"inherited"}),
    ),
    FixTemplate(
        where="or on the host, where its net.core.devconf_inherit_init_net is 1, and "
        "for IPv4 also where it is 0: a new namespace copies it; then make this one "
        "anew",
        lines=("sysctl -w {shell}",),
        owner_scopes=("pod", "container", "unit", "named", "process", _SECONDARY),
        classes=frozenset({"devconf"}),
    ),
)


def fixes(sysctl: Sysctl, owner: Owner, value: str) -> tuple[Fix, ...]:
    """Return the ways to give *sysctl* a *value* for this *owner*, the best first."""
    words = _words(sysctl, owner, value)
    return tuple(
        Fix(
            where=rule.where.format_map(words),
            lines=tuple(line.format_map(words) for line in rule.lines),
        )
        for rule in _fitting(TEMPLATES, sysctl, owner)
    )


def _fitting(
    rules: Iterable[FixTemplate], sysctl: Sysctl, owner: Owner
) -> Iterator[FixTemplate]:
    here = owner_scope(owner)
    for rule in rules:
        if (
            sysctl.settable_by in rule.settable_by
            and (not rule.owner_scopes or here in rule.owner_scopes)
            and (not rule.classes or sysctl.class_ in rule.classes)
            and (not rule.runtimes or owner.runtime in rule.runtimes)
            and (not rule.compose or owner.project)
        ):
            yield rule


def owner_scope(owner: Owner) -> OwnerScope:
    """Return what of an owner a namespace is: what sets its main one sets no other."""
    if owner.kind == "named" and not owner.netns.startswith("named/"):
        return _SECONDARY  # another has its name
    nested = owner.kind in {"pod", "container"} and owner.netns
    return _SECONDARY if nested and not _WITHIN_MAIN.fullmatch(nested) else owner.kind


def _words(sysctl: Sysctl, owner: Owner, value: str) -> dict[str, str]:
    setting = f"{sysctl.name}={value}"
    return {
        "name": sysctl.name,
        "value": value,
        "since": SAFE_SINCE.get(sysctl.name, "?"),
        "shell": shlex.quote(setting),
        "systemd": f'"{setting}"' if " " in setting else setting,
        "json": json.dumps(value),
        "json_name": json.dumps(sysctl.name),
        "json_setting": json.dumps(setting),
        "netns": shlex.quote(owner.netns.rpartition("/")[2]),
        "service": json.dumps(owner.service) if _odd(owner.service) else owner.service,
    }


def _odd(text: str) -> bool:
    return not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text)
