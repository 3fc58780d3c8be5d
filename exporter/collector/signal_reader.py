"""
Read the signals of every namespace: listeners, counters, sockets, tracked connections.

One session per pass visits all of them, since a netlink socket of a namespace can only
be created inside it. What is opened there is closed there: it would keep the namespace
alive.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from exporter import counters
from exporter.collector.listener_reader import ListenerReader
from exporter.collector.tracked import NamespaceFiles, SignalState, TrackedNamespace
from exporter.config.settings import SignalSettings
from exporter.discovery.budget import UNLIMITED, Budget, Turns
from exporter.discovery.entry import NamespaceAccess
from exporter.kernel import proc_net
from exporter.kernel.netns import EntryDeniedError, NetnsGoneError
from exporter.kernel.proc_net import CounterParser, NetFiles, Sockstat, parse_sockstat
from exporter.kernel.procfs import Procfs
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import Ino, Problem, Signals, Sysctl
from exporter.values import parse_number

_MAX_PROCESSES = 3
"""Processes that are tried to read a namespace that cannot be entered."""

CONNTRACK_COUNT = Sysctl(
    name="net.netfilter.nf_conntrack_count",
    kind="int",
    class_="constant",
    settable_by="none",
)
"""Tracked connections of a namespace: a count, so it is not in the catalog."""

log = logging.getLogger(__name__)


def live_count_plan(settings: SignalSettings, procfs: str) -> SysctlPlan:
    """Return the counts that the kernel shows as sysctls: signals, not settings."""
    return SysctlPlan([CONNTRACK_COUNT] if _is_enabled(settings) else [], procfs)


def _is_enabled(settings: SignalSettings) -> bool:
    return settings.listeners != "none" or bool(_selected_counters(settings))


def _selected_counters(settings: SignalSettings) -> list[counters.Counter]:
    include, exclude = settings.counters_include, settings.counters_exclude
    return counters.select(include=include, exclude=exclude)


class SignalReader:
    """
    Reads the signals of every namespace once a pass, within its budget.

    Args:
        settings: which signals to read.
        plan: the sysctls that are read in each namespace.
        procfs: the proc mount.
        access: the ways into namespaces.
        errors: counts failed reads by reason.

    Attributes:
        counters: the kernel's names of the counters that are read.
    """

    def __init__(
        self,
        settings: SignalSettings,
        plan: SysctlPlan,
        procfs: Procfs,
        access: NamespaceAccess,
        errors: Counter[str],
    ) -> None:
        self.counters = tuple(c.name for c in _selected_counters(settings))
        self._is_enabled = _is_enabled(settings)
        self._procfs = procfs
        self._access = access
        self._errors = errors
        self._parser = CounterParser(self.counters)
        self._listener_reader = ListenerReader(
            settings, plan, procfs.root, access.membership_generation, errors
        )
        self._last_files = proc_net.NO_FILES
        self._own_net: int | None = None
        self._turns = Turns[TrackedNamespace](lambda n: n.attribution.creator)

    @property
    def deferred(self) -> int:
        """How many namespaces keep the signals of an earlier pass."""
        return self._turns.deferred

    def read(
        self,
        namespaces: Mapping[Ino, TrackedNamespace],
        budget: Budget = UNLIMITED,
        *,
        is_full_scan: bool,
    ) -> None:
        """Read signals; a full scan rereads files that appear unchanged."""
        if not self._is_enabled:
            return
        if is_full_scan:
            for namespace in namespaces.values():
                namespace.signals.require_full_reading()
        self._listener_reader.start_pass(namespaces, is_full_scan=is_full_scan)
        order = self._turns.order(namespaces)
        entered = [ino for ino, namespace in order if namespace.files]
        with self._access.session(entered) as run_inside:
            for ino, namespace in self._turns.serve(order, budget):
                self._read_namespace(run_inside, ino, namespace)
                namespace.signals.needs_full_reading = False

    def sockets(self) -> Sockstat:
        """Return those of the last namespace; the machine's are the same in any."""
        return parse_sockstat(self._last_files.sockstat, self._last_files.sockstat6)

    def problems(self, namespaces: Mapping[Ino, TrackedNamespace]) -> Iterator[Problem]:
        """Yield why signals are missing."""
        yield from self._listener_reader.problems(namespaces)

    def close(self) -> None:
        """Close the directory that is held open."""
        if self._own_net is not None:
            os.close(self._own_net)

    def _read_namespace(
        self,
        run_inside: Callable[[Ino, Callable[[], None]], None],
        ino: Ino,
        namespace: TrackedNamespace,
    ) -> None:
        signals = namespace.signals
        try:
            if namespace.files is None:
                self._read_from_outside(ino, signals)
            else:
                read = partial(self._read_inside, ino, namespace, namespace.files)
                run_inside(ino, read)
        except NetnsGoneError:  # it is ending, or no process in it is left to enter by
            signals.reset()
        except (EntryDeniedError, OSError) as error:
            is_denied = isinstance(error, EntryDeniedError | PermissionError)
            self._errors["denied" if is_denied else "failed"] += 1
            log.debug("cannot read the signals of a network namespace: %s", error)
            signals.reset()

    def _read_inside(
        self, ino: Ino, namespace: TrackedNamespace, files: NamespaceFiles
    ) -> None:
        signals = namespace.signals
        if self._own_net is None:  # it follows this thread, and keeps nothing alive
            self._own_net = _open_directory("/proc/thread-self/net")
        net_files = self._read_net_files(signals, self._own_net)
        reply = self._listener_reader.poll(ino, signals.listener_state, net_files)
        cookie = reply.netns_cookie if reply else netns_cookie()
        if cookie != namespace.id.cookie or (
            cookie is None and files.sysctls.is_gone()
        ):
            raise NetnsGoneError
        self._listener_reader.update(signals.listener_state, reply, files.sysctls)
        conntrack = _read_conntrack_count(files.live_counts)
        self._update(signals, self._own_net, net_files, conntrack)

    def _read_from_outside(self, ino: Ino, signals: SignalState) -> None:
        """
        Read the signals of a namespace that cannot be entered, through its processes.

        /proc/PID/net takes no other right than to see the process.
        """
        signals.listener_state.reset()  # they take a socket of the namespace
        for pid in self._access.pids(ino)[:_MAX_PROCESSES]:
            with suppress(FileNotFoundError, ProcessLookupError):
                net = _open_directory(f"{self._procfs.root}/{pid}/net")
                try:
                    self._update(signals, net, self._read_net_files(signals, net))
                finally:
                    os.close(net)
                if self._procfs.netns(pid) == ino:  # it has not moved
                    return
        signals.reset()

    def _read_net_files(self, signals: SignalState, directory: int) -> NetFiles:
        previous = None if signals.needs_full_reading else signals.net_files
        if previous is None:
            return proc_net.read_files(directory)
        return proc_net.reread_changed(
            directory, previous, snmp6=self._parser.needs_snmp6
        )

    def _update(
        self,
        signals: SignalState,
        directory: int,
        files: NetFiles,
        conntrack: int | None = None,
    ) -> None:
        is_first = signals.needs_full_reading or signals.net_files is None
        if is_first or conntrack or signals.current.conntrack:
            conntrack_stat = proc_net.read_conntrack(directory)
        else:  # it counts only while connections are tracked
            conntrack_stat = signals.conntrack_stat
        self._last_files = files
        if signals.is_unchanged(files, conntrack_stat, conntrack):
            return
        values = signals.parse_counters(self._parser, files, conntrack_stat)
        sockets = parse_sockstat(files.sockstat, files.sockstat6)
        state = signals.listener_state
        signals.update(
            Signals(
                counters=values,
                listeners=state.listeners,
                listening=state.listening,
                left_out=state.left_out,
                conntrack=conntrack,
                tcp_sockets=sockets.tcp,
                udp_sockets=sockets.udp,
                time_wait=sockets.time_wait,
            )
        )


def _read_conntrack_count(live_counts: SysctlFiles) -> int | None:
    """Return how many connections the current namespace tracks."""
    try:
        live_counts.read_bound()
    except NetnsGoneError:  # the module was unloaded: the namespace was just read
        live_counts.close()
        return None
    if live_counts.unbound:
        live_counts.read_unbound()
    return parse_number(live_counts.readings[0])


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
