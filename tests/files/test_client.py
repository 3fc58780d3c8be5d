"""What a pass requests of the file reader, and how long it waits for that."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec
import pytest

from exporter.files.client import FIRST_PAUSE_SECONDS, FileReaderClient, Pauses
from exporter.files.connection import (
    MAX_REQUEST_BYTES,
    RESTART_SECONDS,
    FileReaderConnection,
)
from exporter.files.records import (
    DOOR_REPLY,
    ContainerKey,
    DoorStatus,
    FileReply,
    FileRequest,
    Lookup,
)
from exporter.kernel.netns import MountDoor
from exporter.model import Ino
from exporter.privsep.framing import FrameBuffer, send_frame
from tests.support.clock import Clock

pytestmark = pytest.mark.usefixtures("no_leaked_files")

KEY, OTHER = ContainerKey("c", "a1"), ContainerKey("c", "b2")
NETNS = Ino(555)
DOOR = MountDoor(NETNS, ("/",), "/x/blue", 1)
PATIENCE = 0.05


class Node:
    """A client, and the other end of its connection."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self.clock = Clock()
        self.starts = 0
        self.sockets: list[socket.socket] = []
        self._requests = FrameBuffer(MAX_REQUEST_BYTES)
        connection = FileReaderConnection((), self.start, self.clock)
        self.client = FileReaderClient(connection, patience, self.clock)

    def start(
        self, _role: str, inherited: Iterable[socket.socket], _arguments: Iterable[str]
    ) -> tuple[int, socket.socket]:
        ours, theirs = socket.socketpair()
        (doors,) = (sock.dup() for sock in inherited)
        theirs.settimeout(0)
        self.sockets += [theirs, doors]
        self.starts += 1
        self.reply(FileReply(is_first=True))
        return 1 << 30, ours  # no process has this pid

    @property
    def requests(self) -> list[FileRequest]:
        """Take the requests that have arrived."""
        self._requests.receive(self.sockets[-2])
        frames = self._requests.frames()
        return [msgspec.json.decode(body, type=FileRequest) for body in frames]

    def reply(self, reply: FileReply) -> None:
        send_frame(self.sockets[-2], msgspec.json.encode(reply))

    def reply_door(self, status: DoorStatus, *fds: int) -> None:
        socket.send_fds(self.sockets[-1], [DOOR_REPLY.pack(NETNS, status)], fds)

    def end(self) -> None:
        for sock in self.sockets[-2:]:
            sock.close()

    def waited(self, work: Callable[[], object]) -> float:
        started = time.monotonic()
        work()
        return time.monotonic() - started


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.client.close()
    node.end()


def look_up(node: Node, key: ContainerKey = KEY) -> None:
    node.client.look_up(Lookup(key=key))


def test_nothing_is_started_without_a_request(node: Node) -> None:
    node.client.start_pass()
    node.client.replies()

    assert not node.client.wait()
    assert node.client.open_doors([]) == {}
    assert node.starts == 0
    assert list(node.client.problems()) == []


class TestLookups:
    def test_a_container_is_looked_up_once_a_pass(self, node: Node) -> None:
        node.client.start_pass()
        look_up(node)
        node.client.wait()
        look_up(node)
        node.client.wait()

        (request,) = node.requests
        assert [lookup.key for lookup in request.lookups] == [KEY]

    def test_it_is_outstanding_until_it_is_answered(self, node: Node) -> None:
        look_up(node)
        look_up(node, OTHER)
        node.client.wait()
        assert node.client.outstanding == {KEY, OTHER}

        node.reply(FileReply(answered=(KEY,)))
        node.client.receive()

        assert node.client.outstanding == {OTHER}

    def test_a_pass_waits_for_an_answer_no_longer_than_it_may(self, node: Node) -> None:
        look_up(node)
        assert node.waited(node.client.wait) >= PATIENCE * 0.9

        look_up(node, OTHER)
        assert node.waited(node.client.wait) < PATIENCE, "once a pass"

    def test_what_did_not_answer_is_not_waited_for_again_soon(self, node: Node) -> None:
        look_up(node)
        node.client.wait()
        node.client.start_pass()
        assert node.waited(node.client.wait) < PATIENCE

        node.clock.now += FIRST_PAUSE_SECONDS

        assert node.waited(node.client.wait) >= PATIENCE * 0.9

    def test_what_answered_is_waited_for_again(self, node: Node) -> None:
        look_up(node)
        node.client.wait()
        node.reply(FileReply(answered=(KEY,)))
        node.client.start_pass()

        look_up(node)

        assert node.waited(node.client.wait) >= PATIENCE * 0.9


class TestDoors:
    def test_one_descriptor_that_is_sent_in_time_is_returned(self) -> None:
        node = Node(patience=20.0)
        fd = os.open("/dev/null", os.O_RDONLY)

        def reply() -> None:
            for _ in range(2):
                node.reply_door(DoorStatus.OPEN, fd)

        threading.Timer(0.05, reply).start()

        opened = node.client.open_doors([DOOR, DOOR])

        assert list(opened) == [NETNS]
        os.close(opened[NETNS])
        node.client.start_pass()  # which closes the second
        node.client.close()
        node.end()
        os.close(fd)

    def test_a_namespace_that_is_gone_is_not_waited_for(self) -> None:
        node = Node(patience=20.0)
        threading.Timer(0.05, lambda: node.reply_door(DoorStatus.GONE)).start()

        assert node.waited(lambda: node.client.open_doors([DOOR])) < 20

        node.client.close()
        node.end()

    def test_one_that_comes_late_is_closed(self, node: Node) -> None:
        node.client.start_pass()
        assert node.client.open_doors([DOOR]) == {}
        fd = os.open("/dev/null", os.O_RDONLY)
        before = len(os.listdir("/proc/self/fd"))
        node.reply_door(DoorStatus.OPEN, fd)

        node.client.receive()

        assert len(os.listdir("/proc/self/fd")) == before
        os.close(fd)

    def test_a_door_is_requested_once_while_it_is_not_answered(
        self, node: Node
    ) -> None:
        node.client.start_pass()
        node.client.open_doors([DOOR])
        node.client.start_pass()
        node.client.open_doors([DOOR])

        assert [r.doors for r in node.requests if r.doors] == [(DOOR,)]

    def test_one_that_hangs_is_a_problem_until_it_answers(self, node: Node) -> None:
        node.client.start_pass()
        node.client.open_doors([DOOR])
        node.reply_door(DoorStatus.HUNG)
        node.client.receive()
        (problem,) = node.client.problems()
        assert (problem.what, problem.count) == ("files_hung", 1)

        node.reply_door(DoorStatus.LATE)
        node.client.receive()

        assert list(node.client.problems()) == []

    def test_one_that_is_no_longer_mounted_is_no_problem(self, node: Node) -> None:
        node.client.start_pass()
        node.client.open_doors([DOOR])
        node.reply_door(DoorStatus.HUNG)
        node.client.receive()

        node.client.start_pass()
        node.client.start_pass()

        assert list(node.client.problems()) == []


class TestTheProcess:
    def test_every_pass_lets_it_poll(self, node: Node) -> None:
        look_up(node)
        node.client.wait()
        node.client.start_pass()

        assert [request.poll for request in node.requests] == [False, True]

    def test_what_hangs_is_a_problem(self, node: Node) -> None:
        look_up(node)
        node.client.wait()
        node.reply(FileReply(hung=("/proc/7/root/x",)))
        node.client.receive()

        (problem,) = node.client.problems()

        assert "/proc/7/root/x" in problem.detail

    def test_one_that_ended_is_replaced_after_a_pause(self, node: Node) -> None:
        look_up(node)
        node.client.wait()
        node.end()
        node.client.start_pass()
        assert node.client.outstanding == frozenset()
        look_up(node)
        node.client.wait()
        assert node.starts == 1

        node.clock.now += RESTART_SECONDS
        node.client.start_pass()
        look_up(node)
        node.client.wait()

        assert node.starts == 2
        assert any(reply.is_first for reply in node.client.replies())


def test_a_pause_doubles_until_it_ends() -> None:
    clock = Clock()
    pauses = Pauses(clock)
    for seconds in (10, 20, 40):
        pauses.pause("x")
        clock.now += seconds - 1
        assert pauses.is_paused("x")
        clock.now += 1
        assert not pauses.is_paused("x")
    pauses.end("x")
    pauses.pause("x")
    clock.now += 10

    assert not pauses.is_paused("x")
