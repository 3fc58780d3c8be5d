"""Entering the right namespace or none, returning, and leaving nothing open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import exporter
from exporter.kernel import netns
from exporter.kernel.netns import EntryDeniedError, NetnsGoneError, entered, own_netns
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


@pytest.mark.parametrize("kind", ["fifo", "symlink", "file", "nothing"])
def test_a_replaced_mount_point_is_gone_and_does_not_block(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "mount"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to("/dev/null")
    elif kind == "file":
        path.touch()

    with pytest.raises(NetnsGoneError), entered(str(path), Ino(1)):
        pytest.fail("entered")


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
