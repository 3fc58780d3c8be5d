"""The one door: the right namespace or none, home again, nothing left behind."""

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


def test_inside_is_another_namespace_and_afterwards_is_home() -> None:
    home = SOMAXCONN.read_text()
    with new_namespaces() as (pod,):
        pod.write("net.core.somaxconn", "77")

        with entered(pod.path, pod.ino):
            assert SOMAXCONN.read_text() == "77\n"

        assert SOMAXCONN.read_text() == home


def test_home_again_after_an_exception() -> None:
    ours = own_netns()
    with new_namespaces() as (pod,):
        with pytest.raises(ZeroDivisionError), entered(pod.path, pod.ino):
            _ = 1 / 0

        assert own_netns() == ours


def test_a_door_to_another_namespace_is_not_entered() -> None:
    with new_namespaces(2) as (pod, other):
        with pytest.raises(NetnsGoneError), entered(pod.path, other.ino):
            pytest.fail("entered")

        assert own_netns() != pod.ino


def test_a_dead_process_is_no_door() -> None:
    with new_namespaces() as (pod,):
        ino = pod.ino
        pod.kill()

        with pytest.raises(NetnsGoneError), entered(pod.path, ino):
            pytest.fail("entered")


def test_a_mount_is_a_door() -> None:
    with named_netns("exporter-test-door") as mount, entered(mount.path, mount.ino):
        assert own_netns() == mount.ino


@pytest.mark.parametrize("kind", ["fifo", "symlink", "file", "nothing"])
def test_a_mount_point_that_was_replaced_is_gone_and_not_waited_for(
    tmp_path: Path, kind: str
) -> None:
    door = tmp_path / "door"
    if kind == "fifo":
        os.mkfifo(door)
    elif kind == "symlink":
        door.symlink_to("/dev/null")
    elif kind == "file":
        door.touch()

    with pytest.raises(NetnsGoneError), entered(str(door), Ino(1)):
        pytest.fail("entered")


def test_a_thousand_visits_leave_nothing_open() -> None:
    with new_namespaces() as (pod,):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(1000):
            with entered(pod.path, pod.ino):
                pass
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_visit_does_not_keep_a_namespace_alive() -> None:
    with new_namespaces() as (pod,):
        add_veth(pod.pid, "exptest0")
        with entered(pod.path, pod.ino):
            pass
        pod.kill()

        wait_until(lambda: not os.path.exists("/sys/class/net/exptest0"))


def test_what_keeps_us_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _nstype: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with new_namespaces() as (pod,):
        monkeypatch.setattr(netns, "setns", refuse)

        with pytest.raises(EntryDeniedError) as told, entered(pod.path, pod.ino):
            pytest.fail("entered")

        assert told.value.step == "setns"


def test_who_could_not_come_home_does_not_leave() -> None:
    """In a user namespace that does not own the network namespace it lives in."""
    play = """
from exporter.kernel.netns import EntryDeniedError, new_netns
try:
    with new_netns():
        print("left")
except EntryDeniedError as error:
    print(error.step)
"""
    command = ("unshare", "--user", "--map-root-user", sys.executable, "-c", play)

    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)

    assert out.stdout == "setns\n"


def no_way(_fd: int, _nstype: int) -> None:
    raise PermissionError(1, "no way home")


def test_who_cannot_come_home_ends() -> None:
    """In a process of its own, since it is the process that ends."""
    if (child := os.fork()) == 0:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
        with new_namespaces() as (pod,), entered(pod.path, pod.ino):
            vars(netns)["setns"] = no_way
        os._exit(0)

    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == os.EX_SOFTWARE
