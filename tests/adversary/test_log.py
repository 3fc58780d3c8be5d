"""Standard error that nothing reads: scrapes go on, what is not written is counted."""

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import wait_until
from testing.running import COMMAND, Exporter

pytestmark = pytest.mark.root

MAX_FILES = 64
"""Files that each process of the exporter may open."""

NAMES = (
    "netns_collector_log_lines_omitted_total",
    "netns_exporter_log_lines_omitted_total",
)


class BlockedPipe:
    """A pipe as the standard error of an exporter; full until it is read."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self._received = b""

    def fill(self) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK
        own = os.open(f"/proc/self/fd/{self.writer}", flags)
        with contextlib.suppress(BlockingIOError):
            while os.write(own, b"." * 4096):
                pass
        os.close(own)

    def read(self) -> str:
        """Return all that was written up to now, the filling apart."""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.reader, 1 << 16):
                self._received += part
        return self._received.replace(b".....", b"").decode()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@contextlib.contextmanager
def exporter_on(pipe: BlockedPipe, web: Path) -> Iterator[Exporter]:
    listen = ("--web.listen-address", "127.0.0.1:0", "--web.config.file", str(web))
    limit = ("sh", "-c", f'ulimit -n {MAX_FILES}; exec "$@"', "sh")
    process = subprocess.Popen([*limit, *COMMAND, *listen], stderr=pipe.writer)
    try:
        serving = re.compile(r"serving on 127\.0\.0\.1:(\d+)")
        wait_until(lambda: serving.search(pipe.read()))
        found = serving.search(pipe.read())
        assert found
        yield Exporter(process, int(found[1]), web)
    finally:
        process.terminate()
        process.wait(30)


def exhaust_files(exporter: Exporter) -> None:
    """Make the server log that it cannot accept connections."""
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_FILES):
            address = ("127.0.0.1", exporter.port)
            stack.enter_context(socket.create_connection(address))
        # it still responds: it closes the oldest connections instead
        assert exporter.get("/-/healthy")[0] == 200


def test_a_standard_error_that_nothing_reads_delays_no_scrape(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("http_server_config: {}\n")
    pipe = BlockedPipe()

    def problems() -> bool:
        metrics = running.scrape()
        return bool(metrics.samples("netns_collector_problem", problem="web_config"))

    def are_counted() -> bool:
        metrics = running.scrape()
        return all(metrics.value(name, reason="not_written") for name in NAMES)

    with contextlib.closing(pipe), exporter_on(pipe, web) as running:
        pipe.fill()
        exhaust_files(running)
        web.write_text("nonsense: true\n")
        wait_until(problems)
        wait_until(are_counted)
        assert os.get_blocking(pipe.writer)

        pipe.read()
        web.write_text("http_server_config: {}\n")
        wait_until(lambda: not problems())
        wait_until(lambda: "web configuration reloaded" in pipe.read())
        assert "could not be written to standard error" in pipe.read()


def test_it_ends_while_nothing_reads_its_standard_error(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("http_server_config: {}\n")
    pipe = BlockedPipe()
    with contextlib.closing(pipe), exporter_on(pipe, web) as running:
        pipe.fill()
        running.process.terminate()

        assert running.process.wait(10) == 0


def test_closed_standard_streams_do_not_become_sockets(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listen = ("--web.listen-address", f"127.0.0.1:{port}")
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    process = subprocess.Popen([*closed, *COMMAND, *listen], cwd=tmp_path)
    running = Exporter(process, port, tmp_path)
    try:
        wait_until(lambda: accepts_connections(port))
        running.scrape()
        for pid in (process.pid, running.server_pid):
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)]
            assert links == [os.devnull] * 3
    finally:
        process.terminate()
        assert process.wait(30) == 0


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
