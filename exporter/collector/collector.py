"""
The collector: from a node to a Parcel.

One pass is: who came and went (census); read what is known, which also shows
what is gone; enter what is new, once; settle whose it is.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import psutil

from exporter import problems
from exporter.collector.fd_budget import SysctlFileManager
from exporter.collector.references import ReferenceProbe
from exporter.collector.signal_reader import SignalReader
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import Config
from exporter.discovery.entry import NamespaceAccess
from exporter.discovery.host_netns import host_netns
from exporter.discovery.processes import ProcessTable
from exporter.kernel.netns import EntryDeniedError, NetnsGoneError
from exporter.kernel.procfs import Procfs
from exporter.kernel.syscalls import netns_cookie
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.model import CollectorStats, EncodedSnapshot, Ino, NetnsId, Problem, Stage
from exporter.ownership.facts import FactsReader
from exporter.ownership.metadata import ContainerMetadata
from exporter.ownership.resolver import OwnerResolver
from exporter.runtimes.records import RuntimePoller
from exporter.values import DENIED, FAILED, decode_filename

FULL_SCAN_SECONDS = 60.0
"""How often everything is looked at again, not only what is new."""

GRACE_SECONDS = 5.0
"""How long a namespace may stay unnamed when waiting may bring a better name."""

log = logging.getLogger(__name__)


class Collector:
    """
    Reads a node, again and again, and pins nothing of it.

    asker: asks runtimes, in another process; grace: seconds a namespace may wait
    for a better name; clock: monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        asker: RuntimePoller | None = None,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        procfs = config.path.procfs
        self._policy = config.policy
        self._holdings = SysctlFileManager(config)
        self._plan = self._holdings.plan
        self._procfs = Procfs(procfs)
        self._clock = clock
        self._census = ProcessTable(self._procfs, config.path.rootfs, clock)
        self._fresh = ReferenceProbe(self._plan, self._holdings.shared_plan, clock)
        self._doors = NamespaceAccess(self._census, self._holdings.short_cuts)
        self._host, self._host_problems = self._doors.own_netns, list[Problem]()
        self._known: dict[Ino, TrackedNamespace] = {}
        self._watch = SignalReader(
            config.signals, self._plan, self._procfs, self._doors
        )
        self._process = psutil.Process()
        self._next_recheck = clock()
        self._errors: Counter[str] = Counter()
        self._metadata = ContainerMetadata(
            self._procfs,
            rootfs=config.path.rootfs,
            poller=asker or RuntimePoller(),
            stale_after=config.runtimes.stale_after,
            clock=clock,
        )
        self._facts = FactsReader(
            self._procfs, self._census, self._metadata, self._errors
        )
        self._resolver = OwnerResolver(
            self._facts, self._metadata, grace=grace, clock=clock
        )
        self._hidden = self._visited = 0
        self._stages: list[Stage] = []

    def parcel(self) -> EncodedSnapshot:
        """Make one pass and return what the node looks like now."""
        self._stages, self._visited = [], 0
        recheck = self._clock() >= self._next_recheck
        with self._stage("discovery"):
            self._discover(recheck=recheck)
        with self._stage("reading"):
            self._read_known()
            if recheck:
                self._try_again()
            self._admit_new()
            attributions = {ino: k.attribution for ino, k in self._known.items()}
            self._resolver.resolve(attributions, self._host)
        host = [k for ino, k in self._known.items() if ino == self._host]
        with self._stage("references"):
            self._follow_host()
        with self._stage("signals"):
            self.look(recheck=recheck)
        others = [k for ino, k in self._known.items() if ino != self._host]
        every = [*host, *others]
        name = os.uname()
        return EncodedSnapshot(
            node=decode_filename(name.nodename),
            kernel=name.release,
            time=time.time(),
            sysctls=self._plan.sysctls,
            shared=self._holdings.shared_plan.sysctls,
            shared_readings=self._holdings.shared.readings(),
            fresh=self._fresh.readings,
            earlier=self._fresh.earlier,
            policy=self._policy,
            counters=self._watch.counters,
            machine=self._holdings.machine.beside(self._watch.sockets()),
            namespaces=tuple(known.raw() for known in every),
            signals=tuple(known.watched.raw() for known in every),
            problems=tuple(self._problems()),
            stats=self._stats(),
        )

    def look(self, *, recheck: bool) -> None:
        """Take in the signals of what is known; recheck: of what is idle as well."""
        self._watch.look(self._known, recheck=recheck)
        self._errors.update(self._watch.errors)
        self._watch.errors.clear()

    def read_links(self, wanted: Container[int] | None = None) -> None:
        """Enter *wanted* namespaces, or all, for their interfaces and addresses."""
        from exporter.kernel.rtnetlink import read_links

        def work(known: TrackedNamespace) -> None:
            known.links = read_links()
            known.invalidate()

        self._visit(
            [
                ino
                for ino, known in self._known.items()
                if known.files and (wanted is None or ino in wanted)
            ],
            work,
        )

    def count_failure(self) -> None:
        """Count a pass that brought nothing."""
        self._errors["pass"] += 1

    def close(self) -> None:
        """Give every file back."""
        for known in list(self._known):
            self._drop(known)
        self._doors.close()
        _each(self._holdings.everyones, SysctlFiles.close)
        self._watch.close()
        self._census.close()
        self._metadata.close()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start, success = time.perf_counter(), True
        try:
            yield
        except OSError as error:
            success = False
            self._errors["pass"] += 1
            log.error("%s failed: %s", name, error)
        seconds = time.perf_counter() - start
        self._stages.append(Stage(name=name, success=success, seconds=seconds))

    def _follow_host(self) -> None:
        host = self._known.get(self._host)
        if host and host.files:
            self._fresh.follow(host.files.readings(), self._holdings.shared.readings())

    def _discover(self, *, recheck: bool) -> None:
        # where we may not enter, who is there is all there is to tell
        shut = any(one.files is None for one in self._known.values())
        self._census.scan(list_all=shut)
        if recheck:
            self._census.full_scan()
            self._host, self._host_problems = host_netns(self._procfs)
            self._count_hidden()
            self._next_recheck = self._clock() + FULL_SCAN_SECONDS
        for one in (self._census, self._census.mounts):
            self._errors["failed"] += one.failures
            one.failures = 0
        self._holdings.share_out(self._known.values(), len(self._wanted()))

    def _wanted(self) -> list[Ino]:
        """Return where to be: the host's first, so that it has its files."""
        first = (self._host, self._doors.own_netns)
        return list(dict.fromkeys((*first, *sorted(self._census.namespaces()))))

    def _count_hidden(self) -> None:
        """Count the namespaces of processes whose ns/net we may not even read."""
        hidden = {self._procfs.net_dev_inode(pid) for pid in self._census.denied_pids}
        if not hidden:
            self._hidden = 0
            return
        seen = {self._procfs.net_dev_inode("thread-self")}
        for pids in self._census.pids_by_netns.values():
            identities = (self._procfs.net_dev_inode(pid) for pid in pids)
            seen.add(next(filter(None, identities), None))  # a zombie has none
        self._hidden = len(hidden - seen - {None})

    def _try_again(self) -> None:
        """Retry what was refused, missing, or had no room, and who was unsure."""
        room = self._holdings.room
        lacking = []
        for ino, known in list(self._known.items()):
            known.attribution.needs_resolution = True
            files = self._files(known)
            if not files:
                self._enter_again(ino, known)
                continue
            files += [one for one in (known.live,) if one]
            if any(one.has_missing or (one.unbound and room) for one in files):
                lacking.append(ino)
        self._visit(lacking, self._bind)

    def _bind(self, known: TrackedNamespace) -> None:
        live = [known.live] if known.live else []
        _each([*self._files(known), *live], SysctlFiles.open_all)
        known.invalidate()

    def _enter_again(self, ino: Ino, known: TrackedNamespace) -> None:
        with suppress(NetnsGoneError):
            again = self._admit(ino)
            if again.files:
                again.attribution.continue_from(known.attribution)
                self._known[ino] = again

    def _files(self, known: TrackedNamespace) -> list[SysctlFiles]:
        """Return the sysctls of a namespace; what all share is the host's."""
        if known.files is None:
            return []
        everyones = self._holdings.everyones if known.id.ino == self._host else ()
        return [known.files, *everyones]

    def _read_known(self) -> None:
        to_visit = []
        for ino, known in list(self._known.items()):
            try:
                if self._read(ino, known):
                    to_visit.append(ino)
            except NetnsGoneError:
                self._drop(ino)
        self._visit(to_visit, self._read_unbound)
        for known in self._known.values():
            _each(self._files(known), self._count)

    def _read(self, ino: Ino, known: TrackedNamespace) -> bool:
        """Read what is bound; return whether a visit has to tell the rest."""
        files = self._files(known)
        if not files:
            if not known.attribution.is_continued_by(self._facts.holders(ino)):
                raise NetnsGoneError(ino)
            return False
        for one in files:
            if one.read_bound():
                known.invalidate()
        return any(one.unbound for one in files) or not files[0].bound

    def _read_unbound(self, known: TrackedNamespace) -> None:
        for one in self._files(known):
            if one.read_unbound():
                known.invalidate()

    def _count(self, files: SysctlFiles) -> None:
        self._visited += len(files.unbound)
        self._errors.update(files.errors)
        files.errors.clear()

    def _visit(
        self, inodes: Sequence[Ino], work: Callable[[TrackedNamespace], object]
    ) -> None:
        """Do *work* inside known namespaces, one after another."""
        if not inodes:
            return
        with self._doors.session() as do_in:
            for ino in inodes:
                known = self._known[ino]
                try:
                    do_in(ino, partial(self._if_still_it, known, work))
                except NetnsGoneError:
                    self._drop(ino)
                except (EntryDeniedError, OSError) as error:
                    self._fail(known, error)

    def _if_still_it(
        self, known: TrackedNamespace, work: Callable[[TrackedNamespace], object]
    ) -> None:
        if netns_cookie() != known.id.cookie:
            raise NetnsGoneError(known.id.ino)
        if known.id.cookie is None:  # the old files tell instead: ENOENT
            self._files(known)[0].read_bound()
        work(known)

    def _fail(self, known: TrackedNamespace, error: Exception) -> None:
        reason = DENIED if isinstance(error, EntryDeniedError) else FAILED
        self._errors[reason.unreadable] += 1
        log.debug("cannot enter a network namespace: %s", error)
        known.invalidate()
        for one in self._files(known):
            one.mark_unbound(reason)

    def _admit_new(self) -> None:
        wanted = self._wanted()
        for ino in wanted:
            if ino not in self._known:
                with suppress(NetnsGoneError):
                    self._known[ino] = self._admit(ino)
        for ino in self._known.keys() - set(wanted):
            files = self._known[ino].files
            if files is None or not files.bound:
                self._drop(ino)

    def _admit(self, ino: Ino) -> TrackedNamespace:
        files, live = self._holdings.of_a_new_one()
        cookie, reason = None, ""
        try:
            first = partial(self._first_visit, ino, (files, live))
            cookie = self._doors.enter(ino, first)
        except EntryDeniedError as error:
            reason = self._doors.denial_reason(error.step)
        except OSError as error:
            reason = "failed"
            self._errors["failed"] += 1
            log.debug("cannot enter a network namespace: %s", error)
        self._count(files)
        if ino == self._host:
            _each(self._holdings.everyones, self._count)
        netns = NetnsId(cookie=cookie, ino=ino, first_seen=time.time())
        if reason:
            _each((files, live), SysctlFiles.close)
            return TrackedNamespace(netns, self._clock(), reason=reason)
        return TrackedNamespace(netns, self._clock(), (files, live))

    def _first_visit(self, ino: Ino, files: Iterable[SysctlFiles]) -> int | None:
        everyones = self._holdings.everyones if ino == self._host else ()
        _each((*everyones, *files), SysctlFiles.open_all)
        return netns_cookie()

    def _drop(self, ino: Ino) -> None:
        known = self._known.pop(ino)
        self._doors.close_pidfd(ino)
        for files in filter(None, (known.files, known.live)):
            files.close()
        if ino == self._host:
            _each(self._holdings.everyones, SysctlFiles.close)

    def _problems(self) -> Iterator[Problem]:
        yield from self._host_problems
        known = self._known.values()
        reasons = Counter(k.reason for k in known if k.reason and k.attribution.owner)
        reasons.update(self._doors.missing_capabilities())
        if self._hidden:
            reasons[self._doors.denial_reason("open")] += self._hidden
        for reason, count in reasons.items():
            yield problems.entry_denied(reason, count)
        if cut := self._census.mounts.truncated:
            yield problems.mounts_not_read(cut)
        yield from self._metadata.problems()
        yield from self._watch.problems(self._known)
        if self._fresh.failure:
            yield problems.no_fresh_namespace(self._fresh.failure)
        if odd := self._fresh.disagreements:
            yield problems.class_disagrees(odd)
        if self._visited and not self._holdings.room:
            yield problems.fd_budget(self._visited, self._holdings.limit)

    def _stats(self) -> CollectorStats:
        with self._process.oneshot():
            times = self._process.cpu_times()
            resident = self._process.memory_info().rss
        return CollectorStats(
            fds=self._holdings.held,
            fd_limit=self._holdings.limit,
            bound=self._holdings.bound,
            visited=self._visited,
            hidden={self._doors.denial_reason("open"): self._hidden}
            if self._hidden
            else {},
            read_errors=dict(self._errors),
            answered=self._metadata.last_success,
            stages=tuple(self._stages),
            cpu_seconds=times.user + times.system,
            resident_bytes=resident,
        )


def _each(files: Iterable[SysctlFiles], work: Callable[[SysctlFiles], object]) -> None:
    for one in files:
        work(one)
