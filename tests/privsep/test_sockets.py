"""Listening on addresses, paths and the sockets of systemd, and what prevents it."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.privsep import sockets
from exporter.privsep.sockets import bound_sockets, split_address, systemd_sockets

pytestmark = pytest.mark.usefixtures("no_leaked_files")

LOOPBACK = "127.0.0.1:0"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        (":10128", "", 10128),
        (":0", "", 0),
        (":65535", "", 65535),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("localhost:10128", "localhost", 10128),
        ("node-1.example.com:10128", "node-1.example.com", 10128),
        ("[::1]:10128", "::1", 10128),
        ("[::]:10128", "::", 10128),
        ("[fe80::1%eth0]:10128", "fe80::1%eth0", 10128),
    ],
)
def test_an_address_is_split_into_host_and_port(
    address: str, host: str, port: int
) -> None:
    assert split_address(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        "::",
        "10128",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:80 ",
        "localhost:-1",
        ":65536",
        ":1e3",
        ":9²",
        ":٣",
        "::1:10128",
        "[::1]",
        "[::1]10128",
        "[::1:10128",
        "::1]:10128",
        "[]:80",
        "1.2.3.4:5:6",
        "http://localhost:80",
        f":{'9' * 5000}",
    ],
)
def test_an_invalid_address_is_reported(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_address(address)

    assert repr(address) in str(caught.value)
    assert "expected HOST:PORT" in str(caught.value)


def test_it_listens_on_several_addresses(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    addresses = [LOOPBACK, "[::1]:0", f"unix:{path}"]

    with bound_sockets(addresses, systemd=False) as listeners:
        families = [listener.family for listener in listeners]
        assert families == [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
        assert sockets.socket_address(listeners[0]).startswith("127.0.0.1:")
        assert sockets.socket_address(listeners[1]).startswith("[::1]:")
        assert sockets.socket_address(listeners[2]) == f"unix:{path}"
        for listener in listeners:
            with socket.socket(listener.family) as client:
                client.connect(listener.getsockname())


def test_without_a_host_it_listens_on_all_addresses() -> None:
    with bound_sockets([":0"], systemd=False) as (listener,):
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


def test_a_port_in_use_is_reported_with_the_remedy() -> None:
    with bound_sockets([LOOPBACK], systemd=False) as (listener,):
        taken = sockets.socket_address(listener)
        with (
            pytest.raises(ConfigError, match=r"--web\.listen-address"),
            bound_sockets([taken], systemd=False),
        ):
            pytest.fail("listens twice")


class TestUnix:
    def test_every_user_may_connect_and_the_socket_is_deleted_afterwards(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "web.sock"

        with bound_sockets([f"unix://{path}"], systemd=False):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666

        assert not path.exists()

    def test_a_stale_socket_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "web.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()

        client = socket.socket(socket.AF_UNIX)
        with bound_sockets([f"unix:{path}"], systemd=False), client:
            client.connect(str(path))

    def test_a_socket_in_use_is_not_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "web.sock"
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(path))
            live.listen()
            with (
                pytest.raises(ConfigError, match="in use"),
                bound_sockets([f"unix:{path}"], systemd=False),
            ):
                pytest.fail("listens twice")
            assert path.exists()

    def test_a_file_is_not_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "precious"
        path.write_text("data")

        with (
            pytest.raises(ConfigError, match="in use"),
            bound_sockets([f"unix:{path}"], systemd=False),
        ):
            pytest.fail("listens on a file")

        assert path.read_text() == "data"


SYSTEMD = """
import os, socket, sys
from exporter.privsep.sockets import systemd_sockets, socket_address
os.environ["LISTEN_PID"] = sys.argv[1] if len(sys.argv) > 1 else str(os.getpid())
os.environ["LISTEN_FDS"] = "2"
try:
    listeners = systemd_sockets()
except Exception as error:
    sys.exit(str(error))
print([socket_address(listener) for listener in listeners], "LISTEN_FDS" in os.environ)
"""


class TestSystemd:
    """The protocol of systemd: fds from 3, and two variables."""

    def run(self, *fds: int, arguments: tuple[str, ...] = ()) -> tuple[int, str]:
        script = "".join(f"exec {3 + at}<&{fd}; " for at, fd in enumerate(fds))
        python = [sys.executable, "-c", SYSTEMD, *arguments]
        done = subprocess.run(
            ["bash", "-c", f'{script}exec "$@"', "bash", *python],
            check=False,
            capture_output=True,
            text=True,
            pass_fds=fds,
        )
        return done.returncode, done.stdout + done.stderr

    def test_its_sockets_are_used_and_its_variables_removed(self) -> None:
        with bound_sockets([LOOPBACK, LOOPBACK], systemd=False) as listeners:
            code, text = self.run(*(listener.fileno() for listener in listeners))

            assert code == 0, text
            addresses = [sockets.socket_address(listener) for listener in listeners]
            assert text == f"{addresses} False\n"

    def test_the_sockets_of_another_process_are_not_used(self) -> None:
        with bound_sockets([LOOPBACK, LOOPBACK], systemd=False) as listeners:
            fds = (listener.fileno() for listener in listeners)
            code, text = self.run(*fds, arguments=("1",))

        assert code == 1
        assert "passed no socket" in text

    def test_a_socket_that_does_not_listen_is_reported(self) -> None:
        with socket.socket() as first, socket.socket() as second:
            code, text = self.run(first.fileno(), second.fileno())

        assert code == 1
        assert "ListenStream=" in text

    def test_no_sockets_at_all_are_reported(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("LISTEN_PID", raising=False)

        with pytest.raises(ConfigError, match=r"\.socket unit"):
            systemd_sockets()

        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        monkeypatch.setenv("LISTEN_FDS", "0")
        with pytest.raises(ConfigError, match=r"\.socket unit"):
            systemd_sockets()
