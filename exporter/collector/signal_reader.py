"""
What shows harm, of every namespace: listeners, counters, sockets, tracked flows.

One tour a pass, since a socket of a namespace can only be made inside it. What is
opened there is closed there, for it would pin the namespace.
"""

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from exporter import counters, problems
from exporter.collector.listener_polling import ListenerPoller
from exporter.collector.tracked import SignalState, TrackedNamespace
from exporter.config.settings import SignalSettings
from exporter.discovery.entry import NamespaceAccess
from exporter.kernel import proc_net, sock_diag
from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import EntryDeniedError, NetnsGoneError
from exporter.kernel.proc_net import CounterParser, NetFiles, Sockstat, parse_sockstat
from exporter.kernel.procfs import Procfs
from exporter.kernel.sock_diag import DiagReply
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles, SysctlPlan
from exporter.model import SOMAXCONN, Ino, Problem, Reading, Signals, Sysctl

_OWN_NET = "/proc/thread-self/net"
_ASKED = {
    "none": (),
    "tcp": (sock_diag.DUMP_TCP,),
    "all": (sock_diag.DUMP_TCP, sock_diag.DUMP_UNIX),
}
_UNKNOWN = {errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}
_TRIED = 3

CONNTRACK_COUNT = Sysctl(
    name="net.netfilter.nf_conntrack_count",
    kind="int",
    class_="constant",
    settable_by="none",
)
"""Tracked flows of one namespace: a count, so not in the catalog."""

log = logging.getLogger(__name__)


def live_count_plan(settings: SignalSettings, procfs: str) -> SysctlPlan:
    """Return the counts that the kernel shows as sysctls: signals, not settings."""
    return SysctlPlan([CONNTRACK_COUNT] if _looks(settings) else [], procfs)


def _looks(settings: SignalSettings) -> bool:
    """Return whether anything is wanted but the sysctls."""
    return settings.listeners != "none" or bool(_chosen(settings))


def _chosen(settings: SignalSettings) -> list[counters.Counter]:
    include, exclude = settings.counters_include, settings.counters_exclude
    return counters.select(include=include, exclude=exclude)


class SignalReader:
    """
    Looks at every namespace, once a pass.

    plan: the sysctls that are read in each; doors: the ways into them.
    """

    def __init__(
        self,
        settings: SignalSettings,
        plan: SysctlPlan,
        procfs: Procfs,
        doors: NamespaceAccess,
    ) -> None:
        self.counters = tuple(counter.name for counter in _chosen(settings))
        self._any_files = proc_net.NO_FILES
        self.errors: Counter[str] = Counter()
        """Failed looks since somebody last emptied it, by reason."""
        self._reader = CounterParser(self.counters)
        self._asked = _ASKED[settings.listeners]
        self._off = not _looks(settings)
        self._dumps = ListenerPoller(self._asked, doors.membership_generation)
        self._max_listeners = settings.max_listeners
        names = [sysctl.name for sysctl in plan.sysctls]
        self._somaxconn = names.index(SOMAXCONN) if SOMAXCONN in names else None
        self._somaxconn_plan = SysctlPlan(
            (s for s in plan.sysctls if s.name == SOMAXCONN), procfs.root
        )
        self._procfs = procfs
        self._doors = doors
        self._own_net: int | None = None
        self._no_diag = ""
        self._recheck = False

    def look(self, known: Mapping[Ino, TrackedNamespace], *, recheck: bool) -> None:
        """
        Take in the signals of every namespace.

        recheck: what was refused is tried again, what is idle looked at all the same.
        """
        if self._off:
            return
        self._recheck = recheck
        if recheck:
            self._no_diag = ""
        listening = sum(one.watched.queues.listening for one in known.values())
        self._dumps.start(listening, recheck=recheck)
        with self._doors.session() as do_in:
            for ino, one in known.items():
                self._look_at(do_in, ino, one)

    def sockets(self) -> Sockstat:
        """Return those of the last namespace; the machine's are the same in any."""
        return parse_sockstat(self._any_files.sockstat, self._any_files.sockstat6)

    def problems(self, known: Mapping[Ino, TrackedNamespace]) -> Iterator[Problem]:
        """Yield what keeps the signals from the whole truth."""
        if self._no_diag:
            yield problems.no_sock_diag(self._no_diag)
        left_out = [one.watched.signals.left_out for one in known.values()]
        if any(left_out):
            yield problems.listeners_left_out(sum(left_out), self._max_listeners)

    def close(self) -> None:
        """Give the directory back."""
        if self._own_net is not None:
            os.close(self._own_net)

    def _look_at(
        self,
        do_in: Callable[[Ino, Callable[[], None]], None],
        ino: Ino,
        one: TrackedNamespace,
    ) -> None:
        try:
            if one.files is None:
                self._look_from_outside(ino, one.watched)
            else:
                do_in(ino, partial(self._look_inside, ino, one, one.files))
        except NetnsGoneError:  # it is on its way out, or nobody is left to lead there
            one.watched.lose()
        except (EntryDeniedError, OSError) as error:
            denied = isinstance(error, EntryDeniedError | PermissionError)
            self.errors["denied" if denied else "failed"] += 1
            log.debug("cannot look at a network namespace: %s", error)
            one.watched.lose()

    def _look_inside(self, ino: Ino, one: TrackedNamespace, files: SysctlFiles) -> None:
        watched = one.watched
        if self._own_net is None:  # it follows this thread, and pins nothing
            self._own_net = _open_directory("/proc/thread-self/net")
        net = self._net_files(watched, self._own_net)
        dump = self._ask(ino, watched, net)
        cookie = dump.netns_cookie if dump else netns_cookie()
        if cookie != one.id.cookie or (cookie is None and files.is_gone()):
            raise NetnsGoneError
        if dump:
            now = self._somaxconn_of(files)
            again = self._somaxconn_inside
            watched.queues.take(dump, now, again, self._max_listeners)
        else:
            watched.queues.lose()
        self._take(watched, self._own_net, net, _conntrack(one.live))

    def _look_from_outside(self, ino: Ino, watched: SignalState) -> None:
        """
        Look at a namespace that may not be entered, through a process in it.

        What /proc/PID/net shows needs no right but to see the process.
        """
        watched.queues.lose()  # only a socket of the namespace can ask
        for pid in self._doors.pids(ino)[:_TRIED]:
            with suppress(FileNotFoundError, ProcessLookupError):
                directory = _open_directory(f"{self._procfs.root}/{pid}/net")
                try:
                    self._take(watched, directory, self._net_files(watched, directory))
                finally:
                    os.close(directory)
                if self._procfs.netns(pid) == ino:  # it has not moved on
                    return
        watched.lose()

    def _ask(self, ino: Ino, watched: SignalState, net: NetFiles) -> DiagReply | None:
        """Ask for the listeners of the current namespace, unless that is in vain."""
        if not self._asked or self._no_diag:
            return None
        try:
            return self._dumps.answer_inside(ino, watched.queues, net)
        except OSError as error:
            if error.errno in _UNKNOWN:  # each question would look for a module again
                self._no_diag = str(error)
            else:
                self.errors["failed"] += 1
                log.debug("cannot list a network namespace's listeners: %s", error)
            return None

    def _somaxconn_of(self, files: SysctlFiles) -> int | None:
        at = self._somaxconn
        return None if at is None else _number(files.reading(at))

    def _somaxconn_inside(self) -> int | None:
        """Read somaxconn of the current namespace, for the rare case that it tells."""
        again = SysctlFiles(self._somaxconn_plan, FdBudget(0))
        again.open_all()
        return None if self._somaxconn is None else _number(again.reading(0))

    def _net_files(self, watched: SignalState, directory: int) -> NetFiles:
        before = None if self._recheck else watched.files
        if before is None:
            return proc_net.read_files(directory)
        return proc_net.reread_changed(directory, before, ipv6=self._reader.needs_snmp6)

    def _take(
        self,
        watched: SignalState,
        directory: int,
        files: NetFiles,
        conntrack: int | None = None,
    ) -> None:
        everything = self._recheck or watched.files is None
        if everything or conntrack or watched.signals.conntrack:
            stat = proc_net.read_conntrack(directory)
        else:  # it counts only where flows are
            stat = watched.conntrack_stat
        self._any_files = files
        if watched.is_still(files, stat, conntrack):
            return
        counters = watched.counted(self._reader, files, stat)
        sockets = parse_sockstat(files.sockstat, files.sockstat6)
        queues = watched.queues
        watched.take(
            Signals(
                counters=counters,
                listeners=queues.listeners,
                listening=queues.listening,
                left_out=queues.left_out,
                conntrack=conntrack,
                tcp_sockets=sockets.tcp,
                udp_sockets=sockets.udp,
                time_wait=sockets.time_wait,
            )
        )


def _conntrack(live: SysctlFiles | None) -> int | None:
    """Return how many flows the current namespace tracks."""
    if live is None:
        return None
    try:
        live.read_bound()
    except NetnsGoneError:  # the module is gone: the namespace was just read
        live.close()
        return None
    if live.unbound:
        live.read_unbound()
    live.errors.clear()
    return _number(live.reading(0))


def _number(reading: Reading) -> int | None:
    return int(reading) if isinstance(reading, str) else None


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
