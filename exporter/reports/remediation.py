"""
How a sysctl is set for an owner: a table of fixes, and those that apply. Pure.

The lines are for copying, so what is inserted into them is quoted for its place.
Kubernetes versions: "Using sysctls in a Kubernetes Cluster" in its documentation.
"""

import json
import re
import shlex
from collections.abc import Iterator

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
"""The kubelet's safe list, with Kubernetes versions; 1.11 introduced the field."""

PLACEHOLDER = "VALUE"

_SECONDARY = "secondary"
_WITHIN_MAIN = re.compile(r"within/[^/]*")

OwnerScope = OwnerKind | str
"""An OwnerKind, or `secondary`: another namespace of a pod or a container."""

_ALL_BUT_HOST: tuple[OwnerScope, ...] = (
    *("pod", "container", "unit", "named", "process"),
    _SECONDARY,
)
_NAMESPACED: frozenset[SettableBy] = frozenset({"pod", "pod-unsafe"})

SYSCTL_OPTIONS = {
    "": "bundle",
    "containerd": "nerdctl",
    "crio": "bundle",
    "crun": "bundle",
    "docker": "docker",
    "garden": "bundle",
    "lxc": "lxc",
    "podman": "podman",
    "runc": "bundle",
}
"""How each container runtime, "" for an unknown one, takes a container's sysctls."""


def _runtimes(option: str) -> frozenset[str]:
    return frozenset(name for name, given in SYSCTL_OPTIONS.items() if given == option)


class Fix(Frozen, frozen=True, kw_only=True):
    """
    A way to set a value.

    Attributes:
        where: the place, as a phrase.
        lines: what to put there.

    """

    where: str
    lines: tuple[str, ...] = ()


class FixTemplate(Frozen, frozen=True, kw_only=True):
    """
    A fix with placeholders, and the sysctls and owners that it applies to.

    Attributes:
        where: see Fix; a template of str.format().
        lines: see Fix; templates.
        settable_by: of the sysctls.
        owner_scopes: () for all.
        classes: of the sysctls, empty for all.
        runtimes: of the owners, empty for all.
        compose: whether it applies only to services of a Compose project.

    """

    where: str
    lines: tuple[str, ...] = ()
    settable_by: frozenset[SettableBy] = _NAMESPACED
    owner_scopes: tuple[OwnerScope, ...] = ()
    classes: frozenset[Class] = frozenset()
    runtimes: frozenset[str] = frozenset()
    compose: bool = False


_SECURITY_CONTEXT = (
    "securityContext:",
    "  sysctls:",
    "  - name: {name}",
    "    value: {json}",
)

TEMPLATES = (
    FixTemplate(
        where="on the host, for the whole machine (there is one variable)",
        lines=("sysctl -w {shell}",),
        settable_by=frozenset({"node"}),
    ),
    FixTemplate(
        where="on the host, to persist it across reboots: in a file in /etc/sysctl.d",
        lines=("{name} = {value}",),
        settable_by=frozenset({"node"}),
    ),
    FixTemplate(
        where="It cannot be set: it is read-only.",
        settable_by=frozenset({"none"}),
    ),
    FixTemplate(
        where="on the host, for processes in the host's network namespace",
        lines=("sysctl -w {shell}",),
        owner_scopes=("host",),
    ),
    FixTemplate(
        where="on the host, to persist it across reboots: in a file in /etc/sysctl.d",
        lines=("{name} = {value}",),
        owner_scopes=("host",),
    ),
    FixTemplate(
        where="in the pod specification (safe since Kubernetes {since})",
        lines=_SECURITY_CONTEXT,
        settable_by=frozenset({"pod"}),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="in the pod specification, if the kubelet allows it (next step)",
        lines=_SECURITY_CONTEXT,
        settable_by=frozenset({"pod-unsafe"}),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="and in the kubelet configuration, or the kubelet rejects the pod",
        lines=("allowedUnsafeSysctls: [{name}]",),
        settable_by=frozenset({"pod-unsafe"}),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="or in the kubelet configuration, for all new pods of the node that "
        "declare no value (Kubernetes 1.37, alpha: feature gate DefaultPodSysctls)",
        lines=("defaultPodSysctls:", "  {name}: {json}"),
        owner_scopes=("pod",),
    ),
    FixTemplate(
        where="or with the CNI tuning plug-in, as the last plug-in of the network "
        "configuration (/etc/cni/tuning/allowlist.conf may forbid it)",
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
        where="when the container is created",
        lines=("docker run --sysctl {shell} …",),
        owner_scopes=("container",),
        runtimes=_runtimes("docker"),
    ),
    FixTemplate(
        where="when the container is created, or its pod (podman pod create)",
        lines=("podman run --sysctl {shell} …",),
        owner_scopes=("container",),
        runtimes=_runtimes("podman"),
    ),
    FixTemplate(
        where="or in containers.conf, for all containers of podman",
        lines=("[containers]", "default_sysctls = [{json_setting}]"),
        owner_scopes=("container",),
        runtimes=_runtimes("podman"),
    ),
    FixTemplate(
        where="when the container is created",
        lines=("nerdctl run --sysctl {shell} …",),
        owner_scopes=("container",),
        runtimes=_runtimes("nerdctl"),
    ),
    FixTemplate(
        where="in the configuration of the container",
        lines=("lxc.sysctl.{name} = {value}",),
        owner_scopes=("container",),
        runtimes=_runtimes("lxc"),
    ),
    FixTemplate(
        where="in config.json of the bundle, which the creator of the container writes",
        lines=('"linux": {{"sysctl": {{{json_name}: {json}}}}}',),
        owner_scopes=("container",),
        runtimes=_runtimes("bundle"),
    ),
    FixTemplate(
        where="in the unit that creates the namespace: systemd has no setting for it, "
        "but can run a command in it, with full privileges, before the service",
        lines=("[Service]", "ExecStartPre=+/usr/sbin/sysctl -w {systemd}"),
        owner_scopes=("unit",),
    ),
    FixTemplate(
        where="in the namespace, until it is recreated (its creator can run the same "
        "command); if it is not mounted in /run/netns: nsenter --net=PATH",
        lines=("ip netns exec {netns} sysctl -w {shell}",),
        owner_scopes=("named",),
        runtimes=frozenset({""}),
    ),
    FixTemplate(
        where="in the namespace, until Docker recreates it (rootless Docker has it in "
        "its own state directory)",
        lines=("nsenter --net=/run/docker/netns/{netns} sysctl -w {shell}",),
        owner_scopes=("named",),
        runtimes=_runtimes("docker"),
    ),
    FixTemplate(
        where="in the namespace, until it ends; PID is any of its processes",
        lines=("nsenter --target PID --net sysctl -w {shell}",),
        owner_scopes=("process", _SECONDARY),
    ),
    FixTemplate(
        where="or on the host, since a new namespace copies it; then recreate this "
        "namespace",
        lines=("sysctl -w {shell}",),
        owner_scopes=_ALL_BUT_HOST,
        classes=frozenset({"inherited"}),
    ),
    FixTemplate(
        where="or on the host, if its net.core.devconf_inherit_init_net is 1 (for IPv4 "
        "also if it is 0), since a new namespace copies it; then recreate this "
        "namespace",
        lines=("sysctl -w {shell}",),
        owner_scopes=_ALL_BUT_HOST,
        classes=frozenset({"devconf"}),
    ),
)
"""All fixes, the best of each owner first."""


def fixes(sysctl: Sysctl, owner: Owner, value: str) -> tuple[Fix, ...]:
    """Return the ways to set *sysctl* to *value* for *owner*, the best first."""
    fields = _template_fields(sysctl, owner, value)
    return tuple(
        Fix(
            where=template.where.format_map(fields),
            lines=tuple(line.format_map(fields) for line in template.lines),
        )
        for template in _applicable(sysctl, owner)
    )


def _applicable(sysctl: Sysctl, owner: Owner) -> Iterator[FixTemplate]:
    scope = owner_scope(owner)
    for template in TEMPLATES:
        if (
            sysctl.settable_by in template.settable_by
            and (not template.owner_scopes or scope in template.owner_scopes)
            and (not template.classes or sysctl.class_ in template.classes)
            and (not template.runtimes or owner.runtime in template.runtimes)
            and (not template.compose or owner.project)
        ):
            yield template


def owner_scope(owner: Owner) -> OwnerScope:
    """
    Return the kind of an owner, or `secondary`.

    What sets a sysctl of the main namespace of a pod or a container does not set it
    in their other namespaces.
    """
    if owner.kind == "named" and not owner.netns.startswith("named/"):
        return _SECONDARY  # another namespace has the name
    is_nested = owner.kind in {"pod", "container"} and owner.netns
    is_other = is_nested and not _WITHIN_MAIN.fullmatch(owner.netns)
    return _SECONDARY if is_other else owner.kind


def _template_fields(sysctl: Sysctl, owner: Owner, value: str) -> dict[str, str]:
    setting = f"{sysctl.name}={value}"
    service = owner.service
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
        "service": service if _is_plain_key(service) else json.dumps(service),
    }


def _is_plain_key(text: str) -> bool:
    """Return whether YAML reads it as a string without quotes."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", text))
