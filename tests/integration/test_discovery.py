"""Each network namespace of this node is found, once, and its owner is resolved."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config
from exporter.kernel.netns import EntryDeniedError, NetnsEntry, entered, own_netns
from exporter.model import Ino, Namespace, Snapshot
from testing.lab import (
    CLONE_NEWNET,
    CLONE_NEWUSER,
    add_veth,
    joined_process,
    named_netns,
    new_namespaces,
    privately_mounted_netns,
    thread_netns,
    wait_until,
)
from testing.running import COMMAND

pytestmark = pytest.mark.root


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector(Config(), grace=0)
    yield collector
    collector.close()


def snapshot(collector: Collector) -> Snapshot:
    encoded = msgspec.json.encode(collector.collect())
    return msgspec.json.decode(encoded, type=Snapshot)


def with_max_fds(limit: int) -> Config:
    sysctls = msgspec.structs.replace(Config().sysctls, max_fds=limit)
    return msgspec.structs.replace(Config(), sysctls=sysctls)


def collect(collector: Collector) -> dict[int, Namespace]:
    """Return the namespaces of a collection by their inodes."""
    namespaces = snapshot(collector).namespaces
    by_ino: dict[int, Namespace] = {netns.id.ino: netns for netns in namespaces}
    assert len(by_ino) == len(namespaces), "a namespace is listed twice"
    cookies = [netns.id.cookie for netns in namespaces]
    assert len(set(cookies)) == len(cookies), "a namespace is listed twice"
    return by_ino


def lsns() -> set[int]:
    """Return the inodes of namespaces with processes, as lsns lists them."""
    command = ("lsns", "--type", "net", "--noheadings", "--output", "NS")
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {int(word) for word in out.split()}


def mounted() -> set[int]:
    """Return the inodes of mounted namespaces."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    roots = (line.split()[3] for line in lines if " - nsfs " in line)
    return {int(root[5:-1]) for root in roots if root.startswith("net:[")}


def test_the_namespaces_found_are_those_of_lsns_and_those_mounted() -> None:
    with (
        new_namespaces(3),
        new_namespaces(2, flags=CLONE_NEWNET | CLONE_NEWUSER),
        named_netns("exporter-test-a"),
        named_netns("exporter-test-b"),
    ):

        def same() -> bool:
            collector = Collector(Config(), grace=0)
            try:
                return set(collect(collector)) == lsns() | mounted()
            finally:
                collector.close()

        wait_until(same)  # others may be created and deleted meanwhile


def test_a_namespace_of_a_single_thread_is_found() -> None:
    with thread_netns() as (pid, ino):
        collector = Collector(Config(), grace=0)

        netns = collect(collector)[ino]

        assert netns.state == "read"
        assert netns.owner.kind == "process"
        assert Path(f"/proc/{pid}/comm").read_text().startswith(netns.owner.comm)
        collector.close()


def test_a_namespace_mounted_only_in_another_mount_namespace_is_found(
    tmp_path: Path,
) -> None:
    with privately_mounted_netns(tmp_path / "blue") as (_, ino):
        collector = Collector(Config(), grace=0)

        netns = collect(collector)[ino]

        assert netns.state == "read"
        assert netns.owner.netns == "named/blue"
        collector.close()


@pytest.mark.usefixtures("mounts_of_init")
def test_new_namespaces_are_found_at_the_next_collection(collector: Collector) -> None:
    collector.collect()
    with new_namespaces() as (pod,), named_netns("exporter-test-late") as mount:
        now = collect(collector)

        assert now[pod.ino].owner.evidence == "comm"
        assert now[mount.ino].owner.netns == "named/exporter-test-late"


def test_a_namespace_created_inside_another_is_found(collector: Collector) -> None:
    with new_namespaces() as (outer,):
        enter = ("nsenter", "-t", str(outer.pid), "--net")
        command = (*enter, "unshare", "--net", "sleep", "infinity")
        with subprocess.Popen(command) as process:
            link = Path(f"/proc/{process.pid}/ns/net")
            former = {own_netns(), outer.ino}
            wait_until(lambda: link.stat().st_ino not in former)

            now = collect(collector)

            assert now[outer.ino].state == "read"
            assert now[link.stat().st_ino].state == "read"
            process.kill()


def test_the_host_comes_first_and_only_once(collector: Collector) -> None:
    first, *others = snapshot(collector).namespaces

    assert first.owner.kind == "host"
    assert first.id.ino == own_netns()
    assert all(netns.owner.kind != "host" for netns in others)


def test_a_deleted_namespace_is_not_mistaken_for_a_new_one_with_its_inode(
    collector: Collector,
) -> None:
    """The kernel reuses inodes at once; values and cookies are of the new namespace."""
    seen: dict[int | None, str] = {}
    for number in range(30):
        with new_namespaces() as (pod,):
            pod.write("net.core.somaxconn", str(1000 + number))

            netns = collect(collector)[pod.ino]

            assert netns.readings[0] == str(1000 + number)
            assert netns.id.cookie == pod.cookie
            seen[netns.id.cookie] = str(netns.readings[0])
        wait_until(
            lambda: all(n.id.cookie not in seen for n in collect(collector).values())
        )
    assert len(seen) == 30


def test_a_new_process_that_unshares_is_found_in_its_new_namespace() -> None:
    """Before the next full scan: a runtime unshares right after its fork."""
    collector = Collector(Config(), grace=0)
    command = ("sh", "-c", "read go; exec unshare --net sleep infinity")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        collector.collect()
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        link = Path(f"/proc/{process.pid}/ns/net")
        wait_until(lambda: link.stat().st_ino != own_netns())

        assert link.stat().st_ino in collect(collector)
        process.kill()
    collector.close()


def test_without_any_open_file_all_values_are_read() -> None:
    collector = Collector(with_max_fds(0), grace=0)
    with new_namespaces(2) as (first, second):
        first.write("net.core.somaxconn", "11")
        second.write("net.core.somaxconn", "12")
        collector.collect()
        first.write("net.core.somaxconn", "13")

        now = collect(collector)

        assert now[first.ino].readings[0] == "13"
        assert now[second.ino].readings[0] == "12"
        latest = snapshot(collector)
        assert latest.stats.fds == latest.stats.bound == 0
        assert latest.stats.visited >= 3 * len(latest.sysctls) - 10
        assert "fd_budget" in {problem.what for problem in latest.problems}
        cookie = first.cookie
        first.kill()
        wait_until(
            lambda: cookie not in {n.id.cookie for n in collect(collector).values()}
        )
    collector.close()


def test_a_namespace_is_not_read_through_a_process_that_left_it() -> None:
    collector = Collector(with_max_fds(100), grace=0)
    with new_namespaces(20) as pods, joined_process(pods[-1]) as visitor:
        for pod in pods:
            pod.write("net.core.somaxconn", "11")
        collector.collect()
        ino = pods[-1].ino
        collector._access.close_pidfd(ino)
        collector._access._pidfds[ino] = os.pidfd_open(visitor.pid)
        visitor.leave()

        now = collect(collector)

        assert {now[pod.ino].readings[0] for pod in pods} == {"11"}
    collector.close()


def test_a_deleted_namespace_leaves_no_file_open() -> None:
    collector = Collector(Config(), grace=0)
    with new_namespaces(3) as pods:
        collector.collect()
        before = snapshot(collector).stats
        ended = pods[0]
        with entered(ended.path, ended.ino):
            fd = os.open("/proc/sys/net/core/somaxconn", os.O_RDONLY)
        ended.kill()
        wait_until(lambda: not is_readable(fd))
        os.close(fd)

        now = snapshot(collector).stats

        assert now.bound < before.bound
        assert now.fds - now.bound == before.fds - before.bound - 1  # its pidfd
    collector.close()


def is_readable(fd: int) -> bool:
    try:
        return bool(os.pread(fd, 64, 0))
    except FileNotFoundError:
        return False


def test_a_namespace_that_cannot_be_entered_is_dropped_with_its_last_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No open file of it reports its deletion."""
    with new_namespaces(2) as pods:
        inodes = {pod.ino for pod in pods}
        real = NetnsEntry.enter

        def refuse(entry: NetnsEntry, path: str, ino: Ino) -> None:
            if ino in inodes:
                raise EntryDeniedError("setns", PermissionError(1, "refused"))
            real(entry, path, ino)

        monkeypatch.setattr(NetnsEntry, "enter", refuse)
        now = [0.0]
        collector = Collector(Config(), grace=0, clock=lambda: now[0])
        for _ in range(4):
            now[0] += 3  # no process is recent any more
            assert inodes <= {netns.id.ino for netns in snapshot(collector).namespaces}
        deleted = pods[0].ino
        pods[0].kill()
        wait_until(lambda: not os.path.exists(f"/proc/{pods[0].pid}"))

        assert deleted not in {netns.id.ino for netns in snapshot(collector).namespaces}
        collector.close()


def test_a_small_budget_is_redistributed_when_namespaces_are_deleted() -> None:
    now = [0.0]
    collector = Collector(with_max_fds(120), grace=0, clock=lambda: now[0])
    with new_namespaces(6) as pods:
        collector.collect()
        before = snapshot(collector).stats
        assert before.bound < before.fds <= before.fd_limit == 120
        assert before.visited > 0
        for pod in pods:
            pod.kill()
        wait_until(lambda: len(collect(collector)) <= 2)
        now[0] += 61

        collector.collect()
        assert snapshot(collector).stats.visited == 0
    collector.close()


def test_values_are_current_when_only_some_files_fit_the_budget() -> None:
    """60 namespaces have 2,500 files: the budget is a quarter of that."""
    collector = Collector(with_max_fds(630), grace=0)
    name = "net.ipv4.tcp_fin_timeout"
    with new_namespaces(60) as pods:
        for turn in (1, 2):
            for number, pod in enumerate(pods):
                pod.write(name, str(1000 * turn + number))

            latest = snapshot(collector)

            at = [sysctl.name for sysctl in latest.sysctls].index(name)
            values = {n.id.ino: n.readings[at] for n in latest.namespaces}
            for number, pod in enumerate(pods):
                assert values[pod.ino] == str(1000 * turn + number)
            stats = latest.stats
            assert stats.fds <= stats.fd_limit == 630
            assert stats.bound + stats.visited > 60 * (len(latest.sysctls) - 10)
            assert "fd_budget" in {problem.what for problem in latest.problems}
    collector.close()


def test_a_snapshot_and_explain_have_the_addresses_of_a_namespace() -> None:
    with new_namespaces() as (netns,):
        add_veth(netns.pid)
        netns.run("ip", "address", "add", "192.0.2.7/24", "dev", "e0")
        netns.run("ip", "link", "set", "e0", "up")
        namespaces = json.loads(output("snapshot"))["namespaces"]
        explained = output("explain", str(netns.pid))
        ino = netns.ino

    (encoded,) = (n for n in namespaces if n["id"]["ino"] == ino)
    links = {link["name"]: link for link in encoded["links"]}
    assert links["e0"]["addresses"][0] == "192.0.2.7/24"
    assert links["e0"]["up"]
    assert not links["lo"]["up"]
    assert "e0: 192.0.2.7/24" in explained


def output(*arguments: str) -> str:
    command = (*COMMAND, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
