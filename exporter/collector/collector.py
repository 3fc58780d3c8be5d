"""The collector: makes passes over a node, each of which results in a snapshot."""

import os
import socket
import time
from collections.abc import Callable, Container, Iterator, Mapping

from exporter import problems
from exporter.collector import namespace_tracker
from exporter.collector.namespace_tracker import NamespaceTracker
from exporter.collector.references import ReferenceProbe
from exporter.collector.signal_reader import SignalReader
from exporter.collector.stats import StatsRecorder
from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import Config
from exporter.discovery.budget import Budget
from exporter.discovery.entry import NamespaceAccess
from exporter.discovery.host_netns import host_netns
from exporter.discovery.processes import ProcessTable
from exporter.files.client import ONE_OFF_SECONDS, PASS_SECONDS, FileReaderClient
from exporter.files.connection import FileReaderConnection
from exporter.kernel.procfs import Procfs
from exporter.model import EncodedSnapshot, Ino, Problem
from exporter.ownership.facts import FactsReader
from exporter.ownership.metadata import ContainerMetadata
from exporter.ownership.resolver import OwnerResolver
from exporter.runtimes.records import NullPoller, RuntimePoller
from exporter.values import decode_filename

FULL_SCAN_SECONDS = 59.0
"""Interval of full scans; other passes read what is new or has changed, and the rest in
turn. Less than a minute, since scrapes at an interval of one arrive a little early."""

STAGE_SECONDS = 0.2
"""
CPU time of each stage in a pass (see Budget). The longest takes 0.1 s on a node
of 1,000 namespaces, and all five together leave the server time to respond within two
seconds.
"""

CATCH_UP_SECONDS = 0.1
"""CPU time of a part of what was deferred that is done between passes."""

GRACE_SECONDS = 5.0
"""How long a namespace may have no owner where waiting may bring a better one."""


class Collector:
    """
    Collects snapshots of a node, and keeps no namespace alive.

    Args:
        config: the configuration.
        poller: polls the APIs of runtimes in another process, None for no API.
        grace: how long a namespace may wait for a better owner, in seconds; 0 for a
            command that makes one snapshot, which waits longer for files instead.
        stage_seconds: budget of each stage in a pass.
        clock: monotonic seconds.
        keep_alive: called between stages.
    """

    def __init__(  # noqa: PLR0913 # by keyword, each with its default
        self,
        config: Config,
        *,
        poller: RuntimePoller | None = None,
        grace: float = GRACE_SECONDS,
        stage_seconds: float = STAGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        keep_alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._stage_seconds = stage_seconds
        self._next_full_scan = clock()
        self._stats = StatsRecorder(keep_alive)
        errors = self._stats.errors
        self._procfs = procfs = Procfs(config.path.procfs)
        self._pool = pool = SysctlFilePool(config, errors)
        self._processes = ProcessTable(procfs, config.path.rootfs, clock, errors)
        self._files = _file_reader(config, PASS_SECONDS if grace else ONE_OFF_SECONDS)
        self._access = NamespaceAccess(
            self._processes, pool.shortcut_budget, self._files.open_doors
        )
        self._metadata = ContainerMetadata(
            procfs,
            rootfs=config.path.rootfs,
            poller=poller or NullPoller(),
            files=self._files,
            stale_after=config.runtimes.stale_after,
            clock=clock,
        )
        facts = FactsReader(procfs, self._processes, self._metadata, errors)
        self._resolver = OwnerResolver(facts, self._metadata, grace=grace, clock=clock)
        self._tracker = NamespaceTracker(pool, self._access, facts, errors, clock)
        self._references = ReferenceProbe(pool.plan, pool.shared_plan, clock)
        self._signal_reader = SignalReader(
            config.signals, pool.plan, procfs, self._access, errors
        )
        self._host_problems: list[Problem] = []
        self._hidden: dict[str, int] = {}

    def collect(self) -> EncodedSnapshot:
        """Make one pass and return the node as it is now."""
        self._stats.start_pass()
        self._files.start_pass()
        is_full_scan = self._clock() >= self._next_full_scan
        with self._stats.stage("discovery"):
            self._discover(is_full_scan=is_full_scan)
        with self._stats.stage("reading"):
            if is_full_scan:
                self._tracker.retry_all()
            self._tracker.read(self._budget())
            self._tracker.enter_new(self._present(), self._budget())
            attributions = {
                ino: n.attribution for ino, n in self._tracker.namespaces.items()
            }
            self._resolver.resolve(attributions, self._tracker.host, self._budget())
        with self._stats.stage("references"):
            self._update_references()
        with self._stats.stage("signals"):
            namespaces, budget = self._tracker.namespaces, self._budget()
            self._signal_reader.read(namespaces, budget, is_full_scan=is_full_scan)
        return self._snapshot()

    def deferred(self) -> dict[str, int]:
        """Return what the last pass left to the next one, by stage."""
        return {
            "full_scan": self._processes.unscanned,
            **self._tracker.deferred(self._present()),
            "bundles": self._files.deferred,
            "owners": self._resolver.deferred,
            "signals": self._signal_reader.deferred,
        }

    def catch_up(self) -> None:
        """Discover and enter some of what was deferred; see is_behind."""
        budget = Budget(CATCH_UP_SECONDS, self._clock, time.thread_time)
        self._processes.continue_full_scan(budget)
        self._tracker.enter_new(self._present(), budget)

    def is_behind(self) -> bool:
        """Return whether discovering or entering namespaces is deferred."""
        return bool(self._processes.unscanned or self._tracker.queue.deferred)

    def read_links(self, inodes: Container[int] | None = None) -> None:
        """Read interfaces and addresses in the namespaces *inodes*, None for all."""
        namespace_tracker.read_links(self._tracker, inodes)

    def count_failure(self) -> None:
        """Count a pass that returned no snapshot."""
        self._stats.errors["pass"] += 1

    def close(self) -> None:
        """Close all files and stop the other processes."""
        self._tracker.close()
        self._access.close()
        self._signal_reader.close()
        self._processes.close()
        self.stop_processes()

    def stop_processes(self) -> None:
        """Stop the runtime poller and the file reader."""
        self._metadata.close()
        self._files.close()

    @property
    def sockets(self) -> list[socket.socket]:
        """Those that are readable when receive() has something to do."""
        return self._files.sockets

    def receive(self) -> None:
        """Take what came between two passes, so that it keeps no namespace alive."""
        self._files.receive()

    def _budget(self) -> Budget:
        return Budget(self._stage_seconds, self._clock, time.thread_time)

    def _discover(self, *, is_full_scan: bool) -> None:
        tracked = self._tracker.namespaces.values()
        # Only its processes show that a namespace is gone which cannot be entered.
        list_all = any(n.files is None for n in tracked)
        self._processes.scan(self._budget(), list_all=list_all)
        if not is_full_scan:
            self._processes.continue_full_scan(self._budget())
        else:
            self._processes.full_scan(self._budget())
            self._tracker.host, self._host_problems = host_netns(self._procfs)
            self._hidden = self._access.count_hidden(self._procfs)
            self._next_full_scan = self._clock() + FULL_SCAN_SECONDS
        self._pool.rebalance(tracked, len(self._present()))

    def _present(self) -> list[Ino]:
        """Return the namespaces of the node, the host's first so that it has files."""
        first = (self._tracker.host, self._access.own_netns)
        return list(dict.fromkeys((*first, *sorted(self._processes.namespaces()))))

    def _update_references(self) -> None:
        host = self._tracker.namespaces.get(self._tracker.host)
        if host and host.files:
            shared = self._pool.shared.readings.as_tuple()
            self._references.update(host.files.sysctls.readings.as_tuple(), shared)

    def _snapshot(self) -> EncodedSnapshot:
        name, deferred = os.uname(), self.deferred()
        namespaces = _host_first(self._tracker)
        return EncodedSnapshot(
            node=decode_filename(name.nodename),
            kernel=name.release,
            time=time.time(),
            sysctls=self._pool.plan.sysctls,
            shared=self._pool.shared_plan.sysctls,
            shared_readings=self._pool.shared.readings.as_tuple(),
            fresh=self._references.readings,
            earlier=self._references.host_history,
            policy=self._config.policy,
            counters=self._signal_reader.counters,
            machine=self._pool.node_limits.read(self._signal_reader.sockets()),
            namespaces=tuple(n.encode() for n in namespaces),
            signals=tuple(n.signals.encode() for n in namespaces),
            problems=tuple(self._problems(deferred)),
            stats=self._stats.stats(
                self._pool,
                visited=self._tracker.visited,
                hidden=self._hidden,
                answered=self._metadata.last_answers,
                deferred=deferred,
            ),
        )

    def _problems(self, deferred: Mapping[str, int]) -> Iterator[Problem]:
        yield from self._host_problems
        tracked = self._tracker.namespaces.values()
        reasons = (n.reason for n in tracked if n.reason and n.attribution.owner)
        yield from self._access.problems(reasons, self._hidden)
        if truncated := self._processes.mounts.truncated:
            yield problems.mounts_not_read(truncated)
        if surplus := self._processes.mounts.surplus:
            yield problems.surplus_mounts(surplus)
        yield from self._tracker.queue.problems()
        if any(deferred.values()):
            yield problems.deferred({s: n for s, n in deferred.items() if n})
        yield from self._metadata.problems()
        yield from self._files.problems()
        yield from self._signal_reader.problems(self._tracker.namespaces)
        yield from self._references.problems()
        yield from self._pool.problems(self._tracker.visited)


def _file_reader(config: Config, patience: float) -> FileReaderClient:
    path, log = config.path, config.log
    arguments = (path.procfs, path.rootfs, log.level, log.format)
    return FileReaderClient(FileReaderConnection(arguments), patience)


def _host_first(tracker: NamespaceTracker) -> list[TrackedNamespace]:
    host = tracker.namespaces.get(tracker.host)
    others = [n for n in tracker.namespaces.values() if n is not host]
    return [host, *others] if host else others
