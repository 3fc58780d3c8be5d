"""The directories of supervisors, read in slices, with what hangs left out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.files import bundle_directory, foreign
from exporter.files.foreign import (
    MAX_DIRECTORIES,
    SCOPE_DIRECTORIES,
    ForeignDirectories,
    Found,
)
from exporter.files.records import (
    BundleDirectory,
    ContainerKey,
    FileReply,
    Lookup,
    Supervisor,
)
from exporter.files.workers import Job
from exporter.kernel.rootfs import RootDirectory
from exporter.runtimes.containerd import TASKS
from tests.support.builders import a_config
from tests.support.fakeproc import FakeProc
from tests.support.inline_files import InlineWorkers

SCOPE = "c" * 64


class HeldWorkers(InlineWorkers):
    """Starts each job, and runs it when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Job] = []

    def submit(self, job: Job) -> None:
        if all(other.key != job.key for other in self.held):
            self.held.append(job)

    def run(self) -> Job:
        job = self.held.pop(0)
        job.start()
        job.run()
        job.finish()
        return job


class Node:
    """A root with bundles, and the directories that are watched below it."""

    def __init__(self, fake: FakeProc, root: Path) -> None:
        self.fake, self.root = fake, root
        self.workers = HeldWorkers()
        self.directories = ForeignDirectories(fake.procfs, str(root), self.workers)

    def bundle(self, container_id: str, place: str = "a") -> Path:
        path = self.root / f"{place}{TASKS}k8s.io/{container_id}/config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(a_config())
        return path

    def found(
        self, place: str = "a", alive: Callable[[], bool] = lambda: True
    ) -> Found:
        path = f"/{place}{TASKS}k8s.io"
        directory = BundleDirectory(SCOPE, "containerd", path)
        return Found(directory, RootDirectory(str(self.root)), alive)

    def run_all(self) -> FileReply:
        while self.workers.held:
            self.workers.run()
        return self.directories.take_reply()


@pytest.fixture
def node(fake_proc: FakeProc, tmp_path: Path) -> Node:
    root = tmp_path / "root"
    root.mkdir()
    return Node(fake_proc, root)


def ids(reply: FileReply) -> list[str]:
    return sorted(c.container_id for change in reply.changes for c in change.containers)


def test_only_changes_are_sent(node: Node) -> None:
    node.bundle("one")
    node.directories.add([node.found()])
    node.directories.poll()
    assert ids(node.run_all()) == ["one"]

    gone = node.bundle("two").parent
    node.directories.poll()
    assert ids(node.run_all()) == ["two"]

    (gone / "config.json").unlink()
    gone.rmdir()
    node.directories.poll()
    (change,) = node.run_all().changes
    assert (change.containers, change.gone) == ((), ("two",))
    node.directories.poll()
    assert node.run_all() == FileReply()


def test_a_lookup_is_answered_when_its_directories_are_read(node: Node) -> None:
    key = ContainerKey(SCOPE, "one")
    node.bundle("one")
    node.directories.add([node.found("a"), node.found("b")])

    node.directories.look_up(Lookup(key=key))
    node.workers.run()
    assert node.directories.take_reply().answered == ()

    node.workers.run()
    assert node.directories.take_reply().answered == (key,)


def test_a_lookup_without_any_directory_is_answered_at_once(node: Node) -> None:
    key = ContainerKey(SCOPE, "one")

    node.directories.look_up(Lookup(key=key))

    assert node.directories.take_reply().answered == (key,)


def test_a_supervisor_shows_directories(node: Node) -> None:
    node.fake.process(20)
    home = node.fake.root / "20"
    (home / "cmdline").write_bytes(b"shim")
    (home / "cwd").symlink_to(f"/a{TASKS}k8s.io/one")
    (home / "root").symlink_to(node.root)
    node.bundle("one")
    inode = node.fake.procfs.proc_inode(20)
    assert inode
    supervisor = Supervisor(pid=20, inode=inode, uid=os.getuid(), trusted=True)
    key = ContainerKey(SCOPE, "one")

    node.directories.look_up(Lookup(key=key, supervisor=supervisor))

    reply = node.run_all()
    assert reply.answered == (key,)
    (change,) = reply.changes
    assert change.directory == BundleDirectory(
        SCOPE, "containerd", f"/a{TASKS}k8s.io", trusted=True
    )
    assert ids(reply) == ["one"]


def test_a_directory_ends_with_its_supervisor(node: Node) -> None:
    alive = [True]
    node.bundle("one")
    node.directories.add([node.found(alive=lambda: alive[0])])
    node.directories.poll()
    node.run_all()

    alive[0] = False
    node.directories.poll()

    (change,) = node.run_all().changes
    assert change.has_ended
    node.directories.poll()
    assert node.workers.held == []


def test_directories_are_bounded_for_each_scope_and_in_all(node: Node) -> None:
    node.directories.add(node.found(str(n)) for n in range(SCOPE_DIRECTORIES + 3))
    assert node.directories.take_reply().refused == 3

    for scope in range(MAX_DIRECTORIES // SCOPE_DIRECTORIES):
        node.directories.add(
            node.found(f"{scope}-{n}")._replace(
                directory=BundleDirectory(f"s{scope}", "runc", f"/{n}")
            )
            for n in range(SCOPE_DIRECTORIES)
        )
    assert node.directories.take_reply().refused == 3 + SCOPE_DIRECTORIES


class TestABudget:
    """A round reads for a limited CPU time, and the next goes on where it ended."""

    @pytest.fixture(autouse=True)
    def one_entry_a_slice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(foreign, "_SLICE_CPU_SECONDS", 0.0)

    def test_directories_take_turns(self, node: Node) -> None:
        for number in range(3):
            node.bundle(str(number), "a")
            node.bundle(f"b{number}", "b")
        node.directories.add([node.found("a"), node.found("b")])
        node.directories.poll()

        order = [node.workers.run().key for _ in range(6)]

        assert order == [node.found("a").directory, node.found("b").directory] * 3

    def test_what_does_not_fit_is_counted_and_read_in_the_next_round(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(foreign, "ROUND_CPU_SECONDS", 1e-9)
        monkeypatch.setattr(foreign, "ROUND_SECONDS", 0.0)
        monkeypatch.setattr(bundle_directory, "_SETTLED_NS", 0)
        for number in range(3):
            node.bundle(str(number))
        node.directories.add([node.found()])

        deferred, found = [], []
        for _ in range(4):
            node.directories.poll()
            reply = node.run_all()
            deferred.append(reply.deferred)
            found += ids(reply)

        assert deferred == [0, 1, 1, 0]
        assert found == ["0", "1", "2"]


class TestAHungEntry:
    """Its directory is read on without it."""

    def hang(self, node: Node, entry: str) -> Job:
        """Let a job hang while it reads *entry*, and go on without."""
        job = node.workers.held.pop(0)
        job.start()
        vars(job)["entry"] = entry
        job.refuse()
        return job

    def test_others_are_read(self, node: Node) -> None:
        node.bundle("bad")
        node.bundle("good")
        node.directories.add([node.found()])
        node.directories.look_up(Lookup(key=ContainerKey(SCOPE, "bad")))
        node.directories.look_up(Lookup(key=ContainerKey(SCOPE, "good")))

        self.hang(node, "bad")

        assert node.directories.take_reply().answered == (ContainerKey(SCOPE, "bad"),)
        reply = node.run_all()
        assert ids(reply) == ["good"]
        assert reply.answered == (ContainerKey(SCOPE, "good"),)

    def test_it_is_read_when_it_answers(self, node: Node) -> None:
        node.bundle("bad")
        node.directories.add([node.found()])
        node.directories.poll()
        job = self.hang(node, "bad")
        assert ids(node.run_all()) == []

        job.resume()

        assert ids(node.run_all()) == ["bad"]

    def test_what_was_known_of_it_stays(self, node: Node) -> None:
        node.bundle("bad")
        node.directories.add([node.found()])
        node.directories.poll()
        node.run_all()
        node.directories.poll()

        self.hang(node, "bad")

        assert node.run_all().changes == ()

    def test_a_directory_that_hangs_is_left_alone(self, node: Node) -> None:
        node.directories.add([node.found()])
        node.directories.look_up(Lookup(key=ContainerKey(SCOPE, "one")))

        self.hang(node, "")

        assert node.workers.held == []
        assert node.directories.take_reply().answered == (ContainerKey(SCOPE, "one"),)
