"""
What was asked for in a namespace, by whom, over all of its containers. Pure.

A runtime writes a container's sysctls when it makes it, so a container that joins
a namespace later may overwrite what the first one declared.
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
"""What some runtime sets by itself in every container."""


def declared_values(
    containers: Iterable[Container], pods: Mapping[str, Mapping[str, str]]
) -> tuple[Declared, ...]:
    """
    Return what *containers* of one namespace set, in the order they did.

    pods: uid -> the sysctls of the pod's specification, of the pods whose
    specification is known.
    """
    in_order = sorted(containers, key=lambda c: (c.started, c.container_id))
    return tuple(
        one for container in in_order for one in _of_container(container, pods)
    )


def _of_container(
    container: Container, pods: Mapping[str, Mapping[str, str]]
) -> Iterable[Declared]:
    asked = container.requested_sysctls
    if container.is_sandbox and container.uid in pods:
        asked = dict(pods[container.uid])
    user: DeclaredBy = "pod" if container.is_sandbox else "container"
    name = "" if container.uid and container.is_sandbox else _name(container)
    for sysctl, value in sorted({**container.sysctls, **(asked or {})}.items()):
        if not sysctl.startswith("net."):
            continue
        added = (
            RUNTIME_DEFAULTS.get(sysctl) == value
            if asked is None
            else sysctl not in asked
        )
        source = "runtime" if added else user
        yield Declared(sysctl=sysctl, value=value, source=source, container=name)


def _name(container: Container) -> str:
    return container.name or short_id(container.container_id)
