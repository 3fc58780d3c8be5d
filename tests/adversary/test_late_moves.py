"""What moves late is found within a minute, among many other processes."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config
from exporter.model import Snapshot
from testing.lab import joined_process, new_namespaces
from testing.processes import idle_processes
from tests.support.clock import Clock

pytestmark = pytest.mark.root

OTHERS = 4500
SCRAPE_SECONDS, SCRAPES_PER_MINUTE = 15.0, 4

LATE = """
import ctypes, os, sys, threading
libc = ctypes.CDLL(None)
def unshare():
    libc.unshare(0x40000000)
    print(os.stat("/proc/thread-self/ns/net").st_ino, flush=True)
    threading.Event().wait()
sys.stdin.readline()
if sys.argv[1] == "thread":
    threading.Thread(target=unshare, daemon=True).start()
    threading.Event().wait()
unshare()
"""


class Node:
    """A collector that is scraped at intervals of a clock of its own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.collector = Collector(Config(), grace=0, clock=self.clock)

    def scrape(self) -> set[int]:
        """Return the inodes of the namespaces that a scrape finds."""
        self.clock.now += SCRAPE_SECONDS
        encoded = msgspec.json.encode(self.collector.collect())
        namespaces = msgspec.json.decode(encoded, type=Snapshot).namespaces
        return {namespace.id.ino for namespace in namespaces}

    def scrape_for_a_minute(self) -> set[int]:
        """Return the inodes of the namespaces that the last scrape finds."""
        return [self.scrape() for _ in range(SCRAPES_PER_MINUTE)][-1]


@contextlib.contextmanager
def process_that_unshares(kind: str) -> Iterator[Callable[[], int]]:
    """Yield a function that has it unshare, and returns the inode of the namespace."""
    command = [sys.executable, "-I", "-S", "-c", LATE, kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:

        def unshare() -> int:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            yield unshare
        finally:
            process.kill()


@pytest.fixture
def node() -> Iterator[Node]:
    """Return a node with many processes, which the collector has found."""
    with idle_processes() as fork:
        fork(OTHERS)
        node = Node()
        node.scrape()
        yield node
        node.collector.close()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_what_unshares_late_is_found(node: Node, kind: str) -> None:
    with process_that_unshares(kind) as unshare:
        node.scrape_for_a_minute()
        ino = unshare()

        assert ino in node.scrape_for_a_minute()


def test_a_member_that_moves_or_ends_is_no_longer_one(node: Node) -> None:
    """While others, with a lower pid, keep the namespace."""
    members = node.collector._processes.members
    with (
        new_namespaces() as (pod,),
        joined_process(pod) as moving,
        joined_process(pod) as ending,
    ):
        ino = pod.ino
        node.scrape_for_a_minute()
        assert members.pids_by_netns[ino] == {pod.pid, moving.pid, ending.pid}
        moving.leave()
        ending.end()

        node.scrape_for_a_minute()

        assert members.pids_by_netns[ino] == {pod.pid}
