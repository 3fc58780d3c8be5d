"""Fixes fit the class of the sysctl and the owner, and can be pasted."""

import itertools
import json
import shlex
from typing import get_args

import pytest

from exporter import catalog
from exporter.model import Class, Owner, OwnerKind, SettableBy
from exporter.reports.remediation import SAFE_SINCE, Fix, fixes, owner_scope
from tests.support.builders import a_sysctl, an_owner

RUNTIMES = ("docker", "podman", "containerd", "crio", "lxc", "runc", "crun", "garden")


def owner_of(kind: OwnerKind, runtime: str = "") -> Owner:
    match kind:
        case "pod":
            return an_owner(runtime=runtime or "containerd")
        case "container":
            return Owner(kind=kind, container="web", runtime=runtime or "docker")
        case "host":
            return Owner(kind=kind, netns="host")
    return Owner(kind=kind, netns=f"{kind}/blue", comm="sleep")


def text(found: tuple[Fix, ...]) -> str:
    return "\n".join(line for fix in found for line in (fix.where, *fix.lines))


KINDS = get_args(OwnerKind)
CLASSES = get_args(Class)
SETTERS = get_args(SettableBy)


@pytest.mark.parametrize(
    ("kind", "scope", "settable_by"),
    [*itertools.product(KINDS, CLASSES, SETTERS)],
)
def test_every_sysctl_and_owner_has_a_fix(
    kind: OwnerKind, scope: Class, settable_by: SettableBy
) -> None:
    sysctl = a_sysctl(class_=scope, settable_by=settable_by)

    found = fixes(sysctl, owner_of(kind), "1024")

    assert found
    assert not any("{" in fix.where for fix in found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_sysctl_is_only_set_on_the_host(kind: OwnerKind) -> None:
    sysctl = a_sysctl("net.core.rmem_max", class_="shared", settable_by="node")

    for fix in fixes(sysctl, owner_of(kind), "1"):
        assert fix.where.startswith("on the host")


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_sysctl_has_no_lines_to_paste(kind: OwnerKind) -> None:
    (fix,) = fixes(a_sysctl(settable_by="none"), owner_of(kind), "1")

    assert fix.lines == ()
    assert fix.where.startswith("It cannot be set")


ONLY_FOR = {
    "securityContext:": "pod",
    "defaultPodSysctls:": "pod",
    "tuning": "pod",
    "docker run": "container",
    "podman run": "container",
    "nerdctl run": "container",
    "ExecStartPre": "unit",
    "ip netns exec": "named",
    "nsenter --target": "process",
    "sysctl.d": "host",
}


@pytest.mark.parametrize(
    ("words", "kind", "runtime"),
    [
        (words, kind, runtime)
        for words, kind, runtime in itertools.product(ONLY_FOR, KINDS, ("", *RUNTIMES))
        if kind in {"pod", "container"} or not runtime
    ],
)
def test_a_fix_is_only_for_owners_where_it_works(
    words: str, kind: OwnerKind, runtime: str
) -> None:
    found = text(fixes(a_sysctl(), owner_of(kind, runtime), "1024"))

    assert words not in found or ONLY_FOR[words] == kind


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_each_runtime_has_its_own_fix(runtime: str) -> None:
    found = fixes(a_sysctl(), owner_of("container", runtime), "1")
    commands = {"docker": "docker run", "podman": "podman run", "lxc": "lxc.sysctl"}
    other = {"containerd": "nerdctl run"}

    assert (commands | other).get(runtime, '"linux"') in text(found)


def test_unsafe_sysctls_have_the_kubelets_setting() -> None:
    unsafe = text(fixes(a_sysctl(settable_by="pod-unsafe"), owner_of("pod"), "1"))
    safe = a_sysctl("net.ipv4.tcp_rmem", settable_by="pod", class_="inherited")

    assert "allowedUnsafeSysctls: [net.core.somaxconn]" in unsafe
    assert "allowedUnsafeSysctls" not in text(fixes(safe, owner_of("pod"), "1"))
    assert "safe since Kubernetes 1.32" in text(fixes(safe, owner_of("pod"), "1"))


def test_every_safe_sysctl_of_the_catalog_has_its_version() -> None:
    safe = {entry.name for entry in catalog.load() if entry.settable_by == "pod"}

    assert safe == SAFE_SINCE.keys()


def test_only_a_compose_service_gets_a_compose_file() -> None:
    service = Owner(kind="container", runtime="docker", project="shop", service="w: {x")

    assert '  "w: {x":' in text(fixes(a_sysctl(), service, "1"))
    alone = owner_of("container", "docker")
    assert "services:" not in text(fixes(a_sysctl(), alone, "1"))


def test_only_copied_sysctls_have_a_fix_on_the_host() -> None:
    def on_host(scope: Class) -> bool:
        return "copies it" in text(fixes(a_sysctl(class_=scope), owner_of("pod"), "1"))

    assert [scope for scope in CLASSES if on_host(scope)] == ["inherited", "devconf"]


@pytest.mark.parametrize("netns", ["cookie/8", "within/abc/cookie/8", "named/inner"])
def test_a_secondary_namespace_is_not_set_by_the_runtime(netns: str) -> None:
    inner = an_owner(netns=netns)

    assert owner_scope(inner) == "secondary"
    assert "securityContext" not in text(fixes(a_sysctl(), inner, "1"))


def test_a_pod_of_a_node_in_a_container_is_a_pod() -> None:
    assert owner_scope(an_owner(netns="within/abc")) == "pod"


def test_names_and_values_are_quoted_for_the_shell() -> None:
    named = Owner(kind="named", netns="named/a;reboot")
    sysctl = a_sysctl("net.ipv4.tcp_rmem", kind="ints", class_="constant")

    (fix,) = fixes(sysctl, named, "1 2 3")

    words = shlex.split(fix.lines[0])
    assert words[3:] == ["a;reboot", "sysctl", "-w", "net.ipv4.tcp_rmem=1 2 3"]


def test_the_cni_plug_ins_part_is_json() -> None:
    tuning = next(
        fix for fix in fixes(a_sysctl(), owner_of("pod"), "1") if "CNI" in fix.where
    )

    assert json.loads("".join(tuning.lines))["sysctl"] == {"net.core.somaxconn": "1"}
