"""What is given up is gone: each test is a process of its own, started as root."""

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
    shown = "print(open('/proc/thread-self/status').read())"
    done = run(f"{script}\n{shown}", *prefix)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestEverything:
    def test_nothing_is_left(self) -> None:
        left = parse_credentials(status("privileges.drop_privileges()").encode())

        assert left.uids == (NOBODY,) * 4
        sets = (left.inheritable, left.permitted, left.effective)
        assert (*sets, left.bounding, left.ambient) == (0, 0, 0, 0, 0)
        assert left.no_new_privs

    def test_a_user_that_is_kept_keeps_no_capability(self) -> None:
        text = status("privileges.drop_privileges(keep_user=True)")
        left = parse_credentials(text.encode())

        assert left.uids == (0,) * 4
        assert (left.permitted, left.bounding, left.ambient) == (0, 0, 0)

    def test_ambient_capabilities_do_not_come_back(self) -> None:
        """A start as a user with ambient capabilities, as systemd makes them."""
        ambient = ("setpriv", "--reuid=1234", "--clear-groups")
        given = ("--inh-caps=+sys_admin", "--ambient-caps=+sys_admin")
        text = status("privileges.drop_privileges(keep_user=True)", *ambient, *given)
        left = parse_credentials(text.encode())

        assert left.permitted == left.ambient == left.inheritable == 0

    def test_a_runtimes_socket_is_out_of_reach(self, tmp_path: Path) -> None:
        """As Docker's is: root's and its group's."""
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

    def test_with_a_second_thread_it_refuses(self) -> None:
        """That would keep its capabilities."""
        done = run(
            "import threading\n"
            "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
            "privileges.drop_privileges()"
        )

        assert done.returncode == 1
        assert "kept more than it should" in done.stderr

    def test_a_start_that_may_not_change_its_user_says_so(self) -> None:
        kept = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
        done = run("privileges.drop_privileges()", *kept)

        assert done.returncode == 0, done.stderr
        assert "stays user 0" in done.stderr


class TestCollecting:
    def test_three_are_left_and_no_more_can_come(self) -> None:
        text = status("privileges.keep_collector_capabilities()")
        left = parse_credentials(text.encode())

        assert left.permitted == left.effective == left.bounding == 0x280004
        assert left.inheritable == left.ambient == 0
        assert left.no_new_privs

    def test_whoever_is_started_later_gets_no_more(self) -> None:
        done = run(
            "import subprocess\n"
            "privileges.keep_collector_capabilities()\n"
            "print(subprocess.check_output(['cat', '/proc/self/status'], text=True))"
        )

        assert parse_credentials(done.stdout.encode()).permitted == 0x280004

    def test_only_what_is_there_can_stay(self) -> None:
        kept = ("setpriv", "--bounding-set=-all,+sys_ptrace,+kill", "--inh-caps=-all")
        text = status("privileges.keep_collector_capabilities()", *kept)

        assert parse_credentials(text.encode()).permitted == 1 << 19


class TestLockedIn:
    SCRIPT = (
        "privileges.drop_privileges(keep_user=True)\n"
        "privileges.apply_landlock('/proc/self')\n"
    )

    def tried(self, attempt: str) -> str:
        done = run(
            "import os, signal, socket\n"
            f"{self.SCRIPT}"
            f"try:\n    {attempt}\nexcept OSError as error:\n    print(error.strerror)"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @pytest.mark.parametrize(
        "path",
        ["/etc/passwd", "/proc/1/ns/net", "/proc/1/status", "/etc/shadow", __file__],
    )
    def test_files_cannot_be_opened_even_by_root(self, path: str) -> None:
        assert self.tried(f"os.open({path!r}, os.O_RDONLY)") == "Permission denied"

    def test_nothing_can_be_made_or_run(self) -> None:
        assert self.tried("os.mkdir('/tmp/exporter-test')") == "Permission denied"
        assert self.tried("os.execv('/bin/true', ['true'])") == "Permission denied"

    def test_nobody_can_be_connected_to_or_listened_for(self) -> None:
        there = "('127.0.0.1', 9)"
        tcp = "socket.socket(socket.AF_INET, socket.SOCK_STREAM)"
        assert self.tried(f"{tcp}.connect({there})") == "Permission denied"
        assert self.tried(f"{tcp}.bind(('127.0.0.1', 0))") == "Permission denied"

    def test_nobody_can_be_signalled(self) -> None:
        attempt = f"os.kill({os.getpid()}, 0)"
        assert self.tried(attempt) == "Operation not permitted"

    def test_what_it_says_of_itself_can_be_read(self) -> None:
        assert self.tried("print(len(os.listdir('/proc/self/fd')) > 0)") == "True"


def test_without_landlock_it_goes_on_and_says_so() -> None:
    done = run(
        "import logging\n"
        "from exporter.kernel import landlock\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "landlock.landlock_version = lambda: 0\n"
        "privileges.apply_landlock('/proc/self')\n"
        "open('/etc/passwd').close()"
    )

    assert done.returncode == 0, done.stderr
    assert "keeps its file system" in done.stderr


def test_a_kernel_that_refuses_is_told() -> None:
    """Without no_new_privs, and without the capability, it does."""
    done = run(
        "privileges.apply_landlock('/proc/self')", "setpriv", "--bounding-set=-all"
    )

    assert done.returncode == 0, done.stderr
    assert "keeps its file system" in done.stderr
