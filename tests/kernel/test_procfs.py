"""Reading and parsing /proc, and what may go wrong."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exporter
from exporter.kernel.procfs import (
    MOUNTS_PER_NETNS,
    MountWatch,
    NsMount,
    Procfs,
    find_netns_mounts,
    own_credentials,
    parse_effective_capabilities,
    parse_netns_link,
    parse_stat,
)
from exporter.model import Ino
from testing.lab import new_namespaces
from tests.support.fakeproc import HOST_INO, HOST_MNT, FakeProc


def test_processes_are_the_numeric_names_in_proc(fake_proc: FakeProc) -> None:
    fake_proc.process(1)
    fake_proc.process(4711)
    (fake_proc.root / "self").symlink_to("1")
    (fake_proc.root / "sys").mkdir()

    assert fake_proc.procfs.processes().keys() == {1, 4711}


def test_a_process_keeps_its_inode() -> None:
    inode = Procfs().processes()[os.getpid()]

    assert inode == Procfs().processes()[os.getpid()]
    assert inode == Procfs().proc_inode(os.getpid())


def test_a_plain_tree_is_not_our_pid_namespace(fake_proc: FakeProc) -> None:
    """Its loadavg, if it had one, would be that of another machine."""
    fake_proc.process(1)
    assert not fake_proc.procfs.is_own_pid_namespace()
    assert fake_proc.procfs.last_pid() is None


@pytest.mark.parametrize(
    ("text", "last"),
    [(b"0.5 0.4 0.3 1/84 4242\n", 4242), (b"0 0 0 0/0 0\n", None), (b"", None)],
)
def test_the_last_pid_is_the_last_word_of_loadavg(
    fake_proc: FakeProc, text: bytes, last: int | None
) -> None:
    (fake_proc.root / "loadavg").write_bytes(text)

    assert fake_proc.procfs.last_pid() == last


REUSE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from exporter.kernel.procfs import Procfs

def inode_of_a_process_with_pid_500():
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write("499")
    if os.fork() == 0:
        os.execv("/bin/sleep", ["sleep", "60"])
    inode = Procfs().processes()[500]
    os.kill(500, 9)
    os.waitpid(500, 0)
    return inode

print(len({inode_of_a_process_with_pid_500() for _ in range(20)}))
"""


@pytest.mark.root
def test_a_reused_pid_has_another_inode() -> None:
    """In a new pid namespace, where the test chooses the next pid."""
    own_pids = ("unshare", "--fork", "--pid", "--mount-proc")
    root = Path(exporter.__file__).parents[1]

    out = subprocess.run(
        [*own_pids, sys.executable, "-c", REUSE, str(root)],
        check=True,
        capture_output=True,
    )

    assert int(out.stdout) == 20


def test_a_zombie_and_an_ended_process_are_in_no_namespace(fake_proc: FakeProc) -> None:
    fake_proc.process(7, netns=None)

    assert fake_proc.procfs.netns(7) is None
    assert fake_proc.procfs.netns(8) is None
    assert fake_proc.procfs.stat(8) is None
    assert fake_proc.procfs.cgroup(8) is None
    assert fake_proc.procfs.netns_mounts(8, 1000) == ([], 0, 0)
    assert fake_proc.procfs.mount_namespace(8) is None
    assert fake_proc.procfs.net_dev_inode(8) is None
    assert fake_proc.procfs.other_threads(8) == []


def test_namespaces_are_read_from_links(fake_proc: FakeProc) -> None:
    fake_proc.process(7)
    fake_proc.thread(7, 9, 555)

    assert fake_proc.procfs.netns(7) == HOST_INO
    assert fake_proc.procfs.thread_netns((7, 9)) == 555
    assert fake_proc.procfs.mount_namespace(7) == HOST_MNT
    assert fake_proc.procfs.other_threads(7) == [9]


@pytest.mark.root
def test_a_single_threaded_process_has_no_other_threads() -> None:
    with new_namespaces() as (pod,):
        assert Procfs().other_threads(pod.pid) == []


@pytest.mark.parametrize("comm", [b"sh", b"a) S 1 (b", b"\xff\xfe", b"x\ny", b""])
def test_comm_may_contain_anything(fake_proc: FakeProc, comm: bytes) -> None:
    fake_proc.process(7, comm=comm, start_time=42)

    stat = fake_proc.procfs.stat(7)

    assert stat is not None
    assert stat.start_time == 42
    assert stat.comm == comm.decode("utf-8", "backslashreplace")
    stat.comm.encode("utf-8")


def test_a_cgroup_that_is_not_utf8_is_escaped(fake_proc: FakeProc) -> None:
    fake_proc.process(7, cgroup=b"0::/\xff\xfe\n")

    assert fake_proc.procfs.cgroup(7) == "0::/\\xff\\xfe\n"


@pytest.mark.machine
@pytest.mark.usefixtures("kernel_threads")
def test_kernel_threads_are_recognized() -> None:
    procfs = Procfs()

    kthreadd, own = procfs.stat(2), procfs.stat(os.getpid())

    assert own
    assert not own.kernel_thread
    assert kthreadd
    assert kthreadd.kernel_thread


@given(st.binary())
def test_any_bytes_are_a_stat_or_none(text: bytes) -> None:
    parse_stat(text)


@given(st.text())
def test_any_link_is_an_inode_or_none(link: str) -> None:
    assert parse_netns_link(link) is None or "net:[" in link or link.isdigit()


@given(st.binary())
def test_any_bytes_are_mounts(text: bytes) -> None:
    list(find_netns_mounts(text + b" - nsfs \n" + text, Counter()))


def test_only_mounts_of_network_namespaces_are_returned() -> None:
    text = (
        b"1 2 0:4 mnt:[7] /run/mnt rw - nsfs nsfs rw\n"
        b"1 2 0:4 net:[8] /run/netns/a rw shared:3 - nsfs nsfs rw\n"
        b"1 2 8:1 /net:[9] /data rw - ext4 /dev/sda rw\n"
    )

    found = list(find_netns_mounts(text, Counter()))

    assert found == [NsMount(ino=Ino(8), path="/run/netns/a")]


def test_a_source_or_an_option_does_not_pass_for_a_root() -> None:
    text = (
        b"1 2 0:9 / /a rw - tmpfs net:[8] /b rw - nsfs nsfs rw\n"
        b"1 2 0:4 net:[9] /c rw - nsfs nsfs rw\n"
    )

    (mount,) = find_netns_mounts(text, Counter())

    assert mount.path == "/c"


def test_the_first_mounts_of_each_namespace_are_returned_and_the_others_counted(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(7)
    for number in range(MOUNTS_PER_NETNS + 2):
        fake_proc.mount(7, 8, f"/many/{number}")
    fake_proc.mount(7, 9, "/single")

    table = fake_proc.procfs.netns_mounts(7, 1 << 20)

    paths = [f"/many/{number}" for number in range(MOUNTS_PER_NETNS)]
    assert [mount.path for mount in table.mounts] == [*paths, "/single"]
    assert table.surplus == 2


def test_a_mount_path_is_unescaped_and_may_contain_any_byte() -> None:
    text = b"1 2 0:4 net:[8] /a\\040b\\012\xff rw - nsfs nsfs rw\n"

    (mount,) = find_netns_mounts(text, Counter())

    assert os.fsencode(mount.path) == b"/a b\n\xff"


def test_capabilities_are_the_effective_ones() -> None:
    assert (
        parse_effective_capabilities(b"CapInh:\t1\nCapEff:\t0a\nCapBnd:\tff\n") == 0xA
    )
    assert own_credentials().effective >= 0


@pytest.mark.root
@pytest.mark.usefixtures("mounts_of_init")
def test_a_mount_is_detected_without_reading(tmp_path: Path) -> None:
    watch = MountWatch(Procfs())
    watch.changed()

    assert not watch.changed()
    target = tmp_path / "netns"
    target.touch()
    os.system(f"mount --bind /proc/self/ns/net {target}")
    try:
        assert watch.changed()
        assert not watch.changed()
    finally:
        os.system(f"umount {target}")
        watch.close()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_denial_is_raised(
    fake_proc: FakeProc, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_path: str) -> str:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "readlink", refuse)

    with pytest.raises(PermissionError):
        fake_proc.procfs.netns(1)
