"""
Network peers that read nothing, request in a loop, guess passwords or hang up.

Against a running exporter on a node of 100 namespaces, from addresses of 127.0.0.0/8.
"""

import base64
import contextlib
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import bcrypt
import pytest

from testing.lab import new_namespaces, wait_until
from testing.running import Exporter, run_exporter
from tests.support.clients import make_certificate

pytestmark = pytest.mark.root

NAMESPACES = 100
LISTENERS = 2
EXPOSITION_BYTES = 1_000_000
"""The exposition has at least so many, once all namespaces are named."""

SILENT = 214
MAX_RESIDENT_KIB = 96 << 10
MAX_RESIDENT_TLS_KIB = 128 << 10
"""OpenSSL and asyncio have buffers of some 200 KiB for each connection."""

SCRAPES = 10
SCRAPE_SECONDS = 30.0
"""A scrape timeout that suffices on a busy machine."""

LOOPERS = 70
GUESSERS = 64
PASSWORD = "correct horse"


@pytest.fixture(scope="module", autouse=True)
def _namespaces() -> Iterator[None]:
    with new_namespaces(NAMESPACES, listeners=LISTENERS):
        yield


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """Run one exporter for all attacks, each after the others."""
    with run_exporter(tmp_path_factory.mktemp("exporter")) as exporter:
        wait_until(lambda: len(exporter.get("/metrics")[2]) > EXPOSITION_BYTES)
        yield exporter


def connect(exporter: Exporter, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", exporter.port), SCRAPE_SECONDS, source_address=(address, 0)
    )


def request(target: str = "/metrics", *, method: str = "GET", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    head = [f"{method} {target} HTTP/1.1", "Host: x", *lines]
    return "\r\n".join([*head, "", ""]).encode()


def read_response(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 18), b""))


def scrape(exporter: Exporter, **headers: str) -> str:
    """Scrape as Prometheus does; return the status, or what failed."""
    fields = {
        "Accept-Encoding": "gzip",
        "Connection": "close",
        "X-Prometheus-Scrape-Timeout-Seconds": f"{SCRAPE_SECONDS}",
        **headers,
    }
    try:
        with connect(exporter) as sock:
            sock.sendall(request(**fields))
            response = read_response(sock)
    except OSError as error:
        return repr(error)
    return response[9:12].decode()


def scrapes(exporter: Exporter, **headers: str) -> Counter[str]:
    """Scrape some times, with pauses; return how often each status occurred."""
    results: Counter[str] = Counter()
    for _ in range(SCRAPES):
        results[scrape(exporter, **headers)] += 1
        time.sleep(0.2)
    return results


def resident_kib(exporter: Exporter) -> int:
    status = Path(f"/proc/{exporter.server_pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+)", status)
    assert match
    return int(match[1])


@contextlib.contextmanager
def silent(
    exporter: Exporter, words: Callable[[int], bytes]
) -> Iterator[list[socket.socket]]:
    """Open connections that send words(0), words(1), … and read nothing."""
    with ExitStack() as stack:
        clients = []
        for number in range(SILENT):
            clients.append(stack.enter_context(connect(exporter)))
            clients[-1].sendall(words(number))
            time.sleep(0.02)  # so that each has an exposition of its own
        yield clients


SILENT_WORDS: dict[str, Callable[[int], bytes]] = {
    "scrapes": lambda _: request(),
    "HTTP/1.0": lambda _: b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "versions": lambda at: request(
        Accept=f"application/openmetrics-text; version={at}.0"
    ),
    "selections": lambda at: request(
        f"/metrics?name[]=netns_sysctl_value&name[]=x{at}"
    ),
    "pages": lambda at: request(f"/?q={at}"),
    "pipelined": lambda _: request() * 1000,
    "pipelined pages": lambda at: request(f"/?q={at % 10}") * 100,
    "HEAD": lambda _: request(method="HEAD") * 300,
    "head without end": lambda _: b"GET /metrics HTTP/1.1\r\nX-A: ",
}
"""What each connection sends, by its number."""


@pytest.mark.parametrize("words", SILENT_WORDS.values(), ids=SILENT_WORDS)
def test_peers_that_do_not_read_cost_little_memory_and_no_scrape(
    exporter: Exporter, words: Callable[[int], bytes]
) -> None:
    with silent(exporter, words):
        assert scrapes(exporter) == {"200": SCRAPES}
        assert resident_kib(exporter) < MAX_RESIDENT_KIB


def test_responses_that_are_not_read_are_counted_when_they_are_aborted(
    exporter: Exporter,
) -> None:
    def numbers() -> tuple[float, float]:
        exposition = exporter.scrape()
        aborted = exposition.value("netns_exporter_responses_aborted_total")
        connections = exposition.value("netns_exporter_connections")
        assert aborted is not None
        assert connections is not None
        return aborted, connections

    wait_until(lambda: numbers()[1] == 1)
    before, _ = numbers()
    with silent(exporter, lambda _: request()):
        wait_until(lambda: sum(numbers()) - before == SILENT + 1)
        assert numbers()[0] > before


def test_peers_that_read_a_byte_now_and_then_cost_no_more(exporter: Exporter) -> None:
    ended = threading.Event()

    def trickle(clients: list[socket.socket]) -> None:
        while not ended.wait(1.0):
            for sock in clients:
                with contextlib.suppress(OSError):
                    sock.recv(1)

    with silent(exporter, lambda _: request()) as clients:
        reader = threading.Thread(target=trickle, args=(clients,))
        reader.start()
        try:
            assert scrapes(exporter) == {"200": SCRAPES}
            assert resident_kib(exporter) < MAX_RESIDENT_KIB
        finally:
            ended.set()
            reader.join()


@contextlib.contextmanager
def looping(
    exporter: Exporter,
    number: int,
    words: Callable[[int, int], bytes],
    address: Callable[[int], str],
) -> Iterator[Callable[[], int]]:
    """
    Send requests in *number* threads, each from its own address, one after another.

    words: of a thread's number and its request's. Yields how many were answered.
    """
    ended = threading.Event()
    answers = [0] * number

    def loop(at: int) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), connect(exporter, address(at)) as sock:
                sock.sendall(words(at, answers[at]))
                answers[at] += bool(read_response(sock))

    threads = [threading.Thread(target=loop, args=(at,)) for at in range(number)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: sum(map(bool, answers)) >= number // 2)
        yield lambda: sum(answers)
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def own_address(at: int) -> str:
    return f"127.0.0.{at + 2}"


def same_address(_at: int) -> str:
    return "127.0.0.1"


LOOPS: dict[str, Callable[[int, int], bytes]] = {
    "selections": lambda at, count: request(
        f"/metrics?name[]=netns_sysctl_value&name[]=x{at}-{count}", Connection="close"
    ),
    "pages": lambda at, count: request(f"/?q={at}-{count}", Connection="close"),
    "scrapes": lambda _at, _count: request(Connection="close"),
}


@pytest.mark.parametrize("address", [own_address, same_address])
@pytest.mark.parametrize("words", LOOPS.values(), ids=LOOPS)
def test_peers_that_request_in_a_loop_make_no_scrape_fail(
    exporter: Exporter,
    words: Callable[[int, int], bytes],
    address: Callable[[int], str],
) -> None:
    with looping(exporter, LOOPERS, words, address) as answers:
        before = answers()
        assert scrapes(exporter) == {"200": SCRAPES}
        assert answers() > before


def test_a_selection_has_its_turn_beside_peers_that_request_in_a_loop(
    exporter: Exporter,
) -> None:
    with looping(exporter, LOOPERS, LOOPS["selections"], own_address):
        for _ in range(3):
            status, _, body = exporter.get(
                "/metrics?name[]=netns_info",
                X_Prometheus_Scrape_Timeout_Seconds=f"{SCRAPE_SECONDS}",
            )
            assert (status, body.count(b"netns_info{") > NAMESPACES) == (200, True)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"prometheus:{password}".encode()).decode()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Exporter]:
    """Run an exporter with a user; it has seen no password since its start."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    (tmp_path / "web.yaml").write_text(f"basic_auth_users: {{prometheus: {hashed}}}")
    with run_exporter(
        tmp_path, f"--web.config.file={tmp_path / 'web.yaml'}"
    ) as exporter:
        yield exporter


def guess(at: int, count: int) -> bytes:
    password = f"guess {at} {count}"
    return request(Authorization=basic(password), Connection="close")


def test_guesses_from_other_addresses_delay_no_scrape_after_a_start(
    guarded: Exporter,
) -> None:
    with looping(guarded, GUESSERS, guess, own_address):
        results = scrapes(guarded, Authorization=basic(PASSWORD))
        assert results == {"200": SCRAPES}


def test_guesses_from_its_own_address_delay_no_scrape_with_a_known_password(
    guarded: Exporter,
) -> None:
    """A password not seen since the start may be refused while the attack lasts."""
    assert scrape(guarded, Authorization=basic(PASSWORD)) == "200"
    with looping(guarded, GUESSERS, guess, same_address):
        results = scrapes(guarded, Authorization=basic(PASSWORD))
        assert results == {"200": SCRAPES}
        assert scrape(guarded, Authorization=basic("new")) in {"401", "429"}


def test_most_guesses_of_an_address_are_refused_without_a_check(
    guarded: Exporter,
) -> None:
    with looping(guarded, GUESSERS, guess, same_address) as answers:
        wait_until(lambda: answers() > 20 * GUESSERS, seconds=120)
    headers = {"Authorization": basic(PASSWORD)}
    wait_until(lambda: guarded.get("/-/healthy", **headers)[0] == 200)
    _, _, body = guarded.get("/metrics", **headers)
    counts = {
        code: float(number)
        for code, number in re.findall(
            r'netns_exporter_requests_total{code="(\d+)"} (\S+)', body.decode()
        )
    }
    assert counts["429"] > 5 * counts["401"]


TLS_WORDS: dict[str, bytes | None] = {"handshake": None, "scrape": request()}
"""What follows the handshake; None for the begin of one only."""


@pytest.mark.parametrize("words", TLS_WORDS.values(), ids=TLS_WORDS)
def test_peers_that_stop_within_tls_cost_no_scrape(
    tmp_path: Path, words: bytes | None
) -> None:
    ours = make_certificate(tmp_path, "node")
    (tmp_path / "web.yaml").write_text(
        "tls_server_config: {cert_file: node.crt, key_file: node.key}"
    )
    tls = ours.client_context()

    def secure(sock: socket.socket) -> ssl.SSLSocket:
        return tls.wrap_socket(sock, server_hostname="127.0.0.1")

    arguments = (f"--web.config.file={tmp_path / 'web.yaml'}",)
    with run_exporter(tmp_path, *arguments) as exporter, ExitStack() as stack:
        for _ in range(SILENT):
            sock = stack.enter_context(connect(exporter))
            if words is None:
                sock.sendall(b"\x16\x03\x01")
                continue
            with contextlib.suppress(OSError):  # aborted already
                sock = stack.enter_context(secure(sock))
                sock.sendall(words)
        for _ in range(SCRAPES):
            with secure(connect(exporter)) as sock:
                sock.sendall(request(Connection="close"))
                assert read_response(sock).startswith(b"HTTP/1.1 200")
        assert resident_kib(exporter) < MAX_RESIDENT_TLS_KIB


def test_a_client_that_ends_its_side_gets_a_whole_response(exporter: Exporter) -> None:
    with connect(exporter) as sock:
        sock.sendall(request())
        sock.shutdown(socket.SHUT_WR)
        head, _, body = read_response(sock).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 ")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length
    assert len(body) == int(length[1]) > EXPOSITION_BYTES
