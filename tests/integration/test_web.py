"""The running server: TLS, users, socket activation, ten thousand scrapes."""

import base64
import contextlib
import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import psutil
import pytest

from exporter.web.protocol import ConnectionLimits
from testing.lab import wait_until
from testing.monitoring import run_prometheus
from testing.running import COMMAND, Exporter, run_exporter

pytestmark = pytest.mark.root

WEB = """
tls_server_config: {{cert_file: node.pem, key_file: node.key}}
basic_auth_users: {{prometheus: {hash}}}
http_server_config: {{headers: {{X-Frame-Options: deny}}}}
"""
PASSWORD = "correct horse"
UNFINISHED_HEAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: b"
STALLED = 400
CONNECTIONS = ConnectionLimits().connections
SCRAPES = 4_000
GROWTH_BYTES = 3 << 20


def certificate(directory: Path, name: str) -> None:
    """Make node.pem and node.key for the host name *name*."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "3"),
            *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"),
            *("-keyout", "new.key", "-out", "new.pem"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    (directory / "new.key").chmod(0o600)
    for kind in ("pem", "key"):
        (directory / f"new.{kind}").rename(directory / f"node.{kind}")


@pytest.fixture
def web(tmp_path: Path) -> Path:
    certificate(tmp_path, "first.test")
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yaml"
    file.write_text(WEB.format(hash=hashed))
    return file


@pytest.fixture
def secured(tmp_path: Path, web: Path) -> Iterator[Exporter]:
    with run_exporter(tmp_path, f"--web.config.file={web}") as exporter:
        yield exporter


def get(
    exporter: Exporter, path: str = "/metrics", password: str = PASSWORD
) -> tuple[int, http.client.HTTPMessage, bytes]:
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(
        "127.0.0.1", exporter.port, context=context
    )
    token = base64.b64encode(f"prometheus:{password}".encode()).decode()
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def certificate_name(exporter: Exporter) -> str:
    """Return the name in the certificate that a new connection gets."""
    pem = ssl.get_server_certificate(("127.0.0.1", exporter.port), timeout=30)
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"],
        input=pem,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.rpartition("= ")[2].strip() or done.stdout


def test_a_user_with_the_password_scrapes_over_tls(secured: Exporter) -> None:
    code, headers, body = get(secured)

    assert code == 200
    assert b"netns_sysctl_value" in body
    assert headers["x-frame-options"] == "deny"


def test_a_wrong_password_gets_a_401_without_data(secured: Exporter) -> None:
    for path in ("/metrics", "/", "/-/healthy", "/-/ready", "/nowhere"):
        code, headers, body = get(secured, path, password="wrong")
        assert code == 401
        assert headers["www-authenticate"].startswith("Basic")
        assert b"netns" not in body


def test_a_request_without_tls_gets_no_response(secured: Exporter) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), timeout=30) as plain:
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in plain.recv(4096)


def test_a_renewed_certificate_is_used_without_a_restart(
    secured: Exporter, tmp_path: Path
) -> None:
    """Only root can read the key, and the server has dropped its privileges."""
    assert certificate_name(secured) == "first.test"
    server = secured.server_pid

    certificate(tmp_path, "second.test")

    wait_until(lambda: certificate_name(secured) == "second.test")
    assert secured.server_pid == server
    assert get(secured)[0] == 200


def test_stalled_connections_do_not_block_a_scrape(secured: Exporter) -> None:
    """More than the limit of connections, stalled at different stages."""
    context = ssl._create_unverified_context()
    with contextlib.ExitStack() as stalled:
        for number in range(STALLED):
            sock: socket.socket = stalled.enter_context(
                socket.create_connection(("127.0.0.1", secured.port), timeout=30)
            )
            if number % 3:
                with contextlib.suppress(OSError):  # evicted already
                    sock = context.wrap_socket(sock)
                    stalled.enter_context(sock)
                    sock.sendall(b"GET /met" if number % 3 == 1 else UNFINISHED_HEAD)
            else:
                sock.sendall(b"\x16\x03\x01")

        code, _, body = get(secured)

    assert code == 200
    evicted = re.search(rb"\nnetns_exporter_connections_evicted_total ([0-9.]+)", body)
    assert evicted
    assert float(evicted[1]) >= STALLED - CONNECTIONS


def test_an_invalid_configuration_is_reported_and_not_used(
    secured: Exporter, web: Path
) -> None:
    valid = web.read_text()
    web.write_text("tls_server_config: {cert_fil: x}")

    def is_reported() -> bool:
        return b'netns_collector_problem{problem="web_config"}' in get(secured)[2]

    wait_until(is_reported)
    assert "did you mean 'cert_file'" in secured.log.read_text()
    web.write_text(valid)
    wait_until(lambda: not is_reported())


def test_a_key_of_another_certificate_is_counted_and_not_used(
    secured: Exporter, tmp_path: Path
) -> None:
    key = (tmp_path / "node.key").read_bytes()
    certificate(tmp_path, "second.test")
    (tmp_path / "node.key").write_bytes(key)
    failures = re.compile(rb"netns_exporter_web_config_failures_total ([1-9])")

    wait_until(lambda: failures.search(get(secured)[2]))

    assert certificate_name(secured) == "first.test"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_server_config: {cert_file: gone.pem, key_file: node.key}", "gone.pem"),
        ("basic_auth_users: {prometheus: plain}", "htpasswd"),
        ("tls_server_config: {cert_file: node.pem, key_file: other.key}", "key"),
    ],
)
def test_a_start_with_an_invalid_configuration_fails_with_the_reason(
    web: Path, text: str, expected: str
) -> None:
    certificate(web.parent, "other.test")
    (web.parent / "node.key").rename(web.parent / "other.key")
    certificate(web.parent, "first.test")
    web.write_text(text)
    command = [*COMMAND, "--web.listen-address=127.0.0.1:0", f"--web.config.file={web}"]

    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode in {1, 2}
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_prometheus_scrapes_over_tls_with_a_password(
    tmp_path: Path, secured: Exporter
) -> None:
    settings = f"""
    scheme: https
    tls_config: {{ca_file: {tmp_path / "node.pem"}, server_name: first.test}}
    basic_auth: {{username: prometheus, password: {PASSWORD}}}
"""
    (tmp_path / "prometheus").mkdir()
    with run_prometheus(
        tmp_path / "prometheus", secured.port, settings=settings
    ) as server:
        wait_until(lambda: server.number("up") == 1, seconds=60)
        wait_until(lambda: server.number("count(netns_sysctl_value)"), seconds=60)


class TestSystemd:
    @pytest.fixture
    def supervisor(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(tmp_path / "notify"))
            sock.settimeout(60)
            yield sock

    def test_it_is_notified_of_the_start_watchdog_and_stop(
        self, supervisor: socket.socket, tmp_path: Path
    ) -> None:
        prefix = ("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}")
        with run_exporter(tmp_path, prefix=prefix) as exporter:
            assert supervisor.recv(64) == b"READY=1"
            assert exporter.get("/-/ready")[0] == 200
            assert supervisor.recv(64) == b"WATCHDOG=1"

        message = supervisor.recv(64)
        while message == b"WATCHDOG=1":
            message = supervisor.recv(64)
        assert message == b"STOPPING=1"

    def test_a_socket_from_systemd_is_served(self, tmp_path: Path) -> None:
        """As systemd passes it: fd 3, with LISTEN_FDS and LISTEN_PID."""
        start = 'exec 3<&"$1"; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            fd = listener.fileno()
            command = [*COMMAND, "--web.systemd-socket"]
            process = subprocess.Popen(
                ["bash", "-c", start, "bash", str(fd), *command],
                pass_fds=[fd],
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
        try:
            log = tmp_path / "none"
            metrics = Exporter(process, port, log).scrape()
            assert metrics.value("netns_namespaces", state="read")
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    client = socket.socket(socket.AF_UNIX)
    with run_exporter(tmp_path, f"--web.listen-address=unix:{path}"), client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"

    assert not path.exists()


def test_four_thousand_scrapes_leak_nothing(tmp_path: Path) -> None:
    with run_exporter(tmp_path) as exporter:
        pids = [exporter.process.pid, exporter.server_pid]
        processes = [psutil.Process(pid) for pid in pids]
        connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=60)
        with contextlib.closing(connection):
            scrape(connection, SCRAPES // 4)
            before = [process.memory_info().rss for process in processes]
            files = [process.num_fds() for process in processes]

            scrape(connection, SCRAPES)

            after = [process.memory_info().rss for process in processes]
            assert [process.num_fds() for process in processes] == files
        for former, current in zip(before, after, strict=True):
            assert current - former < GROWTH_BYTES


def scrape(connection: http.client.HTTPConnection, count: int) -> None:
    for number in range(count):
        path = "/metrics" if number % 2 else "/metrics?name[]=netns_info"
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        assert response.status == 200
        response.read()
