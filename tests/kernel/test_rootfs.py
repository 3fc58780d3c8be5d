"""What is read below somebody's root, and that nothing outside of it ever is."""

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
"""A process's root that shows /proc: only below it are there magic links."""


def at_most(seconds: float = 5.0) -> AbstractContextManager[None]:
    """Fail what takes longer, instead of waiting forever with it."""
    return alarm(seconds, AssertionError(f"took more than {seconds} s"))


def code(error: pytest.ExceptionInfo[OSError]) -> int | None:
    return error.value.errno


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a root directory, with secrets/key outside of it."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/key").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=["the node's", "a process's"])
def root(request: pytest.FixtureRequest) -> RootDirectory:
    """Return a root that shows the same files by either way of opening them."""
    return RootDirectory("/" if request.param == "the node's" else PROC_ROOT)


class TestConfinement:
    """A link leads where it would lead the root's own programs."""

    @pytest.mark.parametrize("up", ["", "..", "../" * 40])
    def test_a_link_never_leads_out(self, top: Path, up: str) -> None:
        (top / "link").symlink_to(f"{up}{top.parent}/secrets")
        root = RootDirectory(str(top))

        assert root.read("/link/key", 100) is None
        assert root.entries("/link", 9) == set()
        assert root.stamp("/link") is None

    def test_a_relative_link_never_leads_out(self, top: Path) -> None:
        (top / "link").symlink_to("../secrets/key")

        assert RootDirectory(str(top)).read("/link", 100) is None

    @pytest.mark.parametrize(
        "path", ["/../secrets", "../secrets", "/a/../../secrets", "/../../../secrets"]
    )
    def test_a_path_never_leads_out(self, top: Path, path: str) -> None:
        (top / "a").mkdir()
        root = RootDirectory(str(top))

        assert root.read(f"{path}/key", 100) is None
        assert root.entries(path, 9) == set()
        assert root.stamp(path) is None

    def test_an_absolute_link_starts_at_the_root(self, top: Path) -> None:
        (top / "data").mkdir()
        (top / "data/key").write_bytes(b"own")
        (top / "link").symlink_to("/data")
        root = RootDirectory(str(top))

        found = root.read("/link/key", 100)

        assert found is not None
        assert found.body == b"own"
        assert root.entries("/link", 9) == root.entries("/data", 9) != set()
        assert root.stamp("/link") == root.stamp("/data")

    def test_dots_stop_at_the_root(self, top: Path) -> None:
        (top / "key").write_bytes(b"own")
        (top / "link").symlink_to("../../../../../key")

        found = RootDirectory(str(top)).read("/link", 100)

        assert found is not None
        assert found.body == b"own"

    @pytest.mark.parametrize("magic", ["root", "cwd", "fd/{}"])
    def test_a_magic_link_is_refused_even_inside(
        self, top: Path, magic: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("/")
        fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
        path = f"/proc/self/{magic.format(fd)}{top.parent}/secrets/key"
        (top / "link").symlink_to(path)
        try:
            assert Path(path).read_bytes() == b"secret"
            for way in (path, f"{top}/link"):
                with pytest.raises(OSError, match="openat2") as refused:
                    RootDirectory(PROC_ROOT).read(way, 100)
                assert code(refused) == errno.ELOOP
        finally:
            os.close(fd)

    def test_links_that_lead_nowhere_end(self, top: Path) -> None:
        (top / "a").symlink_to("b")
        (top / "b").symlink_to("a")

        with pytest.raises(OSError, match="openat2") as refused:
            RootDirectory(str(top)).read("/a", 100)

        assert code(refused) == errno.ELOOP

    def test_a_path_with_a_null_byte_is_no_other_path(self, top: Path) -> None:
        (top / "key").write_bytes(b"own")

        assert RootDirectory(str(top)).read("/key\0.json", 100) is None


class TestFiles:
    """Regular files of a bounded size, and of one user where that matters."""

    def test_a_file_is_read_with_the_time_it_was_written(
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

        assert code(refused) == errno.EFBIG

    @pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/version"])
    def test_a_file_of_no_size_is_not_read(self, path: str) -> None:
        """Reading the kernel's log waits, and takes it from others."""
        assert RootDirectory("/").read(path, 1 << 20) == FileContent(
            b"", os.stat(path).st_mtime
        )

    @pytest.mark.parametrize("path", ["missing", "missing/x", "file/x", "dangling"])
    def test_what_is_not_there_is_nothing(
        self, root: RootDirectory, tmp_path: Path, path: str
    ) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "dangling").symlink_to("missing")

        assert root.read(f"{tmp_path}/{path}", 100) is None
        assert root.stamp(f"{tmp_path}/{path}") is None
        assert root.entries(f"{tmp_path}/{path}", 9) == set()

    def test_a_fifo_is_refused_without_waiting(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "log")

        with at_most(), pytest.raises(OSError, match="not a regular") as refused:
            root.read(f"{tmp_path}/log", 100)

        assert code(refused) == errno.EINVAL

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

    def test_what_is_no_regular_file_does_not_notice(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        """Opening a device may act: of a watchdog, it starts the clock."""
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

        assert code(refused) == errno.EINVAL

    def test_a_socket_is_no_file(self, root: RootDirectory, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{tmp_path}/s")
            with pytest.raises(OSError, match=r".") as refused:
                root.read(f"{tmp_path}/s", 100)

        assert code(refused) in {errno.ENXIO, errno.EINVAL}

    def test_the_owners_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"own")

        found = RootDirectory(str(tmp_path), owner=os.geteuid()).read("/file", 100)

        assert found is not None
        assert found.body == b"own"

    def test_somebody_elses_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"own")

        with pytest.raises(OSError, match="owned by user") as refused:
            RootDirectory(str(tmp_path), owner=os.geteuid() + 1).read("/file", 100)

        assert code(refused) == errno.EPERM

    @pytest.mark.root
    def test_an_owners_link_to_somebody_elses_file_is_refused(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "shadow").write_bytes(b"secret")
        (tmp_path / "link").symlink_to("shadow")
        os.lchown(tmp_path / "link", NOBODY, NOBODY)

        with pytest.raises(OSError, match="owned by user 0, not 65534"):
            RootDirectory(str(tmp_path), owner=NOBODY).read("/link", 100)

    @pytest.mark.root
    def test_root_trusts_nobody_elses_file_either(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"theirs")
        os.chown(tmp_path / "file", NOBODY, NOBODY)

        with pytest.raises(OSError, match="owned by user 65534, not 0"):
            RootDirectory(str(tmp_path), owner=0).read("/file", 100)
        assert RootDirectory(str(tmp_path)).read("/file", 100)


class TestProcesses:
    """A root that is a process's may end at any time."""

    def test_a_process_that_lives_has_a_root(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"own")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            root = RootDirectory(f"/proc/{process.pid}/root")
            found = root.read(f"{tmp_path}/file", 100)
            process.communicate()

        assert found is not None
        assert found.body == b"own"

    @pytest.mark.parametrize("reaped", [False, True])
    def test_a_dead_process_has_none(self, *, reaped: bool) -> None:
        with subprocess.Popen(["true"]) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            if reaped:
                process.wait()
            root = RootDirectory(f"/proc/{process.pid}/root")

            assert root.read("/proc/version", 1000) is None
            assert root.entries("/", 9) == set()
            assert root.stamp("/") is None


class TestDirectories:
    """What is in them, and what tells that it changed."""

    def test_entries_are_names_with_their_inodes(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").touch()
        expected = {(p.name, p.stat().st_ino) for p in tmp_path.iterdir()}

        found = root.entries(str(tmp_path), 9)

        assert {(entry.name, entry.ino) for entry in found} == expected
        assert {name for name, _ in expected} == {"a", "b"}

    def test_only_so_many_are_listed(self, root: RootDirectory, tmp_path: Path) -> None:
        for number in range(9):
            (tmp_path / str(number)).touch()

        assert len(root.entries(str(tmp_path), 5)) == 5

    def test_a_name_that_is_not_text_is_an_entry(
        self, root: RootDirectory, tmp_path: Path
    ) -> None:
        (tmp_path / "\udcff").touch()

        assert [e.name for e in root.entries(str(tmp_path), 9)] == ["\udcff"]

    def test_a_directory_left_alone_keeps_its_stamp(
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

    def test_another_file_in_its_place_has_another_stamp(
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
