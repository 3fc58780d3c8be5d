"""Parsing /proc/PID/cgroup: every shape of path, and what only looks like one."""

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.runtimes.cgroup import CgroupPath, assigned_path, is_at, parse

A = "a1" * 32
B = "b2" * 32
C = "c3" * 32
UID = "0d137909-8596-495c-92b3-048a901457b2"
UID_ = UID.replace("-", "_")
OTHER = "7260904b-bd08-e72e-4dff-95d9fccd2ee8"
OTHER_ = OTHER.replace("-", "_")
STATIC = "b53dfa9e2dc9b890f7fadb2770857b03"
TASK = "0c7d9b9350cd4c7e97ddbf5becfd6f22"
GARDEN = "6f265890-5165-7fab-6b52-18d1"
BURSTABLE_SLICE = "/kubepods.slice/kubepods-burstable.slice"
BURSTABLE = f"{BURSTABLE_SLICE}/kubepods-burstable-pod{UID_}.slice"
MANAGER = "user@1000.service"
USER = f"/user.slice/user-1000.slice/{MANAGER}"

NOTHING = CgroupPath()


def found(runtime: str, container_id: str, pod_uid: str = "") -> CgroupPath:
    return CgroupPath(runtime=runtime, container_id=container_id, pod_uid=pod_uid)


def within(
    outer: str, runtime: str, container_id: str, pod_uid: str = ""
) -> CgroupPath:
    return CgroupPath(
        runtime=runtime, container_id=container_id, pod_uid=pod_uid, nested_in=outer
    )


def shim(
    runtime: str, container_id: str, pod_uid: str = "", *, outer: str = ""
) -> CgroupPath:
    return CgroupPath(
        runtime=runtime,
        container_id=container_id,
        pod_uid=pod_uid,
        is_shim=True,
        nested_in=outer,
    )


KUBERNETES = {
    f"/kubepods/burstable/pod{UID}/{A}": found("", A, UID),
    f"/kubepods/pod{UID}/{A}": found("", A, UID),
    f"/kubepods/burstable/pod{STATIC}/{A}": found("", A, STATIC),
    f"{BURSTABLE}/cri-containerd-{A}.scope": found("containerd", A, UID),
    f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{A}.scope": found(
        "containerd", A, UID
    ),
    f"{BURSTABLE_SLICE}/kubepods-burstable-pod{STATIC}.slice"
    f"/cri-containerd-{A}.scope": found("containerd", A, STATIC),
    f"{BURSTABLE}/docker-{A}.scope": found("docker", A, UID),
    f"{BURSTABLE}/crio-{A}.scope": found("crio", A, UID),
    f"{BURSTABLE}/crio-{A}.scope/container": found("crio", A, UID),
    f"/kubepods/besteffort/pod{UID}/crio-{A}": found("crio", A, UID),
    f"/kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}": found(
        "containerd", A, UID
    ),
    f"/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice"
    f":cri-containerd:{A}": found("containerd", A, UID),
    f"/kubepods-pod{UID_}.slice:crio:{A}": found("crio", A, UID),
    f"/kubepods/pod{UID}": CgroupPath(pod_uid=UID),
    BURSTABLE: CgroupPath(pod_uid=UID),
    f"{BURSTABLE}/cri-containerd-{A}.scope/init.scope": found("containerd", A, UID),
    f"{BURSTABLE}/cri-containerd-{A}.scope (deleted)": found("containerd", A, UID),
    f"/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
    f"/kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{B}.scope": within(
        A, "containerd", B, UID
    ),
    f"/docker/{A}/kubelet/kubepods/besteffort/pod{UID}/{B}": within(A, "", B, UID),
    f"/docker/{A}/system.slice/kubelet.service": found("docker", A),
    f"/../../pod{UID}/{A}": found("", A, UID),
    f"/../kubepods-burstable-pod{UID_}.slice/cri-containerd-{A}.scope": found(
        "containerd", A, UID
    ),
    f"/../crio-{A}.scope": found("crio", A),
    f"/../{A}": found("", A),
}

CONTAINERS = {
    f"/docker/{A}": found("docker", A),
    f"/docker/{A}/docker/{B}": within(A, "docker", B),
    f"/system.slice/docker-{A}.scope": found("docker", A),
    f"/system.slice:docker:{A}": found("docker", A),
    f"{USER}/user.slice/docker-{A}.scope": within(MANAGER, "docker", A),
    f"/actions_job/{A}": found("docker", A),
    f"/system.slice/nerdctl-{A}.scope": found("containerd", A),
    f"/default/{A}": within("default", "", A),
    f"/ecs/{TASK}/{A}": found("docker", A),
    f"/ecs/eb9d3d0c-8936-42d7-80d8-f82b2f1a629e/{A}": found("docker", A),
    f"/ecs/{TASK}/{TASK}-3057940393": found("", f"{TASK}-3057940393"),
    f"/ecs/{TASK}-305794039": found("", f"{TASK}-305794039"),
    f"/ecs/{TASK}": CgroupPath(nested_in=f"ecs/{TASK}"),
    f"/libpod_parent/libpod-{A}": found("podman", A),
    f"/libpod_parent/{B}/libpod-{A}": found("podman", A),
    f"/libpod_parent/{B}": CgroupPath(nested_in=f"libpod_parent/{B}"),
    f"/machine.slice/libpod-{A}.scope": found("podman", A),
    f"/machine.slice/libpod-{A}.scope/container": found("podman", A),
    f"/machine.slice/machine-libpod_pod_{B}.slice/libpod-{A}.scope": found("podman", A),
    f"{USER}/user.slice/libpod-{A}.scope": within(MANAGER, "podman", A),
    f"{USER}/app.slice/redis.service/libpod-payload-{A}": within(MANAGER, "podman", A),
    "/lxc/web": found("lxc", "web"),
    "/lxc/101/ns/init.scope": found("lxc", "101"),
    "/lxc.payload.web-1.example/system.slice/nginx.service": found(
        "lxc", "web-1.example"
    ),
    f"/lxc.payload.web/docker/{A}": within("web", "docker", A),
    f"/garden/{GARDEN}": found("garden", GARDEN),
    f"/system.slice/garden.service/garden/{GARDEN}": found("garden", GARDEN),
    f"/garden/bad/{GARDEN}": found("garden", GARDEN),
    f"/garden/{GARDEN}-liveness-healthcheck-0": found(
        "garden", f"{GARDEN}-liveness-healthcheck-0"
    ),
    "/garden/17fgd8jqc3u": found("garden", "17fgd8jqc3u"),
    "/garden/good": CgroupPath(nested_in="garden/good"),
}

SHIMS = {
    f"{BURSTABLE}/crio-conmon-{A}.scope": shim("crio", A, UID),
    f"/kubepods/besteffort/pod{UID}/crio-conmon-{A}": shim("crio", A, UID),
    f"/machine.slice/libpod-conmon-{A}.scope": shim("podman", A),
    f"{USER}/user.slice/libpod-conmon-{A}.scope": shim("podman", A, outer=MANAGER),
    "/libpod_parent/conmon": shim("podman", ""),
    f"/libpod_parent/{A}/conmon": shim("podman", ""),
    "/lxc.monitor.web": shim("lxc", "web"),
    "/lxc.monitor/101": shim("lxc", "101"),
}

UNITS = {  # a path, and the unit, below a user's manager as MANAGER/unit
    "/system.slice/nginx.service": "nginx.service",
    "/system.slice/nginx.service/worker": "nginx.service",
    "/system.slice/system-getty.slice/getty@tty1.service": "getty@tty1.service",
    r"/system.slice/foo\x2dbar.service": r"foo\x2dbar.service",
    "/nginx.service": "nginx.service",
    "/../../system.slice/nginx.service": "nginx.service",
    "/azure.slice/walinuxagent.service": "walinuxagent.service",
    f"{USER}/app.slice/foo.service": f"{MANAGER}/foo.service",
    f"{USER}/app.slice/app-a.slice/foo.service": f"{MANAGER}/foo.service",
    f"{USER}/init.scope": "user@1000.service",
    USER: "user@1000.service",
    "/user.slice/user-1000.slice/session-3.scope": "session-3.scope",
    "/machine.slice/machine-deb.scope/payload/system.slice/ssh.service": (
        "machine-deb.scope"
    ),
    "/system.slice/foo.service/fake.service": "foo.service",
    f"/system.slice/foo-{A}.service": f"foo-{A}.service",
    f"/system.slice/docker-{A}.service": f"docker-{A}.service",
    f"/system.slice/my-docker-{A}.scope": f"my-docker-{A}.scope",
    f"/system.slice/docker-{A}0.scope": f"docker-{A}0.scope",
}

NAMELESS = [
    "/",
    "/..",
    "/init.scope",
    "/system.slice",
    "/azure.slice",
    "/kube.slice",
    "/mycontainer",
    "/podruntime/kubelet",
    "/podruntime/foo.service",
    "/kubepods/burstable",
    "/docker",
    f"/docker/{A[:-1]}",
    f"/docker/{A.upper()}",
    f"/docker/x{A}",
    f"/kubepods/podx{UID}",
    f"/xpod{UID}",
    "/lxc",
    "/lxc.pivot",
    "/garden",
    "/system.slice/\udcff.service",
    "/system.slice/.service",
]


def by_path(*tables: dict[str, CgroupPath]) -> list[object]:
    rows = itertools.chain.from_iterable(table.items() for table in tables)
    return [pytest.param(path, expected, id=short(path)) for path, expected in rows]


def short(path: str) -> str:
    return re.sub(r"[0-9a-f]{32}([0-9a-f]{32})?", lambda m: f"{m[0][:2]}..", path)


@pytest.mark.parametrize(("path", "expected"), by_path(KUBERNETES, CONTAINERS, SHIMS))
def test_every_shape_is_parsed_alike_on_v1_v2_and_hybrid(
    path: str, expected: CgroupPath
) -> None:
    v1 = f"12:pids:{path}\n3:cpu,cpuacct:{path}\n1:name=systemd:{path}\n"

    assert parse(f"0::{path}\n") == expected
    assert parse(v1) == expected
    assert parse(f"{v1}0::/\n") == expected


@pytest.mark.parametrize(("path", "unit"), UNITS.items(), ids=map(short, UNITS))
def test_a_process_in_no_container_has_the_unit_of_the_hosts_systemd(
    path: str, unit: str
) -> None:
    manager, _, name = unit.rpartition("/")

    assert parse(f"0::{path}\n") == CgroupPath(unit=name, nested_in=manager)


@pytest.mark.parametrize("path", NAMELESS, ids=map(short, map(ascii, NAMELESS)))
def test_a_name_that_fits_only_in_part_names_nothing(path: str) -> None:
    group = parse(f"0::{path}\n")

    assert group == CgroupPath(nested_in=group.nested_in)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "\n\n", ":", "::", "0:", "0::", f"/docker/{A}", f"0:/docker/{A}"],
    ids=repr,
)
def test_a_file_without_paths_gives_nothing(text: str) -> None:
    assert parse(text) == NOTHING


def test_the_last_line_needs_no_newline() -> None:
    assert parse(f"0::/docker/{A}") == found("docker", A)


def test_colons_in_a_path_belong_to_the_path() -> None:
    assert parse(f"0::/a:b::c/docker/{A}\n") == within("a:b::c", "docker", A)


@pytest.mark.parametrize("separator", list("\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"))
def test_only_a_newline_ends_a_line(separator: str) -> None:
    """Python's other line separators are bytes of a name like any other."""
    assert parse(f"0::/docker/{A}{separator}\n").container_id == ""


class TestLines:
    """Lines of one file, which must not contradict each other."""

    def test_fargate_names_the_container_on_the_v1_lines_only(self) -> None:
        task = f"/ecs/{TASK}/{TASK}-3057940393"

        text = f"12:pids:{task}/kubepods/pod{UID}/{A}\n0::{task}\n"

        assert parse(text) == within(f"{TASK}-3057940393", "", A, UID)

    def test_a_line_without_a_name_does_not_contradict(self) -> None:
        text = f"9:rdma:/\n2:cpu:/mine\n1:name=systemd:/docker/{A}\n0::/init.scope\n"

        assert parse(text) == found("docker", A)

    def test_a_container_outweighs_the_unit_of_another_line(self) -> None:
        text = f"1:name=systemd:/docker/{A}\n0::/system.slice/containerd.service\n"

        assert parse(text) == found("docker", A)

    def test_a_pod_on_one_line_and_a_container_on_another_give_nothing(self) -> None:
        """A container may write the line of a hierarchy that its runtime left at /."""
        text = f"2:cpu:/kubepods/pod{UID}\n1:pids:/system.slice/docker-{A}.scope\n"

        assert parse(text) == NOTHING

    @pytest.mark.parametrize("place", ["/default/evil", "/system.slice/x.service"])
    @pytest.mark.parametrize(
        "forged",
        [f"/kubepods/pod{UID}/{A}", f"/docker/{A}", "/system.slice/nginx.service"],
    )
    @pytest.mark.parametrize("order", [1, -1])
    def test_a_name_that_is_not_where_the_process_was_placed_does_not_count(
        self, place: str, forged: str, order: int
    ) -> None:
        """Its runtime or systemd left the hierarchies of the other lines at /."""
        lines = [f"0::{forged}", f"7:misc:{forged}", f"1:name=systemd:{place}", ""]
        group = parse("\n".join(lines[::order]))

        assert group in {NOTHING, parse(f"1:name=systemd:{place}")}

    def test_a_place_in_another_hierarchy_only_limits_resources(self) -> None:
        text = f"2:memory:/mine\n1:name=systemd:/\n8:pids:/kubepods/pod{UID}/{A}\n"

        assert parse(text) == found("", A, UID)

    def test_one_id_under_two_drivers_has_the_runtime_that_one_names(self) -> None:
        cgroupfs, systemd = f"/pod{UID}/{A}", f"{BURSTABLE}/cri-containerd-{A}.scope"

        text = f"2:cpu:{cgroupfs}\n0::{systemd}\n"

        assert parse(text) == found("containerd", A, UID)

    def test_one_id_with_two_runtimes_has_none(self) -> None:
        assert parse(f"2:cpu:/docker/{A}\n0::/crio-{A}.scope\n") == found("", A)

    def test_a_shim_and_its_container_on_two_lines_are_the_container(self) -> None:
        text = f"2:cpu:/libpod-conmon-{A}.scope\n0::/libpod-{A}.scope\n"

        assert parse(text) == found("podman", A)

    @pytest.mark.parametrize(
        ("one", "two"),
        [
            (f"/docker/{A}", f"/docker/{B}"),
            (f"/docker/{A}", f"/system.slice/docker-{B}.scope"),
            (f"/docker/{A}/docker/{B}", f"/docker/{B}"),
            (f"/docker/{A}/docker/{B}", f"/docker/{A}/docker/{C}"),
            (f"/docker/{A}", f"/ecs/{TASK}/{TASK}-3057940393"),
            (f"/kubepods/pod{UID}", f"/kubepods/pod{OTHER}"),
            (f"/kubepods/pod{UID}/{A}", f"/kubepods/pod{OTHER}/{A}"),
            (f"/kubepods/pod{UID}/{A}", f"/kubepods/pod{UID}/{B}"),
            ("/lxc/a", "/lxc/b"),
            ("/system.slice/a.service", "/system.slice/b.service"),
        ],
    )
    def test_lines_that_contradict_each_other_give_nothing(
        self, one: str, two: str
    ) -> None:
        assert parse(f"2:cpu:{one}\n1:pids:{two}\n") == NOTHING
        assert parse(f"2:cpu:{two}\n1:pids:{one}\n") == NOTHING

    def test_a_units_line_may_stop_at_the_user_manager(self) -> None:
        text = f"5:pids:{USER}\n1:name=systemd:{USER}/app.slice/foo.service\n"

        assert parse(text) == CgroupPath(unit="foo.service", nested_in=MANAGER)


class TestNesting:
    """Names below a container, which a writable cgroup lets it choose."""

    @pytest.mark.parametrize(
        "below",
        [
            f"docker-{B}.scope",
            f"docker/{B}",
            f"kubepods/pod{OTHER}/{B}",
            f"kubepods-pod{OTHER.replace('-', '_')}.slice:cri-containerd:{B}",
            f"crio-conmon-{B}.scope",
            "libpod_parent/conmon",
            "lxc/evil",
        ],
    )
    def test_a_pod_cannot_name_itself_another(self, below: str) -> None:
        for own, expected in KUBERNETES.items():
            if expected.pod_uid and expected.container_id and "deleted" not in own:
                assert parse(f"0::{own}/{below}\n") == expected

    def test_a_pod_of_an_unknown_runtime_cannot_name_itself_another(self) -> None:
        path = f"/kubepods/pod{UID}/kata_x/kubepods/pod{OTHER}/{B}"

        assert parse(f"0::{path}\n") == CgroupPath(pod_uid=UID)

    def test_outside_a_pod_the_last_name_counts_as_on_a_kind_node(self) -> None:
        """The path is the same for both; nested_in lets the caller decide."""
        path = f"/docker/{A}/kubepods/pod{OTHER}/{B}"

        assert parse(f"0::{path}\n") == within(A, "", B, OTHER)

    @pytest.mark.parametrize(
        ("above", "nested_in"),
        [
            (USER, MANAGER),
            (f"{USER}/app.slice/x.service", MANAGER),
            ("/user.slice/user-0.slice/session-3.scope", "session-3.scope"),
            ("/machine.slice/machine-foo.scope/payload", "machine-foo.scope"),
            ("/system.slice/x.service", "x.service"),
            ("/system.slice/system-x.slice/x@x.service/payload", "x@x.service"),
            ("/system.slice/containerd.service", "containerd.service"),
            ("/system.slice/garden.service", "garden.service"),
            ("/system.slice/x", "system.slice/x"),
            ("/x/y.service", "x/y.service"),
            ("/default/evil", "default/evil"),
            ("/docker/buildkit/x", "docker/buildkit/x"),
            ("/docker", "docker"),
            ("/kubepods/x", "kubepods/x"),
            ("/kubelet/x", "kubelet/x"),
            ("/libpod_parent", "libpod_parent"),
            ("/../evil", "evil"),
            (f"/docker/{A}", A),
            (f"/docker/{A}/default/evil", f"{A}/default/evil"),
            (f"/docker/{A}/docker/{C}", f"{A}/{C}"),
            (f"{USER}/user.slice/docker-{A}.scope", f"{MANAGER}/{A}"),
        ],
    )
    @pytest.mark.parametrize(
        "below",
        [
            f"kubepods/pod{OTHER}/{B}",
            f"kubepods/burstable/pod{OTHER}/{B}",
            f"kubelet/kubepods/pod{OTHER}/{B}",
            f"pod{OTHER}/{B}",
            f"kubepods.slice/kubepods-pod{OTHER_}.slice/crio-{B}.scope",
        ],
    )
    def test_a_pod_below_what_another_party_may_write_is_nested_in_it(
        self, above: str, nested_in: str, below: str
    ) -> None:
        group = parse(f"0::{above}/{below}\n")

        outer = group.nested_in.removesuffix("/kubepods.slice")
        assert (group.pod_uid, group.container_id, outer) == (OTHER, B, nested_in)

    @pytest.mark.parametrize(
        "below", [f"docker/{B}", f"docker-{B}.scope", B, f"libpod-{B}.scope", "lxc/b"]
    )
    @pytest.mark.parametrize(
        ("above", "nested_in"),
        [
            ("/custom/grp", "custom/grp"),
            ("/system.slice/x.service", "x.service"),
            ("/system.slice/containerd.service", "containerd.service"),
            ("/docker/buildkit/x", "docker/buildkit/x"),
            ("/kubepods/x", "kubepods/x"),
        ],
    )
    def test_a_container_below_what_another_party_may_write_is_nested_in_it(
        self, above: str, nested_in: str, below: str
    ) -> None:
        assert parse(f"0::{above}/{below}\n").nested_in == nested_in

    def test_a_container_is_of_a_pod_only_directly_below_it(self) -> None:
        """A pod could use the ID of another pod's container."""
        path = f"/kubepods/pod{UID}/x/{B}"

        assert parse(f"0::{path}\n") == CgroupPath(pod_uid=UID)

    def test_a_shim_inside_a_container_names_no_container(self) -> None:
        path = f"/docker/{A}/libpod_parent/conmon"

        assert parse(f"0::{path}\n") == shim("podman", "", outer=A)


class TestANodeThatIsAContainer:
    """A kind node's own processes and pods are nested in the node's container."""

    def test_its_pods_are_pods_of_the_node(self) -> None:
        path = f"/docker/{A}/kubelet/kubepods/pod{UID}/{B}"

        assert parse(f"0::{path}\n", node=A) == found("", B, UID)

    @pytest.mark.parametrize("path", [f"/docker/{A}", f"/docker/{A}/init.scope"])
    def test_its_own_processes_are_in_no_container(self, path: str) -> None:
        assert parse(f"0::{path}\n", node=A) == NOTHING

    def test_its_units_are_units_of_the_node(self) -> None:
        path = f"/docker/{A}/system.slice/kubelet.service"

        assert parse(f"0::{path}\n", node=A) == CgroupPath(unit="kubelet.service")

    def test_what_is_not_the_kubelets_there_is_nested_there_too(self) -> None:
        path = f"/docker/{A}/default/evil/kubepods/pod{UID}/{B}"

        assert parse(f"0::{path}\n", node=A) == within("default/evil", "", B, UID)

    def test_a_node_in_a_node_is_known_by_both(self) -> None:
        path = f"/docker/{C}/docker/{A}/kubepods/pod{UID}/{B}"

        assert parse(f"0::{path}\n", node=f"{C}/{A}") == found("", B, UID)
        assert parse(f"0::{path}\n", node=A) == within(f"{C}/{A}", "", B, UID)

    @pytest.mark.parametrize("path", [*CONTAINERS, *UNITS, *NAMELESS])
    def test_a_neighbor_stays_as_it_is(self, path: str) -> None:
        assert parse(f"0::{path}\n", node=C) == parse(f"0::{path}\n")

    def test_the_id_of_the_node_below_another_party_is_not_the_node(self) -> None:
        """A user may choose it for a container."""
        path = f"{USER}/user.slice/docker-{A}.scope/kubepods/pod{UID}/{B}"

        assert parse(f"0::{path}\n", node=A) == within(f"{MANAGER}/{A}", "", B, UID)


class TestAssigned:
    """A path that the node's runtime states is trusted wherever it is."""

    @pytest.mark.parametrize("below", ["", "/init.scope"])
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (f"/custom/grp/{A}", found("", A)),
            (f"/custom/kubepods/pod{UID}/{A}", found("", A, UID)),
            (f"/system.slice/web.service/libpod-payload-{A}", found("podman", A)),
        ],
    )
    def test_a_container_there_is_the_nodes(
        self, path: str, below: str, expected: CgroupPath
    ) -> None:
        text = f"8:pids:{path}{below}\n0::/../../..{path}{below}\n"

        assert parse(text, assigned=path) == expected

    @pytest.mark.parametrize(
        "path", [f"/evil/custom/grp/{A}", f"/custom/grp2/{A}", f"/custom/{A}"]
    )
    def test_the_same_container_elsewhere_is_not(self, path: str) -> None:
        assigned = f"/custom/grp/{A}"

        assert parse(f"0::{path}\n", assigned=assigned) == parse(f"0::{path}\n")

    def test_what_is_nested_in_it_is_not(self) -> None:
        path = f"/custom/grp/{A}"

        group = parse(f"0::{path}/docker/{B}\n", assigned=path)

        assert group.nested_in == f"custom/grp/{A}"

    @pytest.mark.parametrize(
        ("cgroups_path", "expected"),
        [
            (f"/docker/{A}", f"/docker/{A}"),
            (f"kubepods/pod{UID}/{A}", f"/kubepods/pod{UID}/{A}"),
            (f"system.slice:docker:{A}", f"/system.slice/docker-{A}.scope"),
            (f":docker:{A}", f"/system.slice/docker-{A}.scope"),
            (f"-.slice:crio:{A}", f"/crio-{A}.scope"),
            (
                f"kubepods-burstable-pod{UID_}.slice:cri-containerd:{A}",
                f"{BURSTABLE}/cri-containerd-{A}.scope",
            ),
            ("", ""),
            ("/", ""),
        ],
    )
    def test_it_is_where_the_runtime_makes_it(
        self, cgroups_path: str, expected: str
    ) -> None:
        assert assigned_path(cgroups_path) == expected

    def test_a_process_is_at_a_path_or_below_it(self) -> None:
        text = f"8:pids:/docker/{A}/init.scope\n0::/\n"

        assert is_at(text, f"/docker/{A}")
        assert not is_at(text, f"/docker/{A[:-1]}")
        assert not is_at(text, "")


WORDS = "/ : - _ .. .scope .slice .service pod docker 0:: lxc garden ecs libpod"
SHAPES = [*KUBERNETES, *CONTAINERS, *SHIMS, *UNITS, *NAMELESS]
IDS = [A, B, UID, UID_, STATIC, TASK, GARDEN]
PIECES = st.sampled_from([*SHAPES, *IDS, *WORDS.split(), "\n", " (deleted)", "\udc80"])
PATHS = st.lists(PIECES, max_size=8).map("".join)
TWO_ORDERS = st.lists(PATHS, max_size=4).flatmap(
    lambda paths: st.tuples(st.permutations(paths), st.permutations(paths))
)
FILES = st.lists(PATHS.map("0::{}".format), max_size=5).map("\n".join)
TEXTS = st.text() | FILES


@given(TEXTS)
def test_any_text_gives_only_names_that_it_contains(text: str) -> None:
    parsed = parse(text)

    assert isinstance(parsed, CgroupPath)
    assert parsed.container_id in text
    assert parsed.unit in text
    assert parsed.pod_uid in text.replace("_", "-")


@given(TEXTS)
def test_a_result_is_a_valid_label(text: str) -> None:
    parsed = parse(text)

    ids = f"{parsed.container_id}{parsed.pod_uid}{parsed.unit}"
    assert f"{parsed.runtime}{ids}".isascii()
    assert not re.search(r"\s|/", ids)


@given(TEXTS)
def test_a_result_with_a_unit_has_no_container_and_no_pod(text: str) -> None:
    parsed = parse(text)

    alone = CgroupPath(unit=parsed.unit, nested_in=parsed.nested_in)
    assert not parsed.unit or parsed == alone


@given(TWO_ORDERS)
def test_the_order_of_the_lines_does_not_matter(
    orders: tuple[list[str], list[str]],
) -> None:
    one, two = ("\n".join(f"0::{path}" for path in paths) for paths in orders)

    assert parse(one) == parse(two)


HEADS = "/ /kubepods- /garden/aaaaaaaa /ecs/ /lxc/ /user@1.service"
TAILS = (
    "/ : - a a1 -a /a a/ /.. kubepods- kubepods-burstable- -pod .slice .slice: .scope "
    "/x.slice /a.service /user@1.service /lxc/ /ecs/ /garden/aaaaaaaa-a \n0::/"
)
REPEATED = [*TAILS.split(" "), "\n", f"/docker/{A}", f"/pod{UID}", f"\n0::/docker/{A}"]


@pytest.mark.parametrize("piece", REPEATED, ids=short)
def test_a_hostile_file_costs_time_in_proportion_to_its_length(piece: str) -> None:
    """Four times the text: four times the CPU; a quadratic pattern takes sixteen."""
    short_cost, long_cost = (
        min(cost_of(piece, size) for _ in range(3)) for size in (25_000, 100_000)
    )

    assert long_cost < 9 * short_cost


def cost_of(piece: str, size: int) -> float:
    files = [f"0::{head}{piece * (size // len(piece))}" for head in HEADS.split()]
    start = time.process_time()
    for text in files:
        parse(text)
        parse(f"{text}!")
    return time.process_time() - start
