"""Thousands of mounts or namespaces delay their own creator, and nobody else."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter.cli.snapshot_file import parse_snapshot
from exporter.collector.collector import Collector
from exporter.config.settings import Config, SysctlSettings
from exporter.discovery.nsfs_mounts import MAX_PRIVATE_MOUNTS
from exporter.kernel.procfs import MOUNTS_PER_NETNS
from exporter.model import SOMAXCONN, Ino, Namespace, Snapshot
from testing.lab import (
    LabNetns,
    ProcessNetns,
    cgroup,
    new_namespaces,
    thread_netns,
    wait_until,
)
from testing.running import COMMAND, Exposition, run_exporter
from tests.support.crowds import many_mounts, many_namespaces

pytestmark = pytest.mark.root

MINUTE = 60.0
POD = "kubepods/pod7f3c2a10-aaaa-bbbb-cccc-444455556666/" + "5" * 64
UID = "7f3c2a10-aaaa-bbbb-cccc-444455556666"
MAX_PASSES = 500
FILES_OF_FEW = 60
"""Enough files for one namespace: all others are visited in each pass."""


class Node:
    """
    A collector whose stages have little time: CPU time, however busy the machine is.

    Attributes:
        last: the snapshot of the last pass.
    """

    def __init__(self, stage_seconds: float, max_fds: int = 20_000) -> None:
        settings = Config(sysctls=SysctlSettings(max_fds=max_fds))
        self.collector = Collector(
            settings,
            grace=0,
            stage_seconds=stage_seconds,
            clock=time.process_time,
        )

    def collect(self) -> dict[str, int]:
        """Make a pass; return what it deferred."""
        encoded = msgspec.json.encode(self.collector.collect())
        self.last = msgspec.json.decode(encoded, type=Snapshot)
        return self.last.stats.deferred

    def pass_until_entered(self) -> None:
        """Make passes until every namespace is entered."""
        for _ in range(MAX_PASSES):
            deferred = self.collect()
            if not deferred["full_scan"] and not deferred["entering"]:
                return
        raise AssertionError(self.last.stats.deferred)

    def has_done_all(self) -> bool:
        """Make a pass with enough time; return whether nothing is deferred."""
        self.collector._stage_seconds = 30.0
        return not any(self.collect().values()) and "deferred" not in self.problems()

    def namespace(self, netns: LabNetns) -> Namespace | None:
        """Return a namespace as it was in the last pass."""
        cookie = netns.cookie
        found = (n for n in self.last.namespaces if n.id.cookie == cookie)
        return next(found, None)

    def somaxconn(self, netns: LabNetns) -> object:
        """Return a value as it was in the last pass."""
        names = [sysctl.name for sysctl in self.last.sysctls]
        namespace = self.namespace(netns)
        return namespace and namespace.readings[names.index(SOMAXCONN)]

    def problems(self) -> dict[str, int]:
        """Return how many objects each problem of the last pass affects."""
        return {problem.what: problem.count for problem in self.last.problems}


@contextlib.contextmanager
def small_node(stage_seconds: float, max_fds: int = 20_000) -> Iterator[Node]:
    node = Node(stage_seconds, max_fds)
    try:
        yield node
    finally:
        node.collector.close()


@contextlib.contextmanager
def started_pod() -> Iterator[ProcessNetns]:
    """Start a pod, whose process is in a cgroup as the kubelet makes it."""
    with new_namespaces() as (pod,), cgroup(POD, pod.pid):
        yield pod


def held(pid: int, number: int) -> LabNetns:
    """Return a namespace of the attacker with this *pid*."""
    return LabNetns(f"/proc/{pid}/root/mnt/{number}")


def test_of_20000_mounts_a_few_are_kept_and_the_rest_is_counted() -> None:
    with many_mounts(10_000, copies=2) as attacker, small_node(1.0) as node:
        node.pass_until_entered()

        mounts = node.collector._processes.mounts
        ino = held(attacker, 0).ino
        assert len(mounts.private_mounts[ino]) <= MAX_PRIVATE_MOUNTS
        assert node.namespace(held(attacker, 0))
        surplus = 2 * (10_000 - MOUNTS_PER_NETNS)
        assert node.problems()["surplus_mounts"] == surplus


def test_mount_namespaces_are_scanned_over_several_passes() -> None:
    with many_mounts(5_000, copies=6) as attacker, small_node(0.002) as node:
        deferred = [node.collect()["full_scan"]]
        while deferred[-1]:
            assert len(deferred) < 10_000
            deferred.append(node.collect()["full_scan"])
        assert len(deferred) > 3, deferred
        assert node.problems()["surplus_mounts"] == 6 * (5_000 - MOUNTS_PER_NETNS)

        node.pass_until_entered()

        assert node.namespace(held(attacker, 0))


def test_a_pod_is_entered_while_another_has_hundreds_that_wait() -> None:
    with many_namespaces(600), small_node(0.02) as node:
        waiting = node.collect()["entering"]
        assert waiting > 100
        assert node.problems()["deferred"] >= waiting
        with started_pod() as pod:
            node.collect()

            found = node.namespace(pod)
            assert found
            assert found.owner.uid == UID
            assert node.somaxconn(pod) is not None
            assert 0 < node.last.stats.deferred["entering"] < waiting

            node.pass_until_entered()

            assert len(node.last.namespaces) >= 600
            assert node.has_done_all()


def test_of_one_creator_a_limited_number_is_entered_and_the_rest_is_counted() -> None:
    with (
        many_namespaces(60) as attacker,
        cgroup("attack.service", attacker),
        started_pod() as pod,
        small_node(1.0) as node,
    ):
        node.collector._tracker.queue._limit = 25

        node.pass_until_entered()

        assert node.problems()["creator_limit"] == 60 - 25
        assert node.namespace(pod)
        assert node.last.stats.deferred["entering"] == 0


def test_the_values_of_a_pod_are_current_while_others_are_read_in_turns() -> None:
    with (
        started_pod() as pod,
        many_namespaces(400) as attacker,
        small_node(10.0, FILES_OF_FEW) as node,
    ):
        node.pass_until_entered()
        node.collector._stage_seconds = 0.01
        assert node.collect()["reading"] > 100
        for value in range(100, 110):
            pod.write(SOMAXCONN, str(value))
            assert node.collect()["reading"]
            assert node.somaxconn(pod) == str(value)

        changed = [held(attacker, number) for number in (0, 399)]
        for netns in changed:
            netns.write(SOMAXCONN, "7")
        for _ in range(100):
            node.collect()
        assert [node.somaxconn(netns) for netns in changed] == ["7", "7"]


def test_a_namespace_with_a_reused_inode_does_not_take_over_old_values() -> None:
    """The kernel gives the inode of a namespace that ended to the next one."""
    with small_node(10.0, FILES_OF_FEW) as node:
        with new_namespaces(100) as ended:
            inodes = {netns.ino for netns in ended}
            node.pass_until_entered()
            node.collector._stage_seconds = 0.0  # one of each stage in a pass
            node.collect()
        with namespace_among(inodes) as pod, cgroup(POD, pod.pid):
            for _ in range(50):
                node.collect()
                owned = [n for n in node.last.namespaces if n.owner.uid == UID]
                assert {n.id.cookie for n in owned} <= {pod.cookie}
            assert node.has_done_all()
            found = node.namespace(pod)
            assert found
            assert found.owner.uid == UID


@contextlib.contextmanager
def namespace_among(inodes: set[Ino]) -> Iterator[ProcessNetns]:
    """Make a namespace with one of *inodes*, which are being released."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            made = stack.enter_context(new_namespaces(len(inodes)))
            if found := [netns for netns in made if netns.ino in inodes]:
                yield found[0]
                return
            time.sleep(0.1)
    raise AssertionError(inodes)


def test_once_an_attack_ends_nothing_is_left_to_do() -> None:
    with small_node(0.05) as node:
        with many_namespaces(600), thread_netns():
            assert node.collect()["entering"]

        node.pass_until_entered()

        assert not any(node.collect().values())


def test_a_command_waits_for_all_of_it(tmp_path: Path) -> None:
    """No scrape waits for `snapshot`, so it defers nothing."""
    with many_namespaces(600):
        done = subprocess.run(
            [*COMMAND, "snapshot"], check=True, capture_output=True, cwd=tmp_path
        )

    snapshot = parse_snapshot(done.stdout, "output")
    assert len(snapshot.namespaces) >= 600
    assert not any(snapshot.stats.deferred.values())


@contextlib.contextmanager
def systemd(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Receive what services send to systemd; yield when the watchdog was fed."""
    fed: list[float] = []
    address = str(directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)

        def receive() -> None:
            while (state := receiver.recv(64)) != b"end":
                if state == b"WATCHDOG=1":
                    fed.append(time.monotonic())

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield fed
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"end", address)
            thread.join()


def test_scrapes_and_the_watchdog_go_on_during_an_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        systemd(tmp_path, monkeypatch) as fed,
        new_namespaces(400),
        started_pod() as pod,
        run_exporter(tmp_path) as exporter,
    ):

        def value(scrape: Exposition) -> float | None:
            return scrape.value("netns_sysctl_value", uid=UID, sysctl=SOMAXCONN)

        # its name may come during the grace
        wait_until(lambda: value(exporter.scrape()), MINUTE)

        def is_all_done() -> bool:
            scrape = exporter.scrape()
            assert value(scrape)
            deferred = scrape.samples("netns_collector_deferred")
            assert len(deferred) >= 5
            read = scrape.value("netns_namespaces", state="read")
            return not any(deferred.values()) and (read or 0) > 400

        wait_until(is_all_done, 3 * MINUTE)
        assert os.path.exists(pod.path)
        assert len(fed) > 1
        assert max(b - a for a, b in itertools.pairwise(fed)) < 15


SHORT_LIMITS = """
import sys
from exporter.cli.main import main
from exporter.daemon import collector_process, watchdog
collector_process.IDLE_SECONDS, watchdog.PASS_SECONDS = 0.5, 3.0
sys.exit(main())
"""


def test_a_collector_that_makes_no_pass_is_unhealthy(tmp_path: Path) -> None:
    command = (sys.executable, "-c", SHORT_LIMITS)
    with run_exporter(tmp_path, command=command) as exporter:

        def health() -> int:
            return exporter.get("/-/healthy")[0]

        wait_until(lambda: health() == 200)
        exporter.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: health() == 503, MINUTE)
            assert b"the last collection was" in exporter.get("/-/healthy")[2]
        finally:
            exporter.process.send_signal(signal.SIGCONT)

        wait_until(lambda: health() == 200, MINUTE)
