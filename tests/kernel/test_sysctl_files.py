"""Sysctl files bound to a namespace: current, complete, and within the budget."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.kernel.fd_budget import FdBudget
from exporter.kernel.netns import NetnsGoneError, entered
from exporter.kernel.sysctl_files import SysctlFiles
from exporter.kernel.sysctl_readings import SysctlPlan
from exporter.model import Kind, Reading, Sysctl
from exporter.values import DENIED, FAILED, MALFORMED, MISSING
from testing.lab import (
    CLONE_NEWNET,
    CLONE_NEWUSER,
    ProcessNetns,
    new_namespaces,
    wait_until,
)


def sysctl(name: str, kind: Kind = "int", *fields: str) -> Sysctl:
    return Sysctl(
        name=name, kind=kind, class_="constant", settable_by="pod", fields=fields
    )


SOMAXCONN = sysctl("net.core.somaxconn")
RANGE = sysctl("net.ipv4.ip_local_port_range", "ints", "low", "high")
RESERVED = sysctl("net.ipv4.ip_local_reserved_ports", "ranges")
CONGESTION = sysctl("net.ipv4.tcp_congestion_control", "text")
ABSENT = sysctl("net.core.no_such_sysctl")
SEVERAL = (SOMAXCONN, RANGE, RESERVED, CONGESTION, ABSENT)


@pytest.fixture
def pod() -> Iterator[ProcessNetns]:
    with new_namespaces() as (pod,):
        yield pod


def open_files(pod: ProcessNetns, *sysctls: Sysctl, limit: int = 1000) -> SysctlFiles:
    files = SysctlFiles(SysctlPlan(sysctls, "/proc"), FdBudget(limit))
    with entered(pod.path, pod.ino):
        files.open_all()
    return files


def read_bound(files: SysctlFiles) -> tuple[Reading, ...]:
    files.read_bound()
    return files.readings.as_tuple()


def record_opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of paths that are opened from now on."""
    opened: list[str] = []
    real = os.open

    def record(path: str, flags: int, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", record)
    return opened


@pytest.mark.root
class TestRealNamespace:
    def test_a_bound_file_reads_its_namespace_from_any_other(
        self, pod: ProcessNetns
    ) -> None:
        pod.write("net.core.somaxconn", "77")
        files = open_files(pod, SOMAXCONN)

        assert read_bound(files) == ("77",)
        files.close()

    def test_a_change_is_read_at_the_next_read(self, pod: ProcessNetns) -> None:
        files = open_files(pod, SOMAXCONN, RANGE)
        read_bound(files)
        pod.write("net.core.somaxconn", "78")
        pod.write("net.ipv4.ip_local_port_range", "1024 2000")

        assert files.read_bound()
        assert files.readings.as_tuple() == ("78", "1024 2000")
        assert not files.read_bound()
        files.close()

    def test_a_bound_file_shows_that_its_namespace_is_gone(
        self, pod: ProcessNetns
    ) -> None:
        files, unbound = open_files(pod, SOMAXCONN), open_files(pod, SOMAXCONN, limit=0)
        assert not files.is_gone()

        pod.kill()

        wait_until(files.is_gone)
        assert not unbound.is_gone()
        files.close()

    def test_a_missing_file_takes_no_fd(self, pod: ProcessNetns) -> None:
        files = open_files(pod, *SEVERAL)

        assert read_bound(files)[-1] == MISSING
        assert files.bound == 4
        assert files.unbound == []
        assert files.readings.has_missing
        files.close()

    def test_a_long_bitmap_is_read_whole(self, pod: ProcessNetns) -> None:
        """Every other port makes 192 kB; a short buffer truncates it silently."""
        files = open_files(pod, RESERVED)
        ports = range(1, 65535, 2)
        pod.write("net.ipv4.ip_local_reserved_ports", ",".join(map(str, ports)))

        assert read_bound(files) == (str(len(ports)),)
        files.close()

    def test_a_change_at_the_end_of_a_long_bitmap_is_detected(
        self, pod: ProcessNetns
    ) -> None:
        files = open_files(pod, RESERVED)
        ports = list(range(1, 65533, 2))
        pod.write("net.ipv4.ip_local_reserved_ports", ",".join(map(str, ports)))
        read_bound(files)
        ports.append(65535)
        pod.write("net.ipv4.ip_local_reserved_ports", ",".join(map(str, ports)))

        assert read_bound(files) == (str(len(ports)),)
        files.close()

    def test_an_ended_namespace_is_gone(self, pod: ProcessNetns) -> None:
        files = open_files(pod, *SEVERAL)
        pod.kill()

        def gone() -> bool:
            try:
                files.read_bound()
            except NetnsGoneError:
                return True
            return False

        wait_until(gone)
        files.close()

    def test_a_file_hidden_from_user_namespaces_is_missing(self) -> None:
        """That is so for ipv6/route, and it is no error."""
        route = sysctl("net.ipv6.route.gc_thresh")
        with new_namespaces(flags=CLONE_NEWNET | CLONE_NEWUSER) as (pod,):
            files = open_files(pod, SOMAXCONN, route)

            assert read_bound(files)[1] == MISSING
            assert not files.readings.errors
            files.close()

    def test_a_file_that_appears_is_bound_by_the_next_open_all(
        self, pod: ProcessNetns
    ) -> None:
        plan = SysctlPlan([SOMAXCONN, ABSENT], "/proc")
        files = SysctlFiles(plan, FdBudget(10))
        with entered(pod.path, pod.ino):
            files.open_all()
            plan.locations[1] = plan.locations[0]
            files.open_all()

        assert files.bound == 2
        assert not files.readings.has_missing
        files.close()


@pytest.mark.root
class TestBudget:
    def test_files_beyond_the_budget_are_read_by_name(self, pod: ProcessNetns) -> None:
        files = open_files(pod, *SEVERAL, limit=2)

        assert files.bound == 2
        assert files.unbound == [2, 3]
        assert read_bound(files)[:2] == ("4096", "32768 60999")
        pod.write("net.ipv4.ip_local_reserved_ports", "5,7-9")
        with entered(pod.path, pod.ino):
            assert files.read_unbound()
            assert not files.read_unbound()
        assert files.readings.as_tuple()[2] == "4"
        files.close()

    def test_without_a_budget_every_file_is_read_by_name(
        self, pod: ProcessNetns
    ) -> None:
        files = open_files(pod, *SEVERAL, limit=0)

        assert files.bound == 0
        assert files.readings.as_tuple()[:2] == ("4096", "32768 60999")
        files.close()

    @pytest.mark.usefixtures("no_leaked_files")
    def test_the_budget_counts_the_open_files(self, pod: ProcessNetns) -> None:
        budget = FdBudget(7)
        before = len(os.listdir("/proc/self/fd"))
        several = [SysctlFiles(SysctlPlan(SEVERAL, "/proc"), budget) for _ in range(3)]
        with entered(pod.path, pod.ino):
            for files in several:
                files.open_all()
        assert budget.held == len(os.listdir("/proc/self/fd")) - before == 7

        several[0].close()
        assert budget.held == 3
        with entered(pod.path, pod.ino):
            several[1].open_all()
            several[2].open_all()
        assert [files.bound for files in several] == [0, 4, 3]

        for files in several:
            files.close()
        assert budget.held == 0

    @pytest.mark.usefixtures("no_leaked_files")
    def test_directories_of_unbound_files_stay_open(
        self, pod: ProcessNetns, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Opening by path gets slower with each namespace on the node."""
        directories = FdBudget(1)
        files = SysctlFiles(SysctlPlan(SEVERAL, "/proc"), FdBudget(1), directories)
        opened = record_opens(monkeypatch)
        with entered(pod.path, pod.ino):
            files.open_all()
            assert directories.held == 1
            opened.clear()
            pod.write("net.ipv4.ip_local_port_range", "2000 3000")
            opened.clear()
            assert files.read_unbound()

        assert files.readings.as_tuple()[:2] == ("4096", "2000 3000")
        assert "ip_local_port_range" in opened
        assert not any(path.startswith("/") for path in opened)
        files.close()
        assert directories.held == 0

    @pytest.mark.usefixtures("no_leaked_files")
    def test_a_directory_is_closed_when_all_files_below_it_are_bound(
        self, pod: ProcessNetns
    ) -> None:
        budget, directories = FdBudget(0), FdBudget(2)
        files = SysctlFiles(SysctlPlan(SEVERAL, "/proc"), budget, directories)
        with entered(pod.path, pod.ino):
            files.open_all()
            assert directories.held == 2
            budget.limit = 10
            files.open_all()

        assert files.bound == 4
        assert directories.held == 0
        files.close()

    def test_no_directory_stays_open_if_all_files_are_bound(
        self, pod: ProcessNetns
    ) -> None:
        directories = FdBudget(9)
        plan = SysctlPlan(SEVERAL, "/proc")
        files = SysctlFiles(plan, FdBudget(9), directories)
        with entered(pod.path, pod.ino):
            files.open_all()

        assert files.bound == 4
        assert directories.held == 0
        files.close()

    def test_a_reading_marked_unreadable_returns_with_the_next_read(
        self, pod: ProcessNetns
    ) -> None:
        files = open_files(pod, SOMAXCONN, limit=0)
        files.mark_unbound(DENIED)
        assert files.readings.as_tuple() == (DENIED,)

        with entered(pod.path, pod.ino):
            assert files.read_unbound()

        assert files.readings.as_tuple() == ("4096",)
        files.close()


class TestFailingFiles:
    """Plain files stand in for sysctls that cannot be read."""

    def files(self, tmp_path: Path, *names: str) -> SysctlFiles:
        home = tmp_path / "sys/net/core"
        home.mkdir(parents=True)
        for name in names:
            (home / name).write_text("1\n")
        plan = SysctlPlan([sysctl(f"net.core.{name}") for name in names], str(tmp_path))
        files = SysctlFiles(plan, FdBudget(10))
        files.open_all()
        return files

    @pytest.mark.parametrize(
        ("code", "reading"),
        [(errno.EPERM, DENIED), (errno.EACCES, DENIED), (errno.EIO, FAILED)],
    )
    def test_a_file_that_fails_has_a_reason_and_the_others_a_value(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        code: int,
        reading: Reading,
    ) -> None:
        files = self.files(tmp_path, "a", "b", "c")
        assert read_bound(files) == ("1", "1", "1")
        real, bad = os.pread, files._fds[1]

        def pread(fd: int, size: int, offset: int) -> bytes:
            if fd == bad:
                raise OSError(code, os.strerror(code))
            return real(fd, size, offset)

        monkeypatch.setattr(os, "pread", pread)

        assert read_bound(files) == ("1", reading, "1")
        assert files.readings.errors.total() == 1
        monkeypatch.undo()
        assert read_bound(files) == ("1", "1", "1")
        files.close()

    def test_a_file_that_was_unregistered_is_missing_from_then_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after unloading a module: the namespace still exists."""
        files = self.files(tmp_path, "a", "b")
        real, bad = os.pread, files._fds[1]

        def pread(fd: int, size: int, offset: int) -> bytes:
            if fd == bad:
                raise FileNotFoundError
            return real(fd, size, offset)

        monkeypatch.setattr(os, "pread", pread)

        assert read_bound(files) == ("1", MISSING)
        assert files.bound == files._budget.held == 1
        assert not files.readings.errors
        files.close()

    def test_text_of_another_kind_than_the_catalogs_is_malformed(
        self, tmp_path: Path
    ) -> None:
        files = self.files(tmp_path, "a", "b")
        (tmp_path / "sys/net/core/b").write_text("many\n")

        assert read_bound(files) == ("1", MALFORMED)
        assert files.readings.errors == {"malformed": 1}
        files.close()

    def test_a_full_fd_table_makes_readings_fail(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_args: object, **_names: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "open", full)
        plan = SysctlPlan([SOMAXCONN], str(tmp_path))
        budget = FdBudget(10)
        files = SysctlFiles(plan, budget)

        files.open_all()

        assert files.readings.as_tuple() == (FAILED,)
        assert budget.held == 0
