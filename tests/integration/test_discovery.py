"""Every network namespace of this very node is found, once, and named."""

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


def found(collector: Collector) -> dict[int, Namespace]:
    everything = snapshot(collector).namespaces
    by_ino: dict[int, Namespace] = {one.id.ino: one for one in everything}
    assert len(by_ino) == len(everything), "a namespace is listed twice"
    cookies = [one.id.cookie for one in everything]
    assert len(set(cookies)) == len(cookies), "a namespace is listed twice"
    return by_ino


def lsns() -> set[int]:
    command = ("lsns", "--type", "net", "--noheadings", "--output", "NS")
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {int(word) for word in out.split()}


def mounted() -> set[int]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    roots = (line.split()[3] for line in lines if " - nsfs " in line)
    return {int(root[5:-1]) for root in roots if root.startswith("net:[")}


def test_what_is_found_is_what_lsns_shows_and_what_is_mounted() -> None:
    with (
        new_namespaces(3),
        new_namespaces(2, flags=CLONE_NEWNET | CLONE_NEWUSER),
        named_netns("exporter-test-a"),
        named_netns("exporter-test-b"),
    ):

        def same() -> bool:
            collector = Collector(Config(), grace=0)
            try:
                return set(found(collector)) == lsns() | mounted()
            finally:
                collector.close()

        wait_until(same)  # others come and go on a machine that is in use


def test_a_namespace_that_only_a_thread_lives_in_is_found() -> None:
    with thread_netns() as (pid, ino):
        collector = Collector(Config(), grace=0)

        one = found(collector)[ino]

        assert one.state == "read"
        assert one.owner.kind == "process"
        assert Path(f"/proc/{pid}/comm").read_text().startswith(one.owner.comm)
        collector.close()


def test_a_namespace_that_only_another_mount_namespace_holds_is_found(
    tmp_path: Path,
) -> None:
    with privately_mounted_netns(tmp_path / "blue") as (_, ino):
        collector = Collector(Config(), grace=0)

        one = found(collector)[ino]

        assert one.state == "read"
        assert one.owner.netns == "named/blue"
        collector.close()


@pytest.mark.usefixtures("mounts_of_init")
def test_new_ones_show_at_the_next_pass(collector: Collector) -> None:
    collector.collect()
    with new_namespaces() as (pod,), named_netns("exporter-test-late") as mount:
        now = found(collector)

        assert now[pod.ino].owner.evidence == "comm"
        assert now[mount.ino].owner.netns == "named/exporter-test-late"


def test_a_nested_namespace_is_one_of_its_own(collector: Collector) -> None:
    with new_namespaces() as (outer,):
        enter = ("nsenter", "-t", str(outer.pid), "--net")
        command = (*enter, "unshare", "--net", "sleep", "infinity")
        with subprocess.Popen(command) as process:
            link = Path(f"/proc/{process.pid}/ns/net")
            homes = {own_netns(), outer.ino}
            wait_until(lambda: link.stat().st_ino not in homes)

            now = found(collector)

            assert now[outer.ino].state == "read"
            assert now[link.stat().st_ino].state == "read"
            process.kill()


def test_the_host_comes_first_and_only_once(collector: Collector) -> None:
    first, *others = snapshot(collector).namespaces

    assert first.owner.kind == "host"
    assert first.id.ino == own_netns()
    assert all(one.owner.kind != "host" for one in others)


def test_a_dead_one_is_gone_and_its_inode_means_nothing(collector: Collector) -> None:
    """Namespaces reuse inodes at once: each has its own values and cookie."""
    seen: dict[int | None, str] = {}
    for number in range(30):
        with new_namespaces() as (pod,):
            pod.write("net.core.somaxconn", str(1000 + number))

            one = found(collector)[pod.ino]

            assert one.readings[0] == str(1000 + number)
            assert one.id.cookie == pod.cookie
            seen[one.id.cookie] = str(one.readings[0])
            ino = pod.ino
        wait_until(
            lambda: all(n.id.cookie not in seen for n in found(collector).values())
        )
        assert ino
    assert len(seen) == 30


def test_a_process_that_moves_is_found_where_it_went() -> None:
    """Without waiting for the recheck: a runtime unshares right after its fork."""
    collector = Collector(Config(), grace=0)
    command = ("sh", "-c", "read go; exec unshare --net sleep infinity")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        collector.collect()
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        link = Path(f"/proc/{process.pid}/ns/net")
        wait_until(lambda: link.stat().st_ino != own_netns())

        assert link.stat().st_ino in found(collector)
        process.kill()
    collector.close()


def test_a_budget_of_no_files_at_all_finds_and_reads_the_same() -> None:
    settings = msgspec.structs.replace(
        Config(), sysctls=msgspec.structs.replace(Config().sysctls, max_fds=0)
    )
    collector = Collector(settings, grace=0)
    with new_namespaces(2) as (one, two):
        one.write("net.core.somaxconn", "11")
        two.write("net.core.somaxconn", "12")
        collector.collect()
        one.write("net.core.somaxconn", "13")

        now = found(collector)

        assert now[one.ino].readings[0] == "13"
        assert now[two.ino].readings[0] == "12"
        said = snapshot(collector)
        assert said.stats.fds == said.stats.bound == 0
        assert said.stats.visited >= 3 * len(said.sysctls) - 10
        assert "fd_budget" in {problem.what for problem in said.problems}
        ino, cookie = one.ino, one.cookie
        one.kill()
        wait_until(
            lambda: cookie not in {n.id.cookie for n in found(collector).values()}
        )
        assert ino
    collector.close()


def test_without_files_a_process_that_moved_shows_nothing_of_where_it_is() -> None:
    settings = msgspec.structs.replace(
        Config(), sysctls=msgspec.structs.replace(Config().sysctls, max_fds=100)
    )
    collector = Collector(settings, grace=0)
    with new_namespaces(20) as pods, joined_process(pods[-1]) as visitor:
        for pod in pods:
            pod.write("net.core.somaxconn", "11")
        collector.collect()
        ino = pods[-1].ino
        collector._access.close_pidfd(ino)
        collector._access._pidfds[ino] = os.pidfd_open(visitor.pid)
        visitor.leave()

        now = found(collector)

        assert {now[pod.ino].readings[0] for pod in pods} == {"11"}
    collector.close()


def test_what_ended_leaves_no_file_open() -> None:
    collector = Collector(Config(), grace=0)
    with new_namespaces(3) as pods:
        collector.collect()
        before = snapshot(collector).stats
        ended = pods[0]
        with entered(ended.path, ended.ino):
            proof = os.open("/proc/sys/net/core/somaxconn", os.O_RDONLY)
        ended.kill()
        wait_until(lambda: not is_readable(proof))
        os.close(proof)

        now = snapshot(collector).stats

        assert now.bound < before.bound
        assert now.fds - now.bound == before.fds - before.bound - 1  # its pidfd
    collector.close()


def is_readable(fd: int) -> bool:
    try:
        return bool(os.pread(fd, 64, 0))
    except FileNotFoundError:
        return False


def test_one_that_may_not_be_entered_goes_with_its_last_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is held of it that would tell."""
    with new_namespaces(2) as pods:
        inodes = {pod.ino for pod in pods}
        real = NetnsEntry.enter

        def refuse(tour: NetnsEntry, door: str, ino: Ino) -> None:
            if ino in inodes:
                raise EntryDeniedError("setns", PermissionError(1, "refused"))
            real(tour, door, ino)

        monkeypatch.setattr(NetnsEntry, "enter", refuse)
        now = [0.0]
        collector = Collector(Config(), grace=0, clock=lambda: now[0])
        for _ in range(4):
            now[0] += 3  # nobody is young any more
            assert inodes <= {one.id.ino for one in snapshot(collector).namespaces}
        gone = pods[0].ino
        pods[0].kill()
        wait_until(lambda: not os.path.exists(f"/proc/{pods[0].pid}"))

        assert gone not in {one.id.ino for one in snapshot(collector).namespaces}
        collector.close()


def test_a_small_budget_is_shared_out_again_when_room_comes() -> None:
    settings = msgspec.structs.replace(
        Config(), sysctls=msgspec.structs.replace(Config().sysctls, max_fds=120)
    )
    now = [0.0]
    collector = Collector(settings, grace=0, clock=lambda: now[0])
    with new_namespaces(6) as pods:
        collector.collect()
        crowded = snapshot(collector).stats
        assert crowded.bound < crowded.fds <= crowded.fd_limit == 120
        assert crowded.visited > 0
        for pod in pods:
            pod.kill()
        wait_until(lambda: len(found(collector)) <= 2)
        now[0] += 61

        collector.collect()
        roomy = snapshot(collector).stats

        assert roomy.visited == 0
    collector.close()


def test_past_the_budget_every_value_is_right_at_each_pass() -> None:
    """60 namespaces want 2,500 files: a quarter of that is allowed."""
    settings = msgspec.structs.replace(
        Config(), sysctls=msgspec.structs.replace(Config().sysctls, max_fds=630)
    )
    collector = Collector(settings, grace=0)
    name = "net.ipv4.tcp_fin_timeout"
    with new_namespaces(60) as pods:
        for turn in (1, 2):
            for number, pod in enumerate(pods):
                pod.write(name, str(1000 * turn + number))

            said = snapshot(collector)

            at = [sysctl.name for sysctl in said.sysctls].index(name)
            values = {one.id.ino: one.readings[at] for one in said.namespaces}
            for number, pod in enumerate(pods):
                assert values[pod.ino] == str(1000 * turn + number)
            stats = said.stats
            assert stats.fds <= stats.fd_limit == 630
            assert stats.bound + stats.visited > 60 * (len(said.sysctls) - 10)
            assert "fd_budget" in {problem.what for problem in said.problems}
    collector.close()


def test_a_snapshot_and_explain_have_the_addresses_of_a_namespace() -> None:
    with new_namespaces() as (one,):
        add_veth(one.pid, "explain0")
        one.run("ip", "address", "add", "192.0.2.7/24", "dev", "e0")
        one.run("ip", "link", "set", "e0", "up")
        everything = json.loads(output("snapshot"))
        explained = output("explain", str(one.pid))
        ino = one.ino

    (found,) = (n for n in everything["namespaces"] if n["id"]["ino"] == ino)
    links = {link["name"]: link for link in found["links"]}
    assert links["e0"]["addresses"][0] == "192.0.2.7/24"
    assert links["e0"]["up"]
    assert not links["lo"]["up"]
    assert "e0: 192.0.2.7/24" in explained


def output(*words: str) -> str:
    command = (*COMMAND, *words)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
