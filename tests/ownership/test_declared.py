"""What containers declare in a namespace, and the source of each value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Declared, DeclaredBy
from exporter.ownership.declared import RUNTIME_DEFAULTS, declared_values
from exporter.runtimes.records import Container
from tests.support.builders import (
    CONTAINER,
    OTHER_CONTAINER,
    OTHER_UID,
    UID,
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
    requested: dict[str, str] | None = None,
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
        requested_sysctls=requested,
        started=started,
    )


def a_sandbox(sysctls: dict[str, str]) -> Container:
    return a_container(sysctls, name="", uid=UID, is_sandbox=True)


def a_declared(
    value: str,
    source: DeclaredBy = "container",
    container: str = "web",
    *,
    sysctl: str = SOMAXCONN,
) -> Declared:
    return Declared(sysctl=sysctl, value=value, source=source, container=container)


class TestContainers:
    """What the specification of a container sets: its own values and defaults."""

    def test_without_containers_or_sysctls_nothing_is_declared(self) -> None:
        assert declared_values([], {}) == ()
        assert declared_values([a_container({})], {}) == ()

    def test_a_container_declares_under_its_name(self) -> None:
        assert declared_values([a_container({SOMAXCONN: "9"})], {}) == (
            a_declared("9"),
        )

    def test_a_container_without_a_name_declares_under_its_short_id(self) -> None:
        container = a_container({SOMAXCONN: "9"}, name="")

        assert declared_values([container], {}) == (
            a_declared("9", container="a1a1a1a1a1a1"),
        )

    @pytest.mark.parametrize(("sysctl", "value"), RUNTIME_DEFAULTS.items())
    def test_a_runtime_default_is_declared_by_the_runtime(
        self, sysctl: str, value: str
    ) -> None:
        declared = declared_values([a_container({sysctl: value})], {})

        assert declared == (a_declared(value, "runtime", sysctl=sysctl),)

    @pytest.mark.parametrize(("sysctl", "value"), [(PORTS, "80"), (PING, "0 0")])
    def test_another_value_of_such_a_sysctl_is_declared_by_the_container(
        self, sysctl: str, value: str
    ) -> None:
        declared = declared_values([a_container({sysctl: value})], {})

        assert declared == (a_declared(value, "container", sysctl=sysctl),)

    def test_what_was_requested_takes_precedence_over_that_guess(self) -> None:
        """Docker lists the user's sysctls separately, even if equal to its defaults."""
        sysctls = {PORTS: "0", SOMAXCONN: "9", PING: "0 1"}

        declared = declared_values(
            [a_container(sysctls, requested={PORTS: "0", PING: "0 1"})], {}
        )

        assert declared == (
            a_declared("9", "runtime"),
            a_declared("0", "container", sysctl=PORTS),
            a_declared("0 1", "container", sysctl=PING),
        )

    def test_what_was_requested_counts_without_a_bundle(self) -> None:
        declared = declared_values([a_container({}, requested={SOMAXCONN: "9"})], {})

        assert declared == (a_declared("9"),)

    def test_without_a_request_the_runtime_declared_it(self) -> None:
        declared = declared_values([a_container({SOMAXCONN: "9"}, requested={})], {})

        assert declared == (a_declared("9", "runtime"),)

    @pytest.mark.parametrize("sysctl", ["kernel.msgmax", "fs.mqueue.queues_max", "net"])
    def test_only_sysctls_of_the_network_are_declared(self, sysctl: str) -> None:
        container = a_container({sysctl: "1"}, requested={sysctl: "1", SOMAXCONN: "9"})

        assert declared_values([container], {}) == (a_declared("9"),)

    def test_sysctls_are_ordered_by_name(self) -> None:
        container = a_container({PING: "1", PORTS: "1", SOMAXCONN: "1"})

        names = [one.sysctl for one in declared_values([container], {})]

        assert names == [SOMAXCONN, PORTS, PING]


class TestOrder:
    """A container that joins later may overwrite earlier values."""

    FIRST = a_container({SOMAXCONN: "1"}, "f" * 64, name="first", started=1)
    LATER = a_container({SOMAXCONN: "2"}, "0" * 64, name="later", started=2)

    @pytest.mark.parametrize("order", [(FIRST, LATER), (LATER, FIRST)])
    def test_the_container_that_joined_later_comes_last(
        self, order: tuple[Container, ...]
    ) -> None:
        assert declared_values(order, {}) == (
            a_declared("1", container="first"),
            a_declared("2", container="later"),
        )

    def test_containers_of_the_same_time_have_a_fixed_order(self) -> None:
        two = [
            a_container({SOMAXCONN: "1"}, CONTAINER, name="a"),
            a_container({SOMAXCONN: "2"}, OTHER_CONTAINER, name="b"),
        ]

        assert declared_values(two, {}) == declared_values(reversed(two), {})


class TestPods:
    """A sandbox sets the sysctls of its pod and the defaults of the runtime."""

    def test_a_sandbox_declares_for_its_pod(self) -> None:
        declared = declared_values([a_sandbox({SOMAXCONN: "9", PORTS: "0"})], {})

        assert declared == (
            a_declared("9", "pod", ""),
            a_declared("0", "runtime", "", sysctl=PORTS),
        )

    def test_the_specification_of_the_pod_shows_the_runtimes_defaults(self) -> None:
        sandbox = a_sandbox({SOMAXCONN: "9", PORTS: "0", PING: "0 1"})

        declared = declared_values([sandbox], {UID: {PORTS: "0"}})

        assert declared == (
            a_declared("9", "runtime", ""),
            a_declared("0", "pod", "", sysctl=PORTS),
            a_declared("0 1", "runtime", "", sysctl=PING),
        )

    def test_without_sysctls_in_the_specification_all_are_the_runtimes(self) -> None:
        declared = declared_values([a_sandbox({SOMAXCONN: "9"})], {UID: {}})

        assert declared == (a_declared("9", "runtime", ""),)

    def test_a_specification_counts_without_a_bundle(self) -> None:
        assert declared_values([a_sandbox({})], {UID: {SOMAXCONN: "9"}}) == (
            a_declared("9", "pod", ""),
        )

    def test_the_specification_of_another_pod_does_not_count(self) -> None:
        declared = declared_values(
            [a_sandbox({SOMAXCONN: "9"})], {OTHER_UID: {SOMAXCONN: "1"}}
        )

        assert declared == (a_declared("9", "pod", ""),)

    def test_a_container_of_a_pod_declares_for_itself(self) -> None:
        sandbox = a_sandbox({SOMAXCONN: "1"})
        app = a_container(
            {SOMAXCONN: "2"}, OTHER_CONTAINER, name="app", uid=UID, started=2
        )

        declared = declared_values([app, sandbox], {UID: {SOMAXCONN: "1"}})

        assert declared == (
            a_declared("1", "pod", ""),
            a_declared("2", "container", "app"),
        )

    def test_the_infra_container_of_a_podman_pod_has_a_name(self) -> None:
        infra = a_container({SOMAXCONN: "9"}, name="shop", is_sandbox=True)

        assert declared_values([infra], {}) == (a_declared("9", "pod", "shop"),)

    @given(
        st.dictionaries(st.sampled_from([SOMAXCONN, PORTS, "fs.x"]), st.text()),
        st.none() | st.dictionaries(st.sampled_from([SOMAXCONN, PING]), st.text()),
    )
    def test_every_value_is_declared_exactly_once(
        self, sysctls: dict[str, str], requested: dict[str, str] | None
    ) -> None:
        declared = declared_values([a_container(sysctls, requested=requested)], {})

        values = {one.sysctl: one.value for one in declared}
        assert len(values) == len(declared)
        assert values == {
            name: value
            for name, value in {**sysctls, **(requested or {})}.items()
            if name != "fs.x"
        }
