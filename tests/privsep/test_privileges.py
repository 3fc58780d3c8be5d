"""Dropped privileges are gone; each test runs a process of its own, as root."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.kernel.procfs import parse_credentials

pytestmark = pytest.mark.root

NOBODY = 65534


def run(script: str, *prefix: str) -> subprocess.CompletedProcess[str]:
    command = [
        *prefix,
        sys.executable,
        "-c",
        f"from exporter.privsep import privileges\n{script}",
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def status(script: str, *prefix: str) -> str:
    printing = "print(open('/proc/thread-self/status').read())"
    done = run(f"{script}\n{printing}", *prefix)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestDropPrivileges:
    def test_no_privilege_remains(self) -> None:
        left = parse_credentials(status("privileges.drop_privileges()").encode())

        assert left.uids == (NOBODY,) * 4
        sets = (left.inheritable, left.permitted, left.effective)
        assert (*sets, left.bounding, left.ambient) == (0, 0, 0, 0, 0)
        assert left.no_new_privs

    def test_a_process_that_keeps_its_user_has_no_capability(self) -> None:
        text = status("privileges.drop_privileges(keep_user=True)")
        left = parse_credentials(text.encode())

        assert left.uids == (0,) * 4
        assert (left.permitted, left.bounding, left.ambient) == (0, 0, 0)

    def test_ambient_capabilities_are_dropped(self) -> None:
        """As systemd starts a process with AmbientCapabilities=."""
        ambient = ("setpriv", "--reuid=1234", "--clear-groups")
        given = ("--inh-caps=+sys_admin", "--ambient-caps=+sys_admin")
        text = status("privileges.drop_privileges(keep_user=True)", *ambient, *given)
        left = parse_credentials(text.encode())

        assert left.permitted == left.ambient == left.inheritable == 0

    def test_it_cannot_connect_to_the_socket_of_a_runtime(self, tmp_path: Path) -> None:
        """Like that of Docker, which is accessible to root and a group."""
        path = tmp_path / "docker.sock"
        tmp_path.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.bind(str(path))
            runtime.listen()
            path.chmod(0o660)
            done = run(
                "import socket\n"
                "privileges.drop_privileges()\n"
                f"socket.socket(socket.AF_UNIX).connect({str(path)!r})"
            )

        assert "PermissionError" in done.stderr

    def test_it_refuses_while_there_is_a_second_thread(self) -> None:
        """A thread keeps its own capabilities."""
        done = run(
            "import threading\n"
            "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
            "privileges.drop_privileges()"
        )

        assert done.returncode == 1
        assert "still has privileges" in done.stderr

    def test_a_process_that_may_not_change_its_user_logs_it(self) -> None:
        kept = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
        done = run("privileges.drop_privileges()", *kept)

        assert done.returncode == 0, done.stderr
        assert "keeps user 0" in done.stderr


class TestKeepCollectorCapabilities:
    def test_three_remain_and_none_can_be_gained(self) -> None:
        text = status("privileges.keep_collector_capabilities()")
        left = parse_credentials(text.encode())

        assert left.effective == 0x280004
        assert left.permitted == left.bounding == 0x2800C4, "SETUID and SETGID more"
        assert left.inheritable == left.ambient == 0
        assert left.no_new_privs

    def test_a_child_gains_none(self) -> None:
        done = run(
            "import subprocess\n"
            "privileges.keep_collector_capabilities()\n"
            "print(subprocess.check_output(['cat', '/proc/self/status'], text=True))"
        )

        assert parse_credentials(done.stdout.encode()).permitted == 0x2800C4

    def test_only_permitted_ones_remain(self) -> None:
        kept = ("setpriv", "--bounding-set=-all,+sys_ptrace,+kill", "--inh-caps=-all")
        text = status("privileges.keep_collector_capabilities()", *kept)

        assert parse_credentials(text.encode()).permitted == 1 << 19


class TestKeepFileReaderCapabilities:
    DROP = "privileges.keep_file_reader_capabilities()"

    def test_it_is_nobody_and_two_remain(self) -> None:
        left = parse_credentials(status(self.DROP).encode())

        assert left.uids == (NOBODY,) * 4
        assert left.permitted == left.effective == left.bounding == 0x80004
        assert left.inheritable == left.ambient == 0
        assert left.no_new_privs

    def test_so_it_is_as_a_child_of_the_collector(self) -> None:
        """Which has dropped what a child could have more."""
        child = (
            f"from exporter.privsep import privileges; {self.DROP}; "
            "print(open('/proc/self/status').read())"
        )
        done = run(
            "import subprocess, sys\n"
            "privileges.keep_collector_capabilities()\n"
            f"child = [sys.executable, '-c', {child!r}]\n"
            "print(subprocess.check_output(child, text=True))"
        )

        left = parse_credentials(done.stdout.encode())
        assert left.uids == (NOBODY,) * 4
        assert left.permitted == left.effective == 0x80004

    def test_it_keeps_a_user_that_may_not_change(self) -> None:
        kept = ("setpriv", "--bounding-set=-all,+sys_ptrace", "--inh-caps=-all")
        done = run(self.DROP, *kept)

        assert done.returncode == 0, done.stderr
        assert "the file reader process keeps user 0" in done.stderr

    def test_it_reads_the_files_of_root_and_writes_none(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("of root")
        secret.chmod(0o600)
        done = run(
            f"{self.DROP}\n"
            f"print(open({str(secret)!r}).read(), flush=True)\n"
            f"open({str(secret)!r}, 'a')"
        )

        assert done.stdout == "of root\n"
        assert "PermissionError" in done.stderr


class TestApplyLandlock:
    SCRIPT = (
        "privileges.drop_privileges(keep_user=True)\n"
        "privileges.apply_landlock('/proc/self')\n"
    )

    def attempt(self, statement: str) -> str:
        done = run(
            "import os, signal, socket\n"
            f"{self.SCRIPT}"
            f"try:\n    {statement}\n"
            "except OSError as error:\n    print(error.strerror)"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @pytest.mark.parametrize(
        "path",
        ["/etc/passwd", "/proc/1/ns/net", "/proc/1/status", "/etc/shadow", __file__],
    )
    def test_root_cannot_open_files(self, path: str) -> None:
        assert self.attempt(f"os.open({path!r}, os.O_RDONLY)") == "Permission denied"

    def test_nothing_can_be_created_or_executed(self) -> None:
        assert self.attempt("os.mkdir('/tmp/exporter-test')") == "Permission denied"
        assert self.attempt("os.execv('/bin/true', ['true'])") == "Permission denied"

    def test_tcp_sockets_can_neither_connect_nor_bind(self) -> None:
        address = "('127.0.0.1', 9)"
        tcp = "socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
        assert self.attempt(f"{tcp}.connect({address})") == "Permission denied"
        assert self.attempt(f"{tcp}.bind(('127.0.0.1', 0))") == "Permission denied"

    def test_other_processes_cannot_be_signalled(self) -> None:
        statement = f"os.kill({os.getpid()}, 0)"
        assert self.attempt(statement) == "Operation not permitted"

    def test_readable_paths_remain_readable(self) -> None:
        assert self.attempt("print(len(os.listdir('/proc/self/fd')) > 0)") == "True"


def test_a_kernel_without_landlock_is_logged() -> None:
    done = run(
        "import logging\n"
        "from exporter.kernel import landlock\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "landlock.landlock_version = lambda: 0\n"
        "privileges.apply_landlock('/proc/self')\n"
        "open('/etc/passwd').close()"
    )

    assert done.returncode == 0, done.stderr
    assert "not restricted by Landlock" in done.stderr


def test_a_refusal_by_the_kernel_is_logged() -> None:
    """It requires no_new_privs or a capability."""
    done = run(
        "privileges.apply_landlock('/proc/self')", "setpriv", "--bounding-set=-all"
    )

    assert done.returncode == 0, done.stderr
    assert "not restricted by Landlock" in done.stderr
