"""What the collector keeps of one namespace from pass to pass."""

from typing import NamedTuple

import msgspec

from exporter.collector.accept_queues import ListenerState
from exporter.kernel.proc_net import CounterParser, NetFiles
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Link, Namespace, NetnsId, Owner, Signals
from exporter.ownership.attribution import Attribution


class NamespaceFiles(NamedTuple):
    """
    The sysctl files of a namespace that could be entered.

    Attributes:
        sysctls: the settings.
        live_counts: counts that the kernel shows as sysctls: signals, not settings.
    """

    sysctls: SysctlFiles
    live_counts: SysctlFiles

    def close(self) -> None:
        """Close all of them."""
        self.sysctls.close()
        self.live_counts.close()


class SignalState:
    """
    The signals of a namespace, and the texts they were parsed from.

    Attributes:
        current: the signals as of the last pass.
        listener_state: its listening sockets.
        net_files: files of /proc/PID/net as of the last pass, None before the first.
        conntrack_stat: likewise, /proc/PID/net/stat/nf_conntrack.
        needs_full_reading: whether to read what appears unchanged, too: a full scan
            came since it was read.
    """

    def __init__(self) -> None:
        self.current = Signals()
        self.listener_state = ListenerState()
        self.net_files: NetFiles | None = None
        self.conntrack_stat = b""
        self.needs_full_reading = False
        self._counters: tuple[int | None, ...] = ()
        self._counters_source: tuple[bytes, ...] = ()
        self._encoded: msgspec.Raw | None = None

    def require_full_reading(self) -> None:
        """Have everything read again the next time, even what appears unchanged."""
        self.needs_full_reading = True
        self.listener_state.needs_dump = True

    def is_unchanged(
        self, files: NetFiles, conntrack_stat: bytes, conntrack: int | None
    ) -> bool:
        """Return whether the sources of all signals are as in the last pass."""
        current, state = self.current, self.listener_state
        return (
            files == self.net_files
            and conntrack_stat == self.conntrack_stat
            and conntrack == current.conntrack
            and state.listeners is current.listeners
            and state.left_out == current.left_out
            and state.listening == current.listening
        )

    def parse_counters(
        self, parser: CounterParser, files: NetFiles, conntrack_stat: bytes
    ) -> tuple[int | None, ...]:
        """Keep *files* and return their counters, parsed only if they changed."""
        self.net_files, self.conntrack_stat = files, conntrack_stat
        source = (files.netstat, files.snmp, files.snmp6, conntrack_stat)
        if source != self._counters_source:
            self._counters = parser.parse(files, conntrack_stat)
            self._counters_source = source
        return self._counters

    def update(self, signals: Signals) -> None:
        """Replace the signals."""
        if signals != self.current:
            self.current, self._encoded = signals, None

    def reset(self) -> None:
        """Forget everything: the namespace could not be sampled."""
        self.listener_state.reset()
        self.net_files = None
        self.update(Signals())

    def encode(self) -> msgspec.Raw:
        """Return the signals' JSON, encoded again only after a change."""
        if self._encoded is None:
            self._encoded = msgspec.Raw(msgspec.json.encode(self.current))
        return self._encoded


class TrackedNamespace:
    """
    One live namespace.

    Attributes:
        id: its identity.
        files: its sysctl files, None where it cannot be entered.
        reason: why it cannot be entered, "" where it can.
        attribution: its owner.
        signals: its listeners, counters and sockets.
        links: its interfaces, where they were requested.
        generation: of its processes when it was read, see NetnsMembers.
    """

    def __init__(
        self,
        netns: NetnsId,
        first_seen: float,
        files: NamespaceFiles | None = None,
        reason: str = "",
    ) -> None:
        self.id = netns
        self.files = files
        self.reason = reason
        is_readable = files is not None
        self.attribution = Attribution(netns, first_seen, is_readable=is_readable)
        self.signals = SignalState()
        self.links: tuple[Link, ...] = ()
        self.generation = 0
        self._encoded: msgspec.Raw | None = None
        self._encoded_revision = 0

    def invalidate(self) -> None:
        """Have it encoded again: anything but its attribution changed."""
        self._encoded = None

    def namespace(self) -> Namespace:
        """Return it as it appears in a snapshot."""
        owner = self.attribution.owner
        if owner is None:
            return Namespace(id=self.id, owner=Owner(kind="process"), state="pending")
        files = self.files.sysctls if self.files else None
        return Namespace(
            id=self.id,
            owner=owner,
            state="read" if files else "unreadable",
            reason=self.reason,
            readings=files.readings.as_tuple() if files else (),
            declared=self.attribution.declared,
            changes=files.readings.changes() if files else (),
            links=self.links,
        )

    def encode(self) -> msgspec.Raw:
        """Return its JSON, encoded again only after a change."""
        revision = self.attribution.revision
        if self._encoded is None or revision != self._encoded_revision:
            self._encoded = msgspec.Raw(msgspec.json.encode(self.namespace()))
            self._encoded_revision = revision
        return self._encoded
