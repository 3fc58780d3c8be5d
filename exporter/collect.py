"""
The collector: from a node to a Parcel.

One pass is: who came and went (census); read what is known, which also shows
what is gone; enter what is new, once; settle whose it is.
"""

import logging
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

import msgspec
import psutil

from exporter import catalog, ownership
from exporter.config import Config
from exporter.kernel.census import Census
from exporter.kernel.host import host_netns
from exporter.kernel.netns import (
    EntryDeniedError,
    NetnsGoneError,
    inside,
    own_netns,
)
from exporter.kernel.procfs import Procfs, effective_capabilities
from exporter.kernel.syscalls import CAP_SYS_ADMIN, CAP_SYS_PTRACE, netns_cookie
from exporter.kernel.sysctls import FdBudget, Plan, SysctlFiles
from exporter.model import (
    Ino,
    Namespace,
    NetnsId,
    Owner,
    Parcel,
    Problem,
    Stage,
    State,
    Stats,
)
from exporter.runtimes import cgroup, podlogs
from exporter.values import readable

RECHECK_SECONDS = 60.0
"""How often everything is looked at again, not only what is new."""

GRACE_SECONDS = 5.0
"""How long a namespace may stay unnamed when waiting may bring a better name."""

_SPARE_FDS = 256
"""Left free of RLIMIT_NOFILE for everything but sysctl files."""

_T = TypeVar("_T")

log = logging.getLogger(__name__)


class Witnesses(NamedTuple):
    """What can say whose a namespace is: unchanged, they say the same again."""

    pids: frozenset[int]
    mounts: tuple[str, ...]
    private_mounts: list[tuple[str, int]]


class Known:
    """What the collector keeps of one live namespace."""

    def __init__(self, netns: NetnsId, born: float) -> None:
        self.id = netns
        self.born = born
        self.files: SysctlFiles | None = None
        self.reason = ""
        self.owner: Owner | None = None
        self.facts: dict[int, ownership.ProcessFacts] = {}
        self.witnesses: object = None
        self.encoded: msgspec.Raw | None = None

    def namespace(self) -> Namespace:
        """Return it as the rest of the program sees it."""
        state: State = "read" if self.files else "unreadable"
        if self.owner is None:
            state = "pending"
        return Namespace(
            id=self.id,
            owner=self.owner or Owner(kind="process"),
            state=state,
            reason=self.reason,
            readings=self.files.readings() if self.files and self.owner else (),
        )

    def raw(self) -> msgspec.Raw:
        """Return its JSON, made anew only when something changed."""
        if self.encoded is None:
            self.encoded = msgspec.Raw(msgspec.json.encode(self.namespace()))
        return self.encoded


class Collector:
    """
    Reads a node, again and again, and pins nothing of it.

    grace: seconds a namespace may wait for a better name; clock: monotonic
    seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        entries = catalog.select(
            catalog.load(),
            profile=config.sysctls.profile,
            include=config.sysctls.include,
            exclude=config.sysctls.exclude,
        )
        every = [entry.sysctl() for entry in entries]
        procfs = config.path.procfs
        self._plan = Plan((s for s in every if s.scope != "shared"), procfs)
        self._shared_plan = Plan((s for s in every if s.scope == "shared"), procfs)
        self._procfs = Procfs(procfs)
        self._rootfs = config.path.rootfs
        self._grace = grace
        self._clock = clock
        self._census = Census(self._procfs, self._rootfs, clock)
        self._budget = FdBudget(min(config.sysctls.max_fds, _raise_fd_limit()))
        self._shared = SysctlFiles(self._shared_plan, self._budget)
        self._own = own_netns()
        self._host, self._host_problems = self._own, list[Problem]()
        self._known: dict[Ino, Known] = {}
        self._pods: dict[str, ownership.PodName] = {}
        self._capabilities = effective_capabilities()
        self._process = psutil.Process()
        self._next_recheck = clock()
        self._errors: Counter[str] = Counter()
        self._hidden = 0
        self._visited = 0
        self._stages: list[Stage] = []

    def parcel(self) -> Parcel:
        """Make one pass and return what the node looks like now."""
        self._stages, self._visited = [], 0
        with self._stage("discovery"):
            self._discover()
        with self._stage("reading"):
            self._read_known()
            self._admit_new()
            self._settle()
        host = [k for ino, k in self._known.items() if ino == self._host]
        others = [k for ino, k in self._known.items() if ino != self._host]
        name = os.uname()
        return Parcel(
            node=readable(name.nodename),
            kernel=name.release,
            time=time.time(),
            sysctls=self._plan.sysctls,
            shared=self._shared_plan.sysctls,
            shared_readings=self._shared.readings(),
            namespaces=tuple(known.raw() for known in [*host, *others]),
            problems=tuple(self._problems()),
            stats=self._stats(),
        )

    def count_failure(self) -> None:
        """Count a pass that brought nothing."""
        self._errors["pass"] += 1

    def close(self) -> None:
        """Give every file back."""
        for known in list(self._known):
            self._drop(known)
        self._shared.close()
        self._census.close()

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

    def _discover(self) -> None:
        self._census.scan()
        if self._clock() < self._next_recheck:
            return
        self._next_recheck = self._clock() + RECHECK_SECONDS
        self._census.recheck()
        self._errors["failed"] += self._census.failures
        self._census.failures = 0
        self._host, self._host_problems = host_netns(self._procfs)
        self._count_hidden()
        self._try_again()

    def _count_hidden(self) -> None:
        """Count the namespaces of processes whose ns/net we may not even read."""
        hidden = {self._procfs.net_identity(pid) for pid in self._census.denied}
        if not hidden:
            self._hidden = 0
            return
        members = self._census.members.values()
        seen = {self._procfs.net_identity(min(pids)) for pids in members}
        seen.add(self._procfs.net_identity("thread-self"))
        self._hidden = len(hidden - seen - {None})

    def _try_again(self) -> None:
        """Retry what was refused, and what was missing or had no room to be bound."""
        for ino, known in list(self._known.items()):
            if known.files is None:
                self._enter_again(ino)
            elif known.files.absent or (
                known.files.unbound and self._budget.held < self._budget.limit
            ):
                with suppress(NetnsGoneError):  # the read that follows drops it
                    self._visit(ino, known, known.files.bind_inside)

    def _enter_again(self, ino: Ino) -> None:
        with suppress(NetnsGoneError):
            again = self._admit(ino)
            if again.files:
                self._known[ino] = again

    def _read_known(self) -> None:
        for ino, known in list(self._known.items()):
            try:
                self._read(ino, known)
            except NetnsGoneError:
                self._drop(ino)
        with suppress(NetnsGoneError):
            self._shared.read_bound()
        self._count_errors(self._shared)

    def _read(self, ino: Ino, known: Known) -> None:
        files = known.files
        if files is None:
            return
        if files.read_bound():
            known.encoded = None
        if files.unbound or not files.bound:
            self._visit(ino, known, files.visit_inside)
            self._visited += len(files.unbound)
        if files.errors:
            self._count_errors(files)

    def _visit(self, ino: Ino, known: Known, work: Callable[[], object]) -> None:
        """Do *work* inside a known namespace; it is gone if another one took over."""

        def checked() -> None:
            if netns_cookie() != known.id.cookie:
                raise NetnsGoneError(ino)
            work()

        try:
            self._enter(ino, checked)
        except EntryDeniedError:
            self._errors["denied"] += 1
        except OSError as error:
            self._errors["failed"] += 1
            log.warning("cannot enter a network namespace: %s", error)
        known.encoded = None

    def _enter(self, ino: Ino, work: Callable[[], _T]) -> _T:
        """Do *work* in *ino* through the first door that leads there."""
        if ino == self._own:
            return work()
        denied: EntryDeniedError | None = None
        for door in self._census.doors(ino):
            try:
                with inside(door, ino):
                    return work()
            except NetnsGoneError:
                continue
            except EntryDeniedError as error:
                denied = error
                if error.step == "setns":
                    break
        raise denied or NetnsGoneError(ino)

    def _admit_new(self) -> None:
        wanted = {self._own, self._host, *self._census.seen()}
        for ino in wanted - self._known.keys():
            try:
                self._known[ino] = self._admit(ino)
            except NetnsGoneError:
                continue
        for ino in self._known.keys() - wanted:
            files = self._known[ino].files
            if files is None or not files.bound:
                self._drop(ino)

    def _admit(self, ino: Ino) -> Known:
        files = SysctlFiles(self._plan, self._budget)

        def first_visit() -> int | None:
            files.bind_inside()
            if ino == self._host:
                self._shared.bind_inside()
            return netns_cookie()

        cookie, reason = None, ""
        try:
            cookie = self._enter(ino, first_visit)
        except EntryDeniedError as error:
            reason = self._missing_right(error)
        except OSError as error:
            reason = "failed"
            self._errors["failed"] += 1
            log.warning("cannot enter a network namespace: %s", error)
        self._count_errors(files)
        if reason:
            files.close()
        netns = NetnsId(cookie=cookie, ino=ino, first_seen=time.time())
        known = Known(netns, self._clock())
        known.reason = reason
        if not reason:
            known.files = files
        return known

    def _missing_right(self, error: EntryDeniedError) -> str:
        capability, name = {
            "open": (CAP_SYS_PTRACE, "missing_cap_sys_ptrace"),
            "setns": (CAP_SYS_ADMIN, "missing_cap_sys_admin"),
        }[error.step]
        has_it = self._capabilities >> capability & 1
        return "refused_by_policy" if has_it else name

    def _drop(self, ino: Ino) -> None:
        known = self._known.pop(ino)
        if known.files:
            known.files.close()
        if ino == self._host:
            self._shared.close()

    def _count_errors(self, files: SysctlFiles) -> None:
        self._errors.update(files.errors)
        files.errors.clear()

    def _settle(self) -> None:
        """Name what has no name yet, or a weaker one than the facts allow now."""
        claims: dict[NetnsId, ownership.Claim] = {}
        by_id: dict[NetnsId, Known] = {}
        for ino, known in self._known.items():
            if known.owner and ownership.is_final(known.owner):
                continue
            witnesses = self._witnesses(ino)
            if known.owner and witnesses == known.witnesses:
                continue
            known.witnesses = witnesses
            claim = self._claim(ino, known, witnesses)
            if known.owner is None or ownership.is_better(claim, known.owner):
                claims[known.id], by_id[known.id] = claim, known
        if not claims:
            return
        settled = [
            k.owner for k in self._known.values() if k.owner and k.id not in claims
        ]
        for netns, owner in ownership.settle(claims, settled).items():
            known, claim = by_id[netns], claims[netns]
            final = claim.complete and owner.netns == claim.owner.netns
            if (final and known.files) or self._clock() - known.born >= self._grace:
                known.owner = owner
            known.encoded = None

    def _witnesses(self, ino: Ino) -> Witnesses:
        """Return what can say whose *ino* is."""
        census = self._census
        pids = census.members.get(ino) or census.thread_processes(ino)
        return Witnesses(
            frozenset(pids), tuple(census.init_mounts(ino)), census.private_mounts(ino)
        )

    def _claim(self, ino: Ino, known: Known, said: Witnesses) -> ownership.Claim:
        if ino == self._host:
            return ownership.claim(ownership.Facts(host=True), {})
        for pid in known.facts.keys() - said.pids:
            del known.facts[pid]
        for pid in said.pids - known.facts.keys():
            if found := self._process_facts(pid):
                known.facts[pid] = found
        facts = ownership.Facts(
            processes=tuple(known.facts.values()),
            mounts=said.mounts,
            private_mounts=tuple(
                (path, found)
                for path, pid in said.private_mounts
                if (found := self._process_facts(pid))
            ),
        )
        return ownership.claim(facts, self._pod_names(facts))

    def _process_facts(self, pid: int) -> ownership.ProcessFacts | None:
        try:
            stat, group = self._procfs.stat(pid), self._procfs.cgroup(pid)
        except OSError as error:
            if not isinstance(error, PermissionError):  # hidepid refuses, normally
                self._errors["failed"] += 1
            return None
        if stat is None or group is None:
            return None
        return ownership.ProcessFacts(
            pid=pid,
            start_time=stat.start_time,
            comm=stat.comm,
            cgroup=cgroup.parse(group),
        )

    def _pod_names(self, facts: ownership.Facts) -> dict[str, ownership.PodName]:
        everyone = [*facts.processes, *(p for _, p in facts.private_mounts)]
        uids = {p.cgroup.pod_uid for p in everyone} - {""}
        if not uids <= self._pods.keys():
            found = podlogs.read_pod_names(self._rootfs)
            self._pods = {u: ownership.PodName(*name) for u, name in found.items()}
        return self._pods

    def _problems(self) -> Iterator[Problem]:
        yield from self._host_problems
        known = self._known.values()
        reasons = Counter(k.reason for k in known if k.reason and k.owner)
        if self._hidden:
            reasons["missing_cap_sys_ptrace"] += self._hidden
        for reason, count in reasons.items():
            yield Problem(
                what=reason,
                detail=f"{count} network namespaces cannot be entered",
                remedy=_REMEDIES[reason],
                count=count,
            )
        if self._visited and self._budget.held >= self._budget.limit:
            yield Problem(
                what="fd_budget",
                detail=f"{self._visited} values are read by a visit each pass, since "
                f"only {self._budget.limit} sysctl files may be held open",
                remedy="raise RLIMIT_NOFILE (LimitNOFILE=) or sysctls.max_fds, or "
                "read fewer sysctls",
                count=self._visited,
            )

    def _stats(self) -> Stats:
        with self._process.oneshot():
            times = self._process.cpu_times()
            resident = self._process.memory_info().rss
        return Stats(
            fds=self._budget.held,
            fd_limit=self._budget.limit,
            bound=self._budget.held,
            visited=self._visited,
            hidden=self._hidden,
            read_errors=dict(self._errors),
            stages=tuple(self._stages),
            cpu_seconds=times.user + times.system,
            resident_bytes=resident,
        )


_REMEDIES = {
    "missing_cap_sys_ptrace": "run as root or add CAP_SYS_PTRACE and CAP_SYS_ADMIN",
    "missing_cap_sys_admin": "run as root or add CAP_SYS_ADMIN and CAP_SYS_PTRACE",
    "refused_by_policy": "a security module (AppArmor, SELinux, Yama) or a user "
    "namespace refuses in spite of the capability: run unconfined, in the initial "
    "user namespace",
    "failed": "see the log; a full fd table is the usual cause: raise LimitNOFILE",
}


def _raise_fd_limit() -> int:
    """Raise RLIMIT_NOFILE to its hard limit and return what sysctl files may use."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, hard - _SPARE_FDS)
