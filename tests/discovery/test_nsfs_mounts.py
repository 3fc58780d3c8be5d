"""Mounts of namespaces are found in every mount namespace, and not read in vain."""

import errno

from exporter.discovery.nsfs_mounts import MAX_PRIVATE_MOUNTS, MOUNTINFO_BYTES
from exporter.discovery.processes import ProcessTable
from exporter.kernel.netns import MountDoor
from exporter.kernel.procfs import MOUNTS_PER_NETNS, NsMountTable, Procfs
from exporter.model import Ino
from tests.support.fakeproc import HOST_INO, FakeProc
from tests.support.process_table import ProcessTableWithMounts

POD, OTHER = Ino(555), Ino(777)


def test_mounts_of_pid_1_are_found_by_a_scan(fake_proc: FakeProc) -> None:
    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/blue")
    processes = ProcessTableWithMounts(fake_proc.procfs, "/host/")

    processes.scan()

    assert processes.mounts.init_paths[POD] == ["/run/netns/blue"]
    assert processes.mounts.netns_at("/run/netns/blue") == POD
    roots = ("/host/", f"{fake_proc.root}/1/root", "/")
    door = MountDoor(POD, roots, "/run/netns/blue", 1)
    assert list(processes.mounts.own_doors(POD)) == [door]
    assert list(processes.mounts.doors(POD)) == []


def test_a_mount_elsewhere_is_no_door_of_the_nodes_own(fake_proc: FakeProc) -> None:
    fake_proc.process(1)
    fake_proc.mount(1, POD, "/home/u/net")
    processes = ProcessTableWithMounts(fake_proc.procfs, "/")

    processes.scan()

    roots = ("/", f"{fake_proc.root}/1/root")
    assert list(processes.mounts.own_doors(POD)) == []
    assert list(processes.mounts.doors(POD)) == [
        MountDoor(POD, roots, "/home/u/net", 1)
    ]


def test_mounts_of_pid_1_are_read_again_only_if_they_changed(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    processes = ProcessTableWithMounts(fake_proc.procfs, "/")
    processes.scan()
    fake_proc.mount(1, POD, "/run/netns/blue")

    processes.scan()
    assert processes.namespaces() == {HOST_INO}

    processes.watch.has_changed = True
    processes.scan()
    assert POD in processes.namespaces()


def test_mounts_of_another_mount_namespace_are_found_by_a_full_scan(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    processes = ProcessTable(fake_proc.procfs, "/")
    fake_proc.process(20, mntns="mnt:[9]")
    fake_proc.process(21, mntns="mnt:[9]")
    fake_proc.mount(20, POD, "/run/netns/cni-1")
    processes.scan()

    processes.full_scan()

    (mount,) = processes.mounts.private_mounts[POD]
    assert mount == ("/run/netns/cni-1", 20, "mnt:[9]")
    root = f"{fake_proc.root}/20/root"
    assert list(processes.mounts.doors(POD)) == [
        MountDoor(POD, (root,), "/run/netns/cni-1", 20)
    ]


def test_a_mount_that_pid_1_sees_too_is_not_private(fake_proc: FakeProc) -> None:
    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/blue")
    fake_proc.process(20, mntns="mnt:[9]")
    fake_proc.mount(20, POD, "/run/netns/blue")
    processes = ProcessTableWithMounts(fake_proc.procfs, "/")
    processes.scan()

    processes.full_scan()

    assert POD not in processes.mounts.private_mounts


def test_mounts_that_could_not_be_read_are_read_again(fake_proc: FakeProc) -> None:
    class Failing(Procfs):
        fails = False

        def netns_mounts(self, pid: int, limit: int) -> NsMountTable:
            if self.fails:
                raise OSError(errno.ENOMEM, "no memory")
            return super().netns_mounts(pid, limit)

    fake_proc.process(1)
    fake_proc.mount(1, POD, "/run/netns/blue")
    procfs = Failing(str(fake_proc.root))
    processes = ProcessTableWithMounts(procfs, "/")
    processes.scan()
    fake_proc.mount(1, OTHER, "/run/netns/red")
    procfs.fails, processes.watch.has_changed = True, True
    processes.scan()
    assert processes.namespaces() == {HOST_INO, POD}
    assert processes.errors["failed"] == 1

    procfs.fails, processes.watch.has_changed = False, False
    processes.scan()

    assert processes.namespaces() == {HOST_INO, POD, OTHER}


def test_a_mount_table_beyond_the_limit_is_counted(fake_proc: FakeProc) -> None:
    """Any user can make 100,000 mounts; a full scan must stay short."""
    fake_proc.process(1)
    processes = ProcessTable(fake_proc.procfs, "/")
    home = fake_proc.process(20, mntns="mnt:[9]")
    line = b"1 2 0:1 / /some/where rw - tmpfs none rw\n"
    (home / "mountinfo").write_bytes(line * (MOUNTINFO_BYTES // len(line) + 9))
    fake_proc.mount(20, POD, "/beyond")
    fake_proc.process(21, mntns="mnt:[10]")
    fake_proc.mount(21, OTHER, "/within")
    processes.scan()

    processes.full_scan()

    assert processes.mounts.truncated == 1
    assert OTHER in processes.namespaces()
    assert POD not in processes.namespaces()


def test_mounts_beyond_a_few_of_each_namespace_are_counted(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    fake_proc.process(20, mntns="mnt:[9]")
    for pid in (1, 20):
        for number in range(MOUNTS_PER_NETNS + 5):
            fake_proc.mount(pid, POD + pid, f"/{number}")
    processes = ProcessTableWithMounts(fake_proc.procfs, "/")
    processes.scan()

    processes.full_scan()

    mounts = processes.mounts
    assert len(mounts.init_paths[Ino(POD + 1)]) == MOUNTS_PER_NETNS
    assert len(mounts.private_mounts[Ino(POD + 20)]) == MOUNTS_PER_NETNS
    assert mounts.surplus == 10


def test_mounts_in_many_mount_namespaces_are_kept_up_to_a_total(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    for pid in range(100, 100 + MAX_PRIVATE_MOUNTS + 5):
        fake_proc.process(pid, mntns=f"mnt:[{pid}]")
        fake_proc.mount(pid, POD, "/x")
    processes = ProcessTable(fake_proc.procfs, "/")
    processes.scan()

    processes.full_scan()

    assert len(processes.mounts.private_mounts[POD]) == MAX_PRIVATE_MOUNTS


def test_the_mounts_of_a_mount_namespace_go_with_its_last_process(
    fake_proc: FakeProc,
) -> None:
    fake_proc.process(1)
    home = fake_proc.process(20, mntns="mnt:[9]")
    fake_proc.mount(20, POD, "/x")
    processes = ProcessTable(fake_proc.procfs, "/")
    processes.scan()
    processes.full_scan()
    home.rename(fake_proc.root / "ended")

    processes.full_scan()

    assert POD not in processes.namespaces()
