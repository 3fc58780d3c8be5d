"""Mounts are opened in the order of entry, some at a time; none outlives the block."""

import os
from collections.abc import Iterable, Iterator

import pytest

from exporter.discovery.doors import DOORS_AT_ONCE, Doors
from exporter.discovery.processes import ProcessTable
from exporter.kernel.netns import MountDoor
from exporter.model import Ino
from tests.support.fakeproc import FakeProc

COUNT = 2 * DOORS_AT_ONCE
FIRST = 500
INODES = [Ino(ino) for ino in range(FIRST, FIRST + COUNT)]


class Opener:
    """
    Takes the place of the file reader.

    Attributes:
        requests: the namespaces of each request.
        opened: every descriptor that it returned.
    """

    def __init__(self) -> None:
        self.requests: list[set[Ino]] = []
        self.opened: list[int] = []

    def __call__(self, doors: Iterable[MountDoor]) -> dict[Ino, int]:
        inodes = {door.ino for door in doors}
        self.requests.append(inodes)
        fds = {ino: os.open("/", os.O_RDONLY) for ino in inodes}
        self.opened += fds.values()
        return fds


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
def doors(fake_proc: FakeProc, opener: Opener) -> Iterator[Doors]:
    """Return the doors of a mount namespace with one mount of each namespace."""
    fake_proc.process(1)
    fake_proc.process(20, mntns="mnt:[9]")
    for ino in INODES:
        fake_proc.mount(20, ino, f"/{ino}")
    processes = ProcessTable(fake_proc.procfs, "/")
    processes.scan()
    processes.full_scan()
    yield Doors(processes.mounts, opener, lambda ino: ino != INODES[1])
    assert not any(is_open(fd) for fd in opener.opened)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_block_that_ends_early_has_opened_no_more_than_a_part(
    doors: Doors, opener: Opener
) -> None:
    with doors.block(INODES):
        assert opener.requests == []
        fd = doors.take(INODES[0])
        assert fd is not None
        os.close(fd)

    (requested,) = opener.requests
    assert requested == {INODES[0], *INODES[2 : DOORS_AT_ONCE + 1]}


def test_each_is_requested_once(doors: Doors, opener: Opener) -> None:
    with doors.block(INODES):
        for ino in INODES:
            if (fd := doors.take(ino)) is not None:
                os.close(fd)
            assert doors.take(ino) is None

    assert len(opener.requests) <= COUNT / DOORS_AT_ONCE + 2
    assert sum(map(len, opener.requests)) == COUNT


def test_one_that_is_needed_unexpectedly_is_opened_by_itself(
    doors: Doors, opener: Opener
) -> None:
    with doors.block([]):
        fd = doors.take(INODES[1])
        assert fd is not None
        os.close(fd)

    assert opener.requests == [{INODES[1]}]
