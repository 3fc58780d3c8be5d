"""What the collector keeps of each live namespace."""

from collections.abc import Iterable

import msgspec

from exporter.collector.accept_queues import ListenerState
from exporter.kernel.proc_net import CounterParser, NetFiles
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import Declared, Link, Namespace, NetnsId, Owner, Signals, State
from exporter.ownership.attribution import MAX_CONTAINERS, Evidence
from exporter.runtimes.bundle_index import ContainerKey
from exporter.runtimes.records import Container


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
            self._counters = reader.values(files, conntrack_stat)
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
    """What the collector keeps of one live namespace."""

    def __init__(self, netns: NetnsId, born: float) -> None:
        self.id = netns
        self.born = born
        self.files: SysctlFiles | None = None
        self.live: SysctlFiles | None = None
        """Counts that the kernel shows as sysctls: signals, not settings."""
        self.watched = SignalState()
        self.reason = ""
        self.owner: Owner | None = None
        self.witnesses: Evidence | None = None
        """Who was asked when it was last named; None: ask again."""
        self.company: Evidence | None = None
        """Of one that may not be entered: who was there when last looked at."""
        self.containers: dict[ContainerKey, Container | None] = {}
        """Those that are or were in it, with their bundle, if one was found."""
        self.declared: tuple[Declared, ...] = ()
        self.links: tuple[Link, ...] = ()
        self.encoded: msgspec.Raw | None = None

    def join(self, key: ContainerKey, bundle: Container | None) -> None:
        """Take a container in, if there is room for it."""
        if key in self.containers or len(self.containers) < MAX_CONTAINERS:
            self.containers[key] = bundle or self.containers.get(key)

    def forget(self, keys: Iterable[ContainerKey]) -> None:
        """Let containers go."""
        for key in list(keys):
            del self.containers[key]

    def namespace(self) -> Namespace:
        """Return it as the rest of the program sees it."""
        state: State = "read" if self.files else "unreadable"
        if self.owner is None:
            state = "pending"
        return Namespace(
            id=self.id,
            owner=self.owner or Owner(kind="process"),
            state=state,
            reason=self.reason if self.owner else "",
            readings=self.files.readings() if self.files and self.owner else (),
            declared=self.declared if self.owner else (),
            changes=self.files.changed() if self.files and self.owner else (),
            links=self.links if self.owner else (),
        )

    def raw(self) -> msgspec.Raw:
        """Return its JSON, made anew only when something changed."""
        if self.encoded is None:
            self.encoded = msgspec.Raw(msgspec.json.encode(self.namespace()))
        return self.encoded
