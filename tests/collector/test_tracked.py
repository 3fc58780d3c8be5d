"""The state of a namespace: every change of a source is noticed."""

import msgspec
import pytest

from exporter.collector.tracked import NamespaceFiles, SignalState, TrackedNamespace
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.proc_net import NO_FILES, CounterParser, NetFiles
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import Link, Namespace, Signals
from tests.support.builders import a_listener, a_netns, an_owner

FILES = NO_FILES._replace(snmp=b"Tcp: RtoMax\nTcp: 1\n", sockstat=b"TCP: inuse 1")


class TestSignals:
    @pytest.fixture
    def state(self) -> SignalState:
        state = SignalState()
        state.parse_counters(CounterParser(()), FILES, b"stat")
        state.listener_state.listeners = listeners = (a_listener(),)
        state.listener_state.listening = 1
        state.update(Signals(listeners=listeners, listening=1, conntrack=7))
        assert state.is_unchanged(FILES, b"stat", 7)
        return state

    @pytest.mark.parametrize(
        ("files", "conntrack_stat", "conntrack"),
        [
            (FILES._replace(sockstat=b"TCP: inuse 2"), b"stat", 7),
            (FILES._replace(snmp=b""), b"stat", 7),
            (FILES, b"other", 7),
            (FILES, b"stat", 8),
            (FILES, b"stat", None),
        ],
    )
    def test_other_files_are_a_change(
        self,
        state: SignalState,
        files: NetFiles,
        conntrack_stat: bytes,
        conntrack: int | None,
    ) -> None:
        assert not state.is_unchanged(files, conntrack_stat, conntrack)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("listeners", (a_listener(queue=1),)),
            ("listeners", None),
            ("listening", 2),
            ("left_out", 1),
        ],
        ids=str,
    )
    def test_other_listeners_are_a_change(
        self, state: SignalState, field: str, value: object
    ) -> None:
        setattr(state.listener_state, field, value)

        assert not state.is_unchanged(FILES, b"stat", 7)

    def test_a_reset_is_a_change(self, state: SignalState) -> None:
        state.reset()

        assert not state.is_unchanged(FILES, b"stat", None)

    def test_signals_are_encoded_again_only_after_a_change(
        self, state: SignalState
    ) -> None:
        first = state.encode()
        state.update(state.current)
        assert state.encode() is first

        state.update(Signals(conntrack=8))
        assert state.encode() is not first


class TestNamespaces:
    @pytest.fixture
    def namespace(self) -> TrackedNamespace:
        plan = SysctlPlan([], "/proc")
        files = NamespaceFiles(*(SysctlFiles(plan, FdBudget(0)) for _ in range(2)))
        return TrackedNamespace(a_netns(), 0.0, files)

    def decoded(self, namespace: TrackedNamespace) -> Namespace:
        return msgspec.json.decode(namespace.encode(), type=Namespace)

    def test_one_without_an_owner_is_pending(self, namespace: TrackedNamespace) -> None:
        assert self.decoded(namespace).state == "pending"

    def test_one_that_cannot_be_entered_is_unreadable(self) -> None:
        namespace = TrackedNamespace(a_netns(), 0.0, reason="failed")
        namespace.attribution.set_owner(an_owner())

        found = self.decoded(namespace)

        assert (found.state, found.reason) == ("unreadable", "failed")

    def test_it_is_encoded_again_after_a_change_of_its_owner(
        self, namespace: TrackedNamespace
    ) -> None:
        first = namespace.encode()
        assert namespace.encode() is first

        namespace.attribution.set_owner(an_owner())

        found = self.decoded(namespace)
        assert (found.owner, found.state) == (an_owner(), "read")
        assert namespace.encode() is namespace.encode()

    def test_it_is_encoded_again_when_it_is_invalidated(
        self, namespace: TrackedNamespace
    ) -> None:
        namespace.attribution.set_owner(an_owner())
        namespace.encode()
        namespace.links = (Link(name="lo", up=True),)

        namespace.invalidate()

        assert self.decoded(namespace).links == namespace.links
