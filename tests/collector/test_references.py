"""What a new namespace gets, what the host had, and what the catalog got wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.collector.references import (
    MAX_HOST_VALUES,
    PROBE_SECONDS,
    RETRY_SECONDS,
    ReferenceProbe,
)
from exporter.kernel.netns import own_netns
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import Class, SettableBy, Sysctl
from exporter.values import MISSING
from tests.support.builders import a_sysctl
from tests.support.clock import Clock

RMEM = a_sysctl(
    "net.ipv4.tcp_rmem",
    kind="ints",
    fields=("min", "default", "max"),
    scope="inherited",
)
SHARED_HERE = "net.core.rmem_max"


def a_fresh(
    *sysctls: Sysctl, shared: tuple[Sysctl, ...] = (), clock: Clock | None = None
) -> ReferenceProbe:
    return ReferenceProbe(
        SysctlPlan(sysctls, "/proc"), SysctlPlan(shared, "/proc"), clock or Clock()
    )


class TestHistory:
    """What the host had before is remembered, of what namespaces copy."""

    def test_a_changed_value_is_remembered_until_when_it_was(self) -> None:
        one = a_fresh(RMEM)
        one.update(["1 2 3"], [])
        one.update(["4 5 6"], [])

        (earlier,) = one.host_history

        assert (earlier.sysctl, earlier.value) == (RMEM.name, "1 2 3")
        assert earlier.until > 0

    def test_what_no_namespace_copies_is_not(self) -> None:
        one = a_fresh(a_sysctl())
        one.update(["1"], [])
        one.update(["2"], [])

        assert one.host_history == ()

    def test_only_the_latest_are(self) -> None:
        one = a_fresh(RMEM)
        for number in range(MAX_HOST_VALUES + 5):
            one.update([f"1 2 {number}"], [])

        values = [earlier.value for earlier in one.host_history]

        assert values == [f"1 2 {number}" for number in range(4, MAX_HOST_VALUES + 4)]

    def test_a_value_that_comes_back_is_remembered_once(self) -> None:
        one = a_fresh(RMEM)
        for value in ["1 1 1", *["2 2 2", "3 3 3"] * MAX_HOST_VALUES]:
            one.update([value], [])

        values = {earlier.value for earlier in one.host_history}

        assert values == {"1 1 1", "2 2 2", "3 3 3"}


class TestFailure:
    """A namespace that cannot be made costs nothing that is known."""

    @pytest.fixture
    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Return what lets the kernel have no room for a namespace from now on."""

        def from_now_on() -> None:
            def unshare(_flags: int) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr("exporter.kernel.netns.unshare", unshare)

        return from_now_on

    @pytest.mark.root
    def test_the_last_one_counts_until_the_host_changes(
        self, refused: Callable[[], None]
    ) -> None:
        clock = Clock()
        one = a_fresh(RMEM, clock=clock)
        one.update(["1 2 3"], [])
        before = one.readings
        refused()

        clock.now += PROBE_SECONDS
        one.update(["1 2 3"], [])

        assert one.readings is before
        assert "No space left" in one.failure
        one.update(["4 5 6"], [])
        assert one.readings == ()

    @pytest.mark.root
    def test_it_is_tried_again_soon(
        self, refused: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        one = a_fresh(RMEM, clock=clock)
        refused()
        one.update(["1 2 3"], [])
        assert not one.readings
        monkeypatch.undo()

        clock.now += RETRY_SECONDS
        one.update(["1 2 3"], [])

        assert len(one.readings) == 1
        assert not one.failure


@pytest.mark.root
class TestProbe:
    """A real namespace, made and gone."""

    def test_it_has_what_the_kernel_gives_and_we_are_home_again(self) -> None:
        home = own_netns()
        one = a_fresh(a_sysctl("net.ipv4.ip_unprivileged_port_start"))

        one.update(["0"], [])

        assert one.readings == ("1024",)
        assert own_netns() == home

    def test_it_is_made_again_only_after_a_while_or_a_change(self) -> None:
        clock = Clock()
        one = a_fresh(a_sysctl("net.core.somaxconn"), RMEM, clock=clock)
        one.update(["1", "1 2 3"], [])
        first = one.readings

        one.update(["2", "1 2 3"], [])
        assert one.readings is first
        one.update(["2", "4 5 6"], [])
        second = one.readings
        assert second is not first
        clock.now += PROBE_SECONDS
        one.update(["2", "4 5 6"], [])

        assert one.readings is not second

    def test_it_is_made_again_when_a_module_brings_a_sysctl(self) -> None:
        one = a_fresh(a_sysctl("net.core.somaxconn"))
        one.update([MISSING], [])
        first = one.readings

        one.update(["1"], [])

        assert one.readings is not first

    def test_a_catalog_that_is_right_is_not_disagreed_with(self) -> None:
        host = Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()
        shared = a_sysctl(SHARED_HERE, scope="shared")
        one = a_fresh(RMEM, shared=(shared,))
        value = Path("/proc/sys/net/core/rmem_max").read_text().strip()

        one.update([" ".join(host)], [value])

        assert one.misclassified == ()

    @pytest.mark.parametrize(
        ("name", "scope", "settable_by", "host"),
        [
            ("net.ipv4.tcp_fin_timeout", "inherited", "pod", "61"),
            (SHARED_HERE, "constant", "pod", "1"),
        ],
        ids=["no copy of the host's", "read-only in a namespace"],
    )
    def test_what_a_new_namespace_disproves_is_told(
        self, name: str, scope: Class, settable_by: SettableBy, host: str
    ) -> None:
        one = a_fresh(a_sysctl(name, scope=scope, settable_by=settable_by))

        one.update([host], [])

        assert one.misclassified == (name,)

    def test_what_is_said_to_be_shared_and_is_not_is_told(self) -> None:
        one = a_fresh(shared=(a_sysctl("net.core.somaxconn", scope="shared"),))

        one.update([], ["1"])

        assert one.misclassified == ("net.core.somaxconn",)

    def test_what_this_kernel_lacks_is_not_disagreed_with(self) -> None:
        one = a_fresh(a_sysctl("net.core.of_the_future", scope="inherited"))

        one.update(["1"], [])

        assert one.misclassified == ()
