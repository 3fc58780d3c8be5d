"""What was asked for in a namespace, and by whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Declared, DeclaredBy
from exporter.ownership.declared import RUNTIME_DEFAULTS, declared_values
from exporter.runtimes.cgroup import CgroupPath
from exporter.runtimes.records import Container
from tests.support.builders import (
    CONTAINER,
    OTHER_CONTAINER,
    OTHER_UID,
    UID,
    a_cgroup_path,
)

SOMAXCONN = "net.core.somaxconn"
PORTS = "net.ipv4.ip_unprivileged_port_start"
PING = "net.ipv4.ping_group_range"


def a_container(
    sysctls: dict[str, str],
    container_id: str = CONTAINER,
    *,
    name: str = "web",
    uid: str = "",
    is_sandbox: bool = False,
    asked: dict[str, str] | None = None,
    started: float = 1.0,
) -> Container:
    return Container(
        runtime="docker",
        container_id=container_id,
        evidence="oci_bundle",
        name=name,
        uid=uid,
        is_sandbox=is_sandbox,
        sysctls=sysctls,
        requested_sysctls=asked,
        started=started,
    )


def a_sandbox(sysctls: dict[str, str]) -> Container:
    return a_container(sysctls, name="", uid=UID, is_sandbox=True)


def one(
    value: str,
    source: DeclaredBy = "container",
    container: str = "web",
    *,
    sysctl: str = SOMAXCONN,
) -> Declared:
    return Declared(sysctl=sysctl, value=value, source=source, container=container)


class TestContainers:
    """What a container's specification sets, and who wanted it."""

    def test_nobody_declared_anything_where_nobody_is(self) -> None:
        assert declared_values([], {}) == ()
        assert declared_values([a_container({})], {}) == ()

    def test_a_container_declares_by_its_name(self) -> None:
        assert declared_values([a_container({SOMAXCONN: "9"})], {}) == (one("9"),)

    def test_a_container_without_a_name_has_its_short_id(self) -> None:
        container = a_container({SOMAXCONN: "9"}, name="")

        assert declared_values([container], {}) == (one("9", container="a1a1a1a1a1a1"),)

    @pytest.mark.parametrize(("sysctl", "value"), RUNTIME_DEFAULTS.items())
    def test_what_runtimes_add_is_theirs(self, sysctl: str, value: str) -> None:
        said = declared_values([a_container({sysctl: value})], {})

        assert said == (one(value, "runtime", sysctl=sysctl),)

    @pytest.mark.parametrize(("sysctl", "value"), [(PORTS, "80"), (PING, "0 0")])
    def test_what_they_add_with_another_value_is_the_containers(
        self, sysctl: str, value: str
    ) -> None:
        said = declared_values([a_container({sysctl: value})], {})

        assert said == (one(value, "container", sysctl=sysctl),)

    def test_who_says_what_was_asked_for_is_believed(self) -> None:
        """Docker keeps the user's sysctls apart, even when they are its own."""
        sysctls = {PORTS: "0", SOMAXCONN: "9", PING: "0 1"}

        said = declared_values(
            [a_container(sysctls, asked={PORTS: "0", PING: "0 1"})], {}
        )

        assert said == (
            one("9", "runtime"),
            one("0", "container", sysctl=PORTS),
            one("0 1", "container", sysctl=PING),
        )

    def test_what_was_asked_for_counts_without_a_bundle(self) -> None:
        said = declared_values([a_container({}, asked={SOMAXCONN: "9"})], {})

        assert said == (one("9"),)

    def test_who_asked_for_nothing_declared_nothing(self) -> None:
        said = declared_values([a_container({SOMAXCONN: "9"}, asked={})], {})

        assert said == (one("9", "runtime"),)

    @pytest.mark.parametrize("sysctl", ["kernel.msgmax", "fs.mqueue.queues_max", "net"])
    def test_only_a_networks_sysctls_are_of_a_namespace(self, sysctl: str) -> None:
        container = a_container({sysctl: "1"}, asked={sysctl: "1", SOMAXCONN: "9"})

        assert declared_values([container], {}) == (one("9"),)

    def test_sysctls_are_in_the_order_of_their_names(self) -> None:
        container = a_container({PING: "1", PORTS: "1", SOMAXCONN: "1"})

        names = [one.sysctl for one in declared_values([container], {})]

        assert names == [SOMAXCONN, PORTS, PING]


class TestOrder:
    """Who joins a namespace later may overwrite what was there."""

    FIRST = a_container({SOMAXCONN: "1"}, "f" * 64, name="first", started=1)
    LATER = a_container({SOMAXCONN: "2"}, "0" * 64, name="later", started=2)

    @pytest.mark.parametrize("order", [(FIRST, LATER), (LATER, FIRST)])
    def test_who_joined_later_comes_last(self, order: tuple[Container, ...]) -> None:
        assert declared_values(order, {}) == (
            one("1", container="first"),
            one("2", container="later"),
        )

    def test_two_of_one_moment_are_always_in_one_order(self) -> None:
        two = [
            a_container({SOMAXCONN: "1"}, CONTAINER, name="a"),
            a_container({SOMAXCONN: "2"}, OTHER_CONTAINER, name="b"),
        ]

        assert declared_values(two, {}) == declared_values(reversed(two), {})


class TestPods:
    """A sandbox sets its pod's sysctls, and what the runtime adds."""

    def test_a_sandbox_declares_for_its_pod(self) -> None:
        said = declared_values([a_sandbox({SOMAXCONN: "9", PORTS: "0"})], {})

        assert said == (
            one("9", "pod", ""),
            one("0", "runtime", "", sysctl=PORTS),
        )

    def test_the_pods_specification_tells_what_the_runtime_added(self) -> None:
        sandbox = a_sandbox({SOMAXCONN: "9", PORTS: "0", PING: "0 1"})

        said = declared_values([sandbox], {UID: {PORTS: "0"}})

        assert said == (
            one("9", "runtime", ""),
            one("0", "pod", "", sysctl=PORTS),
            one("0 1", "runtime", "", sysctl=PING),
        )

    def test_a_specification_without_sysctls_leaves_all_to_the_runtime(self) -> None:
        said = declared_values([a_sandbox({SOMAXCONN: "9"})], {UID: {}})

        assert said == (one("9", "runtime", ""),)

    def test_a_specification_counts_without_a_bundle(self) -> None:
        assert declared_values([a_sandbox({})], {UID: {SOMAXCONN: "9"}}) == (
            one("9", "pod", ""),
        )

    def test_another_pods_specification_counts_for_nothing(self) -> None:
        said = declared_values(
            [a_sandbox({SOMAXCONN: "9"})], {OTHER_UID: {SOMAXCONN: "1"}}
        )

        assert said == (one("9", "pod", ""),)

    def test_a_container_of_a_pod_declares_for_itself(self) -> None:
        sandbox = a_sandbox({SOMAXCONN: "1"})
        app = a_container(
            {SOMAXCONN: "2"}, OTHER_CONTAINER, name="app", uid=UID, started=2
        )

        said = declared_values([app, sandbox], {UID: {SOMAXCONN: "1"}})

        assert said == (one("1", "pod", ""), one("2", "container", "app"))

    def test_a_podman_pods_infra_has_a_name(self) -> None:
        infra = a_container({SOMAXCONN: "9"}, name="shop", is_sandbox=True)

        assert declared_values([infra], {}) == (one("9", "pod", "shop"),)

    @given(
        st.dictionaries(st.sampled_from([SOMAXCONN, PORTS, "fs.x"]), st.text()),
        st.none() | st.dictionaries(st.sampled_from([SOMAXCONN, PING]), st.text()),
    )
    def test_nothing_is_declared_twice_or_lost(
        self, sysctls: dict[str, str], asked: dict[str, str] | None
    ) -> None:
        said = declared_values([a_container(sysctls, asked=asked)], {})

        values = {one.sysctl: one.value for one in said}
        assert len(values) == len(said)
        assert values == {
            name: value
            for name, value in {**sysctls, **(asked or {})}.items()
            if name != "fs.x"
        }


class TestTheHome:
    """On a node that is itself a container, what lies in that is the node's."""

    def test_a_node_that_is_no_container_is_nobodys_home(self) -> None:
        for group in (
            a_cgroup_path(),
            a_cgroup_path(nested_in=OTHER_CONTAINER),
            CgroupPath(unit="nginx.service"),
            CgroupPath(pod_uid=UID),
        ):
            assert group.relative_to("") == group

    def test_a_container_of_the_home_is_the_nodes(self) -> None:
        group = a_cgroup_path(pod_uid=UID, nested_in=OTHER_CONTAINER)

        assert group.relative_to(OTHER_CONTAINER) == a_cgroup_path(pod_uid=UID)

    def test_the_home_itself_is_no_container(self) -> None:
        assert (
            a_cgroup_path(OTHER_CONTAINER).relative_to(OTHER_CONTAINER) == CgroupPath()
        )

    @pytest.mark.parametrize(
        "group",
        [
            a_cgroup_path(),
            a_cgroup_path(nested_in="user@1000.service"),
            a_cgroup_path(OTHER_CONTAINER, nested_in=CONTAINER),
            CgroupPath(unit="nginx.service"),
            CgroupPath(),
        ],
    )
    def test_what_is_elsewhere_stays_as_it_is(self, group: CgroupPath) -> None:
        assert group.relative_to(OTHER_CONTAINER) == group
