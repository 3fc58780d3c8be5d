"""Entering the right namespace or none, returning, and leaving nothing open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import exporter
from exporter.kernel import netns
from exporter.kernel.netns import (
    EntryDeniedError,
    MountDoor,
    NetnsGoneError,
    entered,
    own_netns,
)
from exporter.model import Ino
from testing.lab import add_veth, named_netns, new_namespaces, wait_until

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("no_leaked_files")]

ROOT = Path(exporter.__file__).parents[1]
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")


def test_the_block_runs_in_the_namespace_and_the_thread_returns() -> None:
    own = SOMAXCONN.read_text()
    with new_namespaces() as (pod,):
        pod.write("net.core.somaxconn", "77")

        with entered(pod.path, pod.ino):
            assert SOMAXCONN.read_text() == "77\n"

        assert SOMAXCONN.read_text() == own


def test_the_thread_returns_after_an_exception() -> None:
    own = own_netns()
    with new_namespaces() as (pod,):
        with pytest.raises(ZeroDivisionError), entered(pod.path, pod.ino):
            _ = 1 / 0

        assert own_netns() == own


def test_a_path_to_another_namespace_is_not_entered() -> None:
    with new_namespaces(2) as (pod, other):
        with pytest.raises(NetnsGoneError), entered(pod.path, other.ino):
            pytest.fail("entered")

        assert own_netns() != pod.ino


def test_a_process_that_ended_cannot_be_entered_through() -> None:
    with new_namespaces() as (pod,):
        ino = pod.ino
        pod.kill()

        with pytest.raises(NetnsGoneError), entered(pod.path, ino):
            pytest.fail("entered")


def test_a_mount_can_be_entered() -> None:
    with named_netns("exporter-test-mount") as mount, entered(mount.path, mount.ino):
        assert own_netns() == mount.ino


class TestADoor:
    """A mount point, which may be replaced by anything."""

    @pytest.fixture
    def mount(self, tmp_path: Path) -> Path:
        """Make a directory whose entry `mount` is to be opened as a namespace."""
        (tmp_path / "deep").mkdir()
        return tmp_path / "deep/mount"

    def open(self, tmp_path: Path, ino: Ino, *more: str) -> int:
        roots = (str(tmp_path), *more)
        return netns.open_door(MountDoor(ino, roots, "/deep/mount", 1))

    def test_it_is_opened_by_its_path_below_a_root(
        self, tmp_path: Path, mount: Path
    ) -> None:
        mount.touch()
        with new_namespaces() as (pod,):
            subprocess.run(["mount", "--bind", pod.path, str(mount)], check=True)
            try:
                fd = self.open(tmp_path, pod.ino)
                assert os.fstat(fd).st_ino == pod.ino
                os.close(fd)
                with pytest.raises(NetnsGoneError):
                    self.open(tmp_path, Ino(pod.ino + 1))
            finally:
                subprocess.run(["umount", str(mount)], check=True)

    def test_the_first_root_that_has_it_counts(self, tmp_path: Path) -> None:
        with named_netns("exporter-test-mount") as named:
            door = MountDoor(named.ino, (str(tmp_path), "/"), named.path, 1)
            fd = netns.open_door(door)
            assert os.fstat(fd).st_ino == named.ino
            os.close(fd)

    @pytest.mark.parametrize("kind", ["fifo", "symlink", "file", "nothing"])
    def test_a_replaced_one_is_gone_and_does_not_block(
        self, tmp_path: Path, mount: Path, kind: str
    ) -> None:
        if kind == "fifo":
            os.mkfifo(mount)
        elif kind == "symlink":
            mount.symlink_to("/dev/null")
        elif kind == "file":
            mount.touch()

        with pytest.raises(NetnsGoneError):
            self.open(tmp_path, Ino(1))

    @pytest.mark.parametrize("where", ["last", "first"])
    def test_no_link_is_followed_to_the_very_namespace(
        self, mount: Path, where: str
    ) -> None:
        """It was no link when the mount was listed."""
        with named_netns("exporter-test-mount") as named:
            if where == "last":
                mount.symlink_to(named.path)
            else:
                mount.parent.rmdir()
                mount.parent.symlink_to("/run/netns")
            door = MountDoor(named.ino, ("/",), str(mount), 1)
            if where == "first":
                door = door._replace(path=f"{mount.parent}/exporter-test-mount")

            with pytest.raises(NetnsGoneError):
                netns.open_door(door)

    def test_a_fifo_is_not_opened(self, tmp_path: Path, mount: Path) -> None:
        """An open would wake its writer."""
        os.mkfifo(mount)
        with subprocess.Popen(["sh", "-c", f": > {mount}"]) as writer:
            for _ in range(50):
                with pytest.raises(NetnsGoneError):
                    self.open(tmp_path, Ino(1))

            assert writer.poll() is None
            writer.kill()


def test_a_thousand_entries_leave_no_file_open() -> None:
    with new_namespaces() as (pod,):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(1000):
            with entered(pod.path, pod.ino):
                pass
        assert len(os.listdir("/proc/self/fd")) == before


def test_an_entry_does_not_keep_a_namespace_alive() -> None:
    with new_namespaces() as (pod,):
        veth = add_veth(pod.pid)
        with entered(pod.path, pod.ino):
            pass
        pod.kill()

        wait_until(lambda: not veth.exists())


def test_a_denial_names_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _nstype: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with new_namespaces() as (pod,):
        monkeypatch.setattr(netns, "setns", refuse)

        with pytest.raises(EntryDeniedError) as denied, entered(pod.path, pod.ino):
            pytest.fail("entered")

        assert denied.value.step == "setns"


def test_a_thread_that_could_not_return_does_not_leave() -> None:
    """In a user namespace that does not own its network namespace."""
    script = """
from exporter.kernel.netns import EntryDeniedError, new_netns
try:
    with new_netns():
        print("left")
except EntryDeniedError as error:
    print(error.step)
"""
    command = ("unshare", "--user", "--map-root-user", sys.executable, "-c", script)

    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert out.stdout == "setns\n"


def refuse_return(_fd: int, _nstype: int) -> None:
    raise PermissionError(1, "denied")


def test_a_process_that_cannot_return_ends() -> None:
    """In a child of the test, since it ends."""
    if (child := os.fork()) == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        with new_namespaces() as (pod,), entered(pod.path, pod.ino):
            vars(netns)["setns"] = refuse_return
        os._exit(0)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == os.EX_SOFTWARE
