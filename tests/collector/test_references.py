"""Values of a new namespace, former values of the host, misclassified sysctls."""

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
    class_="inherited",
)
SHARED_HERE = "net.core.rmem_max"


def a_probe(
    *sysctls: Sysctl, shared: tuple[Sysctl, ...] = (), clock: Clock | None = None
) -> ReferenceProbe:
    return ReferenceProbe(
        SysctlPlan(sysctls, "/proc"), SysctlPlan(shared, "/proc"), clock or Clock()
    )


class TestHistory:
    """Former values of the host are kept where namespaces copy them."""

    def test_a_former_value_is_kept_with_the_time_of_its_end(self) -> None:
        probe = a_probe(RMEM)
        probe.update(["1 2 3"], [])
        probe.update(["4 5 6"], [])

        (former,) = probe.host_history

        assert (former.sysctl, former.value) == (RMEM.name, "1 2 3")
        assert former.until > 0

    def test_other_former_values_are_not_kept(self) -> None:
        probe = a_probe(a_sysctl())
        probe.update(["1"], [])
        probe.update(["2"], [])

        assert probe.host_history == ()

    def test_only_the_latest_are_kept(self) -> None:
        probe = a_probe(RMEM)
        for number in range(MAX_HOST_VALUES + 5):
            probe.update([f"1 2 {number}"], [])

        values = [former.value for former in probe.host_history]

        assert values == [f"1 2 {number}" for number in range(4, MAX_HOST_VALUES + 4)]

    def test_a_value_that_returns_is_kept_once(self) -> None:
        probe = a_probe(RMEM)
        for value in ["1 1 1", *["2 2 2", "3 3 3"] * MAX_HOST_VALUES]:
            probe.update([value], [])

        values = {former.value for former in probe.host_history}

        assert values == {"1 1 1", "2 2 2", "3 3 3"}


class TestFailure:
    """A namespace that cannot be created does not invalidate the last one."""

    @pytest.fixture
    def refuse(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Return a function after which no namespace can be created."""

        def refuse() -> None:
            def unshare(_flags: int) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr("exporter.kernel.netns.unshare", unshare)

        return refuse

    @pytest.mark.root
    def test_the_last_one_is_used_until_the_host_changes(
        self, refuse: Callable[[], None]
    ) -> None:
        clock = Clock()
        probe = a_probe(RMEM, clock=clock)
        probe.update(["1 2 3"], [])
        before = probe.readings
        refuse()

        clock.now += PROBE_SECONDS
        probe.update(["1 2 3"], [])

        assert probe.readings is before
        assert "No space left" in probe.failure
        probe.update(["4 5 6"], [])
        assert probe.readings == ()

    @pytest.mark.root
    def test_it_is_retried_soon(
        self, refuse: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        probe = a_probe(RMEM, clock=clock)
        refuse()
        probe.update(["1 2 3"], [])
        assert not probe.readings
        monkeypatch.undo()

        clock.now += RETRY_SECONDS
        probe.update(["1 2 3"], [])

        assert len(probe.readings) == 1
        assert not probe.failure


@pytest.mark.root
class TestProbe:
    """A real namespace, created and gone."""

    def test_its_values_are_the_kernels_and_we_are_back_in_our_own(self) -> None:
        own = own_netns()
        probe = a_probe(a_sysctl("net.ipv4.ip_unprivileged_port_start"))

        probe.update(["0"], [])

        assert probe.readings == ("1024",)
        assert own_netns() == own

    def test_it_is_created_again_after_an_interval_or_a_change(self) -> None:
        clock = Clock()
        probe = a_probe(a_sysctl("net.core.somaxconn"), RMEM, clock=clock)
        probe.update(["1", "1 2 3"], [])
        first = probe.readings

        probe.update(["2", "1 2 3"], [])
        assert probe.readings is first
        probe.update(["2", "4 5 6"], [])
        second = probe.readings
        assert second is not first
        clock.now += PROBE_SECONDS
        probe.update(["2", "4 5 6"], [])

        assert probe.readings is not second

    def test_it_is_created_again_when_a_sysctl_appears(self) -> None:
        probe = a_probe(a_sysctl("net.core.somaxconn"))
        probe.update([MISSING], [])
        first = probe.readings

        probe.update(["1"], [])

        assert probe.readings is not first

    def test_correctly_classified_sysctls_are_not_reported(self) -> None:
        host = Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()
        shared = a_sysctl(SHARED_HERE, class_="shared")
        probe = a_probe(RMEM, shared=(shared,))
        value = Path("/proc/sys/net/core/rmem_max").read_text().strip()

        probe.update([" ".join(host)], [value])

        assert probe.misclassified == ()

    @pytest.mark.parametrize(
        ("name", "scope", "settable_by", "host"),
        [
            ("net.ipv4.tcp_fin_timeout", "inherited", "pod", "61"),
            (SHARED_HERE, "constant", "pod", "1"),
        ],
        ids=["no copy of the host's", "read-only in a namespace"],
    )
    def test_a_class_that_a_new_namespace_disproves_is_reported(
        self, name: str, scope: Class, settable_by: SettableBy, host: str
    ) -> None:
        probe = a_probe(a_sysctl(name, class_=scope, settable_by=settable_by))

        probe.update([host], [])

        assert probe.misclassified == (name,)

    def test_a_shared_sysctl_with_a_value_of_its_own_is_reported(self) -> None:
        probe = a_probe(shared=(a_sysctl("net.core.somaxconn", class_="shared"),))

        probe.update([], ["1"])

        assert probe.misclassified == ("net.core.somaxconn",)

    def test_a_sysctl_that_the_kernel_does_not_have_is_not_reported(self) -> None:
        probe = a_probe(a_sysctl("net.core.of_the_future", class_="inherited"))

        probe.update(["1"], [])

        assert probe.misclassified == ()
