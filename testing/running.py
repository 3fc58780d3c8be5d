"""The exporter as its users run it: the command, its processes and its port."""

import contextlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import psutil
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from testing.lab import wait_until

COMMAND = (sys.executable, "-m", "exporter")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Labels = frozenset[tuple[str, str]]


class Exposition:
    """A parsed exposition. AssertionError if a series occurs twice."""

    def __init__(self, text: str, content_type: str = "text/plain") -> None:
        openmetrics = content_type.startswith("application/openmetrics-text")
        parse: Callable[[str], Iterable[Metric]]
        parse = parse_openmetrics if openmetrics else parse_text
        self.text = text
        self.series: dict[tuple[str, Labels], float] = {}
        for family in parse(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self.series, f"duplicate series: {key}"
                self.series[key] = sample.value

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the single series of *name* with *labels*, or None."""
        found = self.samples(name, **labels)
        assert len(found) <= 1, f"{name} {labels}: {found}"
        return next(iter(found.values()), None)

    def samples(self, name: str, **labels: str) -> dict[Labels, float]:
        """Return the series of *name* with all *labels*, and their values."""
        return {
            own: value
            for (series, own), value in self.series.items()
            if series == name and labels.items() <= dict(own).items()
        }


class Exporter(NamedTuple):
    """A running exporter."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def server_pid(self) -> int:
        return self.child_pid("--server-role")

    def child_pid(self, role: str) -> int:
        """Return the PID of the child process that the exporter started in a role."""
        children = psutil.Process(self.process.pid).children()
        (pid,) = [child.pid for child in children if role in _command_line(child)]
        return pid

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers=fields
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, _lower(response.headers), response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read()

    def scrape(self, accept: str = "") -> Exposition:
        status, headers, body = self.get("/metrics", Accept=accept)
        assert status == 200, body
        return Exposition(body.decode(), headers["content-type"])

    def count_fds(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): text for name, text in headers.items()}


def _command_line(process: psutil.Process) -> list[str]:
    """Return the command line of a process, [] if it has just exited."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@contextlib.contextmanager
def run_exporter(
    tmp_path: Path,
    *arguments: str,
    prefix: tuple[str, ...] = (),
    command: tuple[str, ...] = COMMAND,
) -> Iterator[Exporter]:
    """
    Run the exporter on a free port of 127.0.0.1 until the block ends.

    It exports every namespace without a name, as most of a lab are, unless *arguments*
    set another limit.
    """
    log = tmp_path / "exporter.log"
    listen = ("--web.listen-address", "127.0.0.1:0", "--metrics.max-unnamed=0")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*prefix, *command, *listen, *arguments], stderr=file, cwd=tmp_path
        )
    try:
        yield Exporter(process, _port(process, log), log)
    finally:
        process.terminate()
        process.wait(30)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    serving = re.compile(r"serving on 127\.0\.0\.1:(\d+)")

    def logged() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return serving.search(log.read_text())

    wait_until(logged)
    match = logged()
    assert match
    return int(match[1])
