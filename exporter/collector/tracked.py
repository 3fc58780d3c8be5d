"""What the collector keeps of each live namespace."""

import msgspec

from exporter.collector.accept_queues import ListenerState
from exporter.kernel.proc_net import CounterParser, NetFiles
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Link, Namespace, NetnsId, Owner, Signals
from exporter.ownership.attribution import Attribution


class SignalState:
    """What was last seen of a namespace's signals, so that only news costs."""

    def __init__(self) -> None:
        self.signals = Signals()
        self.queues = ListenerState()
        self.files: NetFiles | None = None
        self.conntrack_stat = b""
        self._counters: tuple[int | None, ...] = ()
        self._counted_from: tuple[bytes, ...] = ()
        self._encoded: msgspec.Raw | None = None

    def is_still(
        self, files: NetFiles, conntrack_stat: bytes, conntrack: int | None
    ) -> bool:
        """Return whether all that signals are made of is as it was last taken in."""
        signals, queues = self.signals, self.queues
        return (
            files == self.files
            and conntrack_stat == self.conntrack_stat
            and conntrack == signals.conntrack
            and queues.listeners is signals.listeners
            and queues.left_out == signals.left_out
            and queues.listening == signals.listening
        )

    def counted(
        self, reader: CounterParser, files: NetFiles, conntrack_stat: bytes
    ) -> tuple[int | None, ...]:
        """Return the counters of *files*, which are kept."""
        self.files, self.conntrack_stat = files, conntrack_stat
        texts = (files.netstat, files.snmp, files.snmp6, conntrack_stat)
        if texts != self._counted_from:
            self._counters = reader.parse(files, conntrack_stat)
            self._counted_from = texts
        return self._counters

    def take(self, signals: Signals) -> None:
        """Take in what a look has shown."""
        if signals != self.signals:
            self.signals, self._encoded = signals, None

    def lose(self) -> None:
        """Know no more: nobody could look."""
        self.queues.lose()
        self.files = None
        self.take(Signals())

    def raw(self) -> msgspec.Raw:
        """Return the signals' JSON, made anew only when something changed."""
        if self._encoded is None:
            self._encoded = msgspec.Raw(msgspec.json.encode(self.signals))
        return self._encoded


class TrackedNamespace:
    """
    What the collector keeps of one live namespace.

    Attributes:
        id: Its identity.
        files: Its sysctls, None where it cannot be entered.
        live: Counts that the kernel shows as sysctls: signals, not settings.
        reason: Why it cannot be entered, "" where it can.
        attribution: Its owner.
        watched: Its listeners, counters and sockets.
        links: Its interfaces, where they were read.
    """

    def __init__(
        self,
        netns: NetnsId,
        first_seen: float,
        files: tuple[SysctlFiles, SysctlFiles] | None = None,
        reason: str = "",
    ) -> None:
        self.id = netns
        self.files = files[0] if files else None
        self.live = files[1] if files else None
        self.reason = reason
        self.attribution = Attribution(netns, first_seen, is_readable=bool(files))
        self.watched = SignalState()
        self.links: tuple[Link, ...] = ()
        self._encoded: msgspec.Raw | None = None
        self._encoded_revision = 0

    def invalidate(self) -> None:
        """Encode it again at the next pass: something but its attribution changed."""
        self._encoded = None

    def namespace(self) -> Namespace:
        """Return it as the rest of the program sees it."""
        owner = self.attribution.owner
        if owner is None:
            return Namespace(id=self.id, owner=Owner(kind="process"), state="pending")
        return Namespace(
            id=self.id,
            owner=owner,
            state="read" if self.files else "unreadable",
            reason=self.reason,
            readings=self.files.readings() if self.files else (),
            declared=self.attribution.declared,
            changes=self.files.changes() if self.files else (),
            links=self.links,
        )

    def raw(self) -> msgspec.Raw:
        """Return its JSON, made anew only when something changed."""
        revision = self.attribution.revision
        if self._encoded is None or revision != self._encoded_revision:
            self._encoded = msgspec.Raw(msgspec.json.encode(self.namespace()))
            self._encoded_revision = revision
        return self._encoded
