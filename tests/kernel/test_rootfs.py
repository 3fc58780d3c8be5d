"""Files below an untrusted root are read, and none outside of it."""

import contextlib
import errno
import os
import socket
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from exporter.kernel.rootfs import FileContent, RootDirectory
from testing.lab import alarm, wait_until

pytestmark = pytest.mark.usefixtures("no_leaked_files")

NOBODY = 65534
PROC_ROOT = "/proc/self/root"
"""The root of a process with /proc below it, where magic links are."""


def at_most(seconds: float = 5.0) -> AbstractContextManager[None]:
    """Fail the test if the block takes longer."""
    return alarm(seconds, AssertionError(f"took more than {seconds} s"))


def errno_of(error: pytest.ExceptionInfo[OSError]) -> int | None:
    return error.value.errno


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a root directory with secrets/key beside it."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=["node", "process"])
def root(request: pytest.FixtureRequest) -> RootDirectory:
    """Return the same root, by open(2) of its path or by openat2(2)."""
    return RootDirectory("/" if request.param == "node" else PROC_ROOT)


class TestConfinement:
    """A link is resolved as for the programs of that root."""

    @pytest.mark.parametrize("up", ["", "..", "../" * 40])
    def test_a_link_never_leads_out(self, directory: Path, up: str) -> None:
        (directory / "link").symlink_to(f"{up}{directory.parent}/secrets")
        root = RootDirectory(str(directory))

        assert root.read("/link/key", 100) is None
        assert root.entries("/link", 9) == set()
        assert root.stamp("/link") is None

    def test_a_relative_link_never_leads_out(self, directory: Path) -> None:
        (directory / "link").symlink_to("../secrets/key")

        assert RootDirectory(str(directory)).read("/link", 100) is None

    @pytest.mark.parametrize(
        "path", ["/../secrets", "../secrets", "/a/../../secrets", "/../../../secrets"]
    )
    def test_a_path_never_leads_out(self, directory: Path, path: str) -> None:
        (directory / "a").mkdir()
        root = RootDirectory(str(directory))

        assert root.read(f"{path}/key", 100) is None
        assert root.entries(path, 9) == set()
        assert root.stamp(path) is None

    def test_an_absolute_link_starts_at_the_root(self, directory: Path) -> None:
        (directory / "data").mkdir()
        (directory / "data/key").write_bytes(b"own")
        (directory / "link").symlink_to("/data")
        root = RootDirectory(str(directory))

        found = root.read("/link/key", 100)

        assert found is not None
        assert found.body == b"own"
        assert root.entries("/link", 9) == root.entries("/data", 9) != set()
        assert root.stamp("/link") == root.stamp("/data")

    def test_parent_directories_end_at_the_root(self, directory: Path) -> None:
        (directory / "key").write_bytes(b"own")
        (directory / "link").symlink_to("../../../../../key")

        found = RootDirectory(str(directory)).read("/link", 100)

        assert found is not None
        assert found.body == b"own"

    @pytest.mark.parametrize("magic", ["root", "cwd", "fd/{}"])
    def test_a_magic_link_is_refused_even_below_the_root(
        self, directory: Path, magic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("/")
        fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
        path = f"/proc/self/{magic.format(fd)}{directory.parent}/secrets/key"
        (directory / "link").symlink_to(path)
        try:
            assert Path(path).read_bytes() == b"secret"
            for link in (path, f"{directory}/link"):
                with pytest.raises(OSError, match="openat2") as refused:
                    RootDirectory(PROC_ROOT).read(link, 100)
                assert errno_of(refused) == errno.ELOOP
        finally:
            os.close(fd)

    def test_a_loop_of_links_is_an_error(self, directory: Path) -> None:
        (directory / "a").symlink_to("b")
        (directory / "b").symlink_to("a")

        with pytest.raises(OSError, match="openat2") as refused:
            RootDirectory(str(directory)).read("/a", 100)

        assert errno_of(refused) == errno.ELOOP

    def test_a_path_with_a_null_byte_does_not_exist(self, directory: Path) -> None:
        (directory / "key").write_bytes(b"own")

        assert RootDirectory(str(directory)).read("/key\0.json", 100) is None


class TestFiles:
    """Only regular files of a limited size are read, and of one owner if required."""

    def test_a_file_is_read_with_its_modification_time(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        path = tmp_path / "config.json"
        path.write_bytes(b"{}\n")
        os.utime(path, ns=(5, 1_700_000_000_500_000_000))

        assert root.read(str(path), 100) == FileContent(b"{}\n", 1_700_000_000.5)

    @pytest.mark.parametrize("size", [0, 1, 4999, 5000])
    def test_a_file_may_be_as_long_as_the_limit(
        self, root: RootDirectory, tmp_path: Path, size: int
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(bytes(size))

        found = root.read(str(path), 5000)

        assert found is not None
        assert found.body == bytes(size)

    @pytest.mark.parametrize("size", [5001, 5002, 1 << 40])
    def test_a_longer_file_is_refused(
        self, root: RootDirectory, tmp_path: Path, size: int
    ) -> None:
        path = tmp_path / "file"
        path.touch()
        os.truncate(path, size)

        with at_most(), pytest.raises(OSError, match="5000 bytes") as refused:
            root.read(str(path), 5000)

        assert errno_of(refused) == errno.EFBIG

    @pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/version"])
    def test_a_file_of_size_0_is_not_read(self, path: str) -> None:
        """Reading /proc/kmsg blocks, and consumes the messages."""
        assert RootDirectory("/").read(path, 1 << 20) == FileContent(
            b"", os.stat(path).st_mtime
        )

    @pytest.mark.parametrize("path", ["missing", "missing/x", "file/x", "dangling"])
    def test_a_path_that_does_not_exist_is_none(
        self, root: RootDirectory, tmp_path: Path, path: str
    ) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "dangling").symlink_to("missing")

        assert root.read(f"{tmp_path}/{path}", 100) is None
        assert root.stamp(f"{tmp_path}/{path}") is None
        assert root.entries(f"{tmp_path}/{path}", 9) == set()

    def test_a_fifo_is_refused_without_blocking(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "log")

        with at_most(), pytest.raises(OSError, match="not a regular") as refused:
            root.read(f"{tmp_path}/log", 100)

        assert errno_of(refused) == errno.EINVAL

    def test_a_fifo_with_a_silent_writer_is_refused(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "log")
        writer = os.open(tmp_path / "log", os.O_RDWR)
        try:
            with at_most(), pytest.raises(OSError, match="not a regular"):
                root.read(f"{tmp_path}/log", 100)
        finally:
            os.close(writer)

    def test_only_a_regular_file_is_opened(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        """Opening a device may have effects: that of a watchdog arms it."""
        fifo = tmp_path / "log"
        os.mkfifo(fifo)
        with subprocess.Popen(["sh", "-c", f": > {fifo}"]) as writer:
            stat = Path(f"/proc/{writer.pid}/stat")
            wait_until(lambda: ") S " in stat.read_text())
            with contextlib.suppress(OSError):
                root.read(str(fifo), 100)
            try:
                with pytest.raises(subprocess.TimeoutExpired):
                    writer.wait(0.2)
            finally:
                writer.kill()

    @pytest.mark.parametrize("path", ["/", "/dev/null", "/proc"])
    def test_a_directory_or_a_device_is_no_file(
        self, root: RootDirectory, path: str
    ) -> None:
        with pytest.raises(OSError, match="not a regular") as refused:
            root.read(path, 100)

        assert errno_of(refused) == errno.EINVAL

    def test_a_socket_is_no_file(self, root: RootDirectory, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{tmp_path}/s")
            with pytest.raises(OSError, match=r".") as refused:
                root.read(f"{tmp_path}/s", 100)

        assert errno_of(refused) in {errno.ENXIO, errno.EINVAL}

    def test_a_file_of_the_owner_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"own")

        found = RootDirectory(str(tmp_path), owner=os.geteuid()).read("/file", 100)

        assert found is not None
        assert found.body == b"own"

    def test_a_file_of_another_owner_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"own")

        with pytest.raises(OSError, match="owned by user") as refused:
            RootDirectory(str(tmp_path), owner=os.geteuid() + 1).read("/file", 100)

        assert errno_of(refused) == errno.EPERM

    @pytest.mark.root
    def test_a_link_of_the_owner_to_another_owners_file_is_refused(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "shadow").write_bytes(b"secret")
        (tmp_path / "link").symlink_to("shadow")
        os.lchown(tmp_path / "link", NOBODY, NOBODY)

        with pytest.raises(OSError, match="owned by user 0, not 65534"):
            RootDirectory(str(tmp_path), owner=NOBODY).read("/link", 100)

    @pytest.mark.root
    def test_a_file_of_another_owner_is_refused_for_root_too(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_bytes(b"theirs")
        os.chown(tmp_path / "file", NOBODY, NOBODY)

        with pytest.raises(OSError, match="owned by user 65534, not 0"):
            RootDirectory(str(tmp_path), owner=0).read("/file", 100)
        assert RootDirectory(str(tmp_path)).read("/file", 100)


class TestProcesses:
    """The root of a process may vanish at any time."""

    def test_a_running_process_has_a_root(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"own")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            root = RootDirectory(f"/proc/{process.pid}/root")
            found = root.read(f"{tmp_path}/file", 100)
            process.communicate()

        assert found is not None
        assert found.body == b"own"

    @pytest.mark.parametrize("reaped", [False, True])
    def test_a_process_that_ended_has_none(self, *, reaped: bool) -> None:
        with subprocess.Popen(["true"]) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            if reaped:
                process.wait()
            root = RootDirectory(f"/proc/{process.pid}/root")

            assert root.read("/proc/version", 1000) is None
            assert root.entries("/", 9) == set()
            assert root.stamp("/") is None


class TestDirectories:
    """Entries, and the stamp that detects changes."""

    def test_entries_are_names_with_their_inodes(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").touch()
        expected = {(p.name, p.stat().st_ino) for p in tmp_path.iterdir()}

        found = root.entries(str(tmp_path), 9)

        assert {(entry.name, entry.ino) for entry in found} == expected
        assert {name for name, _ in expected} == {"a", "b"}

    def test_entries_are_listed_up_to_the_limit(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        for number in range(9):
            (tmp_path / str(number)).touch()

        assert len(root.entries(str(tmp_path), 5)) == 5

    def test_a_name_that_is_not_utf8_is_an_entry(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        (tmp_path / "\udcff").touch()

        assert [e.name for e in root.entries(str(tmp_path), 9)] == ["\udcff"]

    def test_an_unchanged_directory_keeps_its_stamp(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        before = root.stamp(str(tmp_path))

        assert root.entries(str(tmp_path), 9) == set()
        assert root.stamp(str(tmp_path)) == before != None  # noqa: E711

    def test_a_new_entry_changes_the_stamp(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        os.utime(tmp_path, (1, 1))
        before = root.stamp(str(tmp_path))

        (tmp_path / "new").touch()

        assert root.stamp(str(tmp_path)) != before

    def test_a_file_of_another_size_has_another_stamp(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        stamps = []
        for body in (b"1", b"12"):
            path.write_bytes(body)
            os.utime(path, (1, 1))
            stamps.append(root.stamp(str(path)))

        assert len(set(stamps)) == 2

    def test_a_replaced_file_has_another_stamp(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        stamps = []
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(b"1")
            os.utime(tmp_path / name, (1, 1))
        for name in ("one", "two"):
            link = tmp_path / f"link-{name}"
            link.symlink_to(name)
            link.rename(tmp_path / "current")
            stamps.append(root.stamp(f"{tmp_path}/current"))

        assert len(set(stamps)) == 2
