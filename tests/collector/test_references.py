"""What a new namespace gets, what the host had, and what the catalog got wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.collector.references import (
    EARLIER,
    PROBE_SECONDS,
    RETRY_SECONDS,
    ReferenceProbe,
)
from exporter.kernel.netns import own_netns
from exporter.kernel.sysctl_files import SysctlPlan
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
        one.follow(["1 2 3"], [])
        one.follow(["4 5 6"], [])

        (earlier,) = one.earlier

        assert (earlier.sysctl, earlier.value) == (RMEM.name, "1 2 3")
        assert earlier.until > 0

    def test_what_no_namespace_copies_is_not(self) -> None:
        one = a_fresh(a_sysctl())
        one.follow(["1"], [])
        one.follow(["2"], [])

        assert one.earlier == ()

    def test_only_the_latest_are(self) -> None:
        one = a_fresh(RMEM)
        for number in range(EARLIER + 5):
            one.follow([f"1 2 {number}"], [])

        values = [earlier.value for earlier in one.earlier]

        assert values == [f"1 2 {number}" for number in range(4, EARLIER + 4)]

    def test_a_value_that_comes_back_is_remembered_once(self) -> None:
        one = a_fresh(RMEM)
        for value in ["1 1 1", *["2 2 2", "3 3 3"] * EARLIER]:
            one.follow([value], [])

        values = {earlier.value for earlier in one.earlier}

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
        one.follow(["1 2 3"], [])
        before = one.readings
        refused()

        clock.now += PROBE_SECONDS
        one.follow(["1 2 3"], [])

        assert one.readings is before
        assert "No space left" in one.failure
        one.follow(["4 5 6"], [])
        assert one.readings == ()

    @pytest.mark.root
    def test_it_is_tried_again_soon(
        self, refused: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        one = a_fresh(RMEM, clock=clock)
        refused()
        one.follow(["1 2 3"], [])
        assert not one.readings
        monkeypatch.undo()

        clock.now += RETRY_SECONDS
        one.follow(["1 2 3"], [])

        assert len(one.readings) == 1
        assert not one.failure


@pytest.mark.root
class TestProbe:
    """A real namespace, made and gone."""

    def test_it_has_what_the_kernel_gives_and_we_are_home_again(self) -> None:
        home = own_netns()
        one = a_fresh(a_sysctl("net.ipv4.ip_unprivileged_port_start"))

        one.follow(["0"], [])

        assert one.readings == ("1024",)
        assert own_netns() == home

    def test_it_is_made_again_only_after_a_while_or_a_change(self) -> None:
        clock = Clock()
        one = a_fresh(a_sysctl("net.core.somaxconn"), RMEM, clock=clock)
        one.follow(["1", "1 2 3"], [])
        first = one.readings

        one.follow(["2", "1 2 3"], [])
        assert one.readings is first
        one.follow(["2", "4 5 6"], [])
        second = one.readings
        assert second is not first
        clock.now += PROBE_SECONDS
        one.follow(["2", "4 5 6"], [])

        assert one.readings is not second

    def test_it_is_made_again_when_a_module_brings_a_sysctl(self) -> None:
        one = a_fresh(a_sysctl("net.core.somaxconn"))
        one.follow([MISSING], [])
        first = one.readings

        one.follow(["1"], [])

        assert one.readings is not first

    def test_a_catalog_that_is_right_is_not_disagreed_with(self) -> None:
        host = Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()
        shared = a_sysctl(SHARED_HERE, scope="shared")
        one = a_fresh(RMEM, shared=(shared,))
        value = Path("/proc/sys/net/core/rmem_max").read_text().strip()

        one.follow([" ".join(host)], [value])

        assert one.disagreements == ()

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

        one.follow([host], [])

        assert one.disagreements == (name,)

    def test_what_is_said_to_be_shared_and_is_not_is_told(self) -> None:
        one = a_fresh(shared=(a_sysctl("net.core.somaxconn", scope="shared"),))

        one.follow([], ["1"])

        assert one.disagreements == ("net.core.somaxconn",)

    def test_what_this_kernel_lacks_is_not_disagreed_with(self) -> None:
        one = a_fresh(a_sysctl("net.core.of_the_future", scope="inherited"))

        one.follow(["1"], [])

        assert one.disagreements == ()
