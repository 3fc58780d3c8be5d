"""
Determine what the containers of a namespace declare in it. Pure: no I/O.

A runtime writes the sysctls of a container when it creates it, so a container that
joins a namespace later may overwrite what the first one declared.
"""

from collections.abc import Iterable, Mapping

from exporter.model import Declared, DeclaredBy
from exporter.owner import short_id
from exporter.runtimes import RUNTIMES
from exporter.runtimes.records import Container

RUNTIME_DEFAULTS = {
    sysctl: value
    for runtime in RUNTIMES
    for sysctl, value in runtime.default_sysctls.items()
}
"""What some runtimes set in every container by default."""


def declared_values(
    containers: Iterable[Container], pods: Mapping[str, Mapping[str, str]]
) -> tuple[Declared, ...]:
    """
    Return what the *containers* of one namespace set, in the order they did.

    *pods* are the sysctls of pods' specifications by uid, where these are available.
    """
    in_order = sorted(containers, key=lambda c: (c.started, c.container_id))
    return tuple(
        declared
        for container in in_order
        for declared in _of_container(container, pods)
    )


def _of_container(
    container: Container, pods: Mapping[str, Mapping[str, str]]
) -> Iterable[Declared]:
    requested = container.requested_sysctls
    if container.is_sandbox and container.uid in pods:
        requested = dict(pods[container.uid])
    user: DeclaredBy = "pod" if container.is_sandbox else "container"
    name = "" if container.uid and container.is_sandbox else _name(container)
    for sysctl, value in sorted({**container.sysctls, **(requested or {})}.items()):
        if not sysctl.startswith("net."):
            continue
        if requested is None:
            is_default = RUNTIME_DEFAULTS.get(sysctl) == value
        else:
            is_default = sysctl not in requested
        source = "runtime" if is_default else user
        yield Declared(sysctl=sysctl, value=value, source=source, container=name)


def _name(container: Container) -> str:
    return container.name or short_id(container.container_id)
