"""A proc mount of plain files and dangling symlinks, for Procfs to read."""

from pathlib import Path

from exporter.kernel.procfs import MountNsOwner, Procfs

HOST_INO = 4026531840
HOST_MNT = "mnt:[4026531841]"


class FakeProcfs(Procfs):
    """
    A Procfs whose mount namespaces belong to the node's root but for those of a test.

    Attributes:
        mount_owners: by pid; None if the process has ended.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.mount_owners: dict[int, MountNsOwner | None] = {}

    def mount_namespace_owner(self, pid: int) -> MountNsOwner | None:
        return self.mount_owners.get(pid, MountNsOwner(is_node=True, uid=0))


class FakeProc:
    """Builds the tree; `procfs` reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.procfs = FakeProcfs(str(root))

    def process(
        self,
        pid: int,
        *,
        netns: int | None = HOST_INO,
        mntns: str = HOST_MNT,
        comm: bytes = b"sh",
        parent: int = 1,
        start_time: int = 100,
        cgroup: bytes = b"0::/\n",
        kernel_thread: bool = False,
    ) -> Path:
        """Add a process; netns None makes a zombie, which has no links."""
        home = self.root / str(pid)
        (home / "ns").mkdir(parents=True)
        (home / "task" / str(pid)).mkdir(parents=True)
        if netns is not None:
            (home / "ns/net").symlink_to(f"net:[{netns}]")
            (home / "ns/mnt").symlink_to(mntns)
        flags = 0x00200000 if kernel_thread else 0
        fields = ["S", str(parent), "1", "1", "0", "-1", str(flags), *["0"] * 12]
        tail = " ".join([*fields, str(start_time), "0", "0\n"])
        (home / "stat").write_bytes(b"%d (%s) %s" % (pid, comm, tail.encode()))
        (home / "cgroup").write_bytes(cgroup)
        (home / "mountinfo").write_bytes(b"")
        return home

    def move(self, pid: int, netns: int) -> None:
        """Move a process to another namespace."""
        link = self.root / str(pid) / "ns/net"
        link.unlink()
        link.symlink_to(f"net:[{netns}]")

    def thread(self, pid: int, tid: int, netns: int) -> None:
        """Add a thread in a namespace of its own."""
        home = self.root / str(pid) / "task" / str(tid) / "ns"
        home.mkdir(parents=True)
        (home / "net").symlink_to(f"net:[{netns}]")

    def mount(self, pid: int, netns: int, path: str) -> None:
        """Mount a network namespace at *path* in the mount namespace of *pid*."""
        line = f"40 30 0:4 net:[{netns}] {path} rw shared:9 - nsfs nsfs rw\n"
        with (self.root / str(pid) / "mountinfo").open("ab") as file:
            file.write(line.encode())
