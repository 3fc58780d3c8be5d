"""The server as it is run: TLS, users, sockets of systemd, ten thousand scrapes."""

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
HEAD = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: b"
STALLED = 400
CONNECTIONS = ConnectionLimits().connections
SCRAPES = 10_000
GROWTH_BYTES = 6 << 20


def certificate(directory: Path, name: str) -> None:
    """Make node.pem and node.key, for a host called *name*."""
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
    with run_exporter(tmp_path, f"--web.config.file={web}") as one:
        yield one


def get(
    one: Exporter, path: str = "/metrics", password: str = PASSWORD
) -> tuple[int, http.client.HTTPMessage, bytes]:
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", one.port, context=context)
    token = base64.b64encode(f"prometheus:{password}".encode()).decode()
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def name_shown(one: Exporter) -> str:
    """Return the name in the certificate that the next connection is shown."""
    pem = ssl.get_server_certificate(("127.0.0.1", one.port), timeout=30)
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject"],
        input=pem,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.rpartition("= ")[2].strip() or done.stdout


def test_who_has_the_password_scrapes_over_tls(secured: Exporter) -> None:
    code, headers, body = get(secured)

    assert code == 200
    assert b"netns_sysctl_value" in body
    assert headers["X-Frame-Options"] == "deny"


def test_nobody_else_learns_anything(secured: Exporter) -> None:
    for path in ("/metrics", "/", "/-/healthy", "/-/ready", "/nowhere"):
        code, headers, body = get(secured, path, password="wrong")
        assert code == 401
        assert headers["WWW-Authenticate"].startswith("Basic")
        assert b"netns" not in body


def test_without_tls_nothing_is_answered(secured: Exporter) -> None:
    with socket.create_connection(("127.0.0.1", secured.port), timeout=30) as plain:
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in plain.recv(4096)


def test_a_new_certificate_is_shown_without_a_restart(
    secured: Exporter, tmp_path: Path
) -> None:
    """Root's alone, and renewed long after the server became nobody."""
    assert name_shown(secured) == "first.test"
    server = secured.server_pid

    certificate(tmp_path, "second.test")

    wait_until(lambda: name_shown(secured) == "second.test")
    assert secured.server_pid == server
    assert get(secured)[0] == 200


def test_those_who_stall_do_not_keep_a_scrape_out(secured: Exporter) -> None:
    """More of them than there may be connections, in each stage."""
    context = ssl._create_unverified_context()
    with contextlib.ExitStack() as stalled:
        for number in range(STALLED):
            plain = socket.create_connection(("127.0.0.1", secured.port), timeout=30)
            one = stalled.enter_context(plain)
            if number % 3:
                with contextlib.suppress(OSError):  # ended for a newer one already
                    one = context.wrap_socket(one)
                    stalled.enter_context(one)
                    one.sendall(b"GET /met" if number % 3 == 1 else HEAD)
            else:
                one.sendall(b"\x16\x03\x01")

        code, _, body = get(secured)

    assert code == 200
    evicted = re.search(rb"\nnetns_exporter_connections_evicted_total ([0-9.]+)", body)
    assert evicted
    assert float(evicted[1]) >= STALLED - CONNECTIONS


def test_what_cannot_be_used_leaves_all_as_it_was_and_is_told(
    secured: Exporter, web: Path
) -> None:
    good = web.read_text()
    web.write_text("tls_server_config: {cert_fil: x}")

    def told() -> bool:
        return b'netns_collector_problem{problem="web_config"}' in get(secured)[2]

    wait_until(told)
    assert "did you mean 'cert_file'" in secured.log.read_text()
    web.write_text(good)
    wait_until(lambda: not told())


def test_a_key_that_does_not_fit_leaves_all_as_it_was_and_is_counted(
    secured: Exporter, tmp_path: Path
) -> None:
    key = (tmp_path / "node.key").read_bytes()
    certificate(tmp_path, "second.test")
    (tmp_path / "node.key").write_bytes(key)
    counted = re.compile(rb"netns_exporter_web_config_failures_total ([1-9])")

    wait_until(lambda: counted.search(get(secured)[2]))

    assert name_shown(secured) == "first.test"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls_server_config: {cert_file: gone.pem, key_file: node.key}", "gone.pem"),
        ("basic_auth_users: {prometheus: plain}", "htpasswd"),
        ("tls_server_config: {cert_file: node.pem, key_file: other.key}", "key"),
    ],
)
def test_a_start_with_what_cannot_be_used_ends_with_the_reason(
    web: Path, text: str, said: str
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
    assert said in done.stderr
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
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            one.bind(str(tmp_path / "notify"))
            one.settimeout(60)
            yield one

    def test_it_is_told_when_we_serve_live_and_end(
        self, supervisor: socket.socket, tmp_path: Path
    ) -> None:
        prefix = ("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}")
        with run_exporter(tmp_path, prefix=prefix) as one:
            assert supervisor.recv(64) == b"READY=1"
            assert one.get("/-/ready")[0] == 200
            assert supervisor.recv(64) == b"WATCHDOG=1"

        said = supervisor.recv(64)
        while said == b"WATCHDOG=1":
            said = supervisor.recv(64)
        assert said == b"STOPPING=1"

    def test_its_socket_is_served(self, tmp_path: Path) -> None:
        """As systemd does it: fd 3, and two variables, of which one is our pid."""
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
            page = Exporter(process, port, log).scrape()
            assert page.value("netns_namespaces", state="read")
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_a_unix_socket_serves_what_a_port_does(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    client = socket.socket(socket.AF_UNIX)
    with run_exporter(tmp_path, f"--web.listen-address=unix:{path}"), client:
        client.settimeout(30)
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.1 200 OK"

    assert not path.exists()


def test_ten_thousand_scrapes_leave_nothing_behind(tmp_path: Path) -> None:
    with run_exporter(tmp_path) as one:
        pids = [one.process.pid, one.server_pid]
        processes = [psutil.Process(pid) for pid in pids]
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
        with contextlib.closing(connection):
            scrape(connection, SCRAPES // 10)
            before = [process.memory_info().rss for process in processes]
            files = [process.num_fds() for process in processes]

            scrape(connection, SCRAPES)

            after = [process.memory_info().rss for process in processes]
            assert [process.num_fds() for process in processes] == files
        for then, now in zip(before, after, strict=True):
            assert now - then < GROWTH_BYTES


def scrape(connection: http.client.HTTPConnection, times: int) -> None:
    for number in range(times):
        path = "/metrics" if number % 2 else "/metrics?name[]=netns_info"
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
