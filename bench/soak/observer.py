"""Scrapes a running exporter honestly, and reads the resources of its processes."""

import base64
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from gzip import decompress
from http.client import HTTPConnection, HTTPException

import psutil

from bench.soak.results import Sample, Scrape, Usage
from testing import isolation
from testing.running import Exporter, Exposition

TIMEOUT_SECONDS = 10.0
"""Of a scrape: Prometheus's default."""

_SLOW_SECONDS = 5.0
"""Of a scrape whose stages are printed."""

_PARSED_EVERY = 10
"""Scrapes, of which one is parsed: it takes longer than to make it."""

_COOKIE = re.compile(r'cookie="(\d+)"')
_DEFERRED = re.compile(r"^netns_collector_deferred\b.* (\S+)$", re.MULTILINE)
_DURATION = re.compile(
    r"^netns_collector_duration_seconds\{(.*)\} (\S+)$", re.MULTILINE
)
_NAMESPACES = re.compile(r"^netns_namespaces\b.* (\S+)$", re.MULTILINE)
_PROBLEM = re.compile(r'^netns_collector_problem\{problem="(\w+)"\}', re.MULTILINE)
_ROLE = re.compile(r"--([\w-]+)-role")


class Observer:
    """
    An honest client, which also reads /proc of the exporter's processes.

    Args:
        exporter: the exporter.
        user: name and password.
        cookies: of the namespaces that every scrape must have.

    Attributes:
        unprotected: requests without a password that were not refused.
    """

    def __init__(
        self, exporter: Exporter, user: tuple[str, str], cookies: Iterable[int]
    ) -> None:
        self._exporter = exporter
        self._process = psutil.Process(exporter.process.pid)
        credentials = base64.b64encode(":".join(user).encode()).decode()
        self._authorization = {"Authorization": f"Basic {credentials}"}
        self._cookies = {str(cookie) for cookie in cookies}
        self._began: float | None = None
        self._number = 0
        self.unprotected = 0

    def begin(self) -> None:
        """Note that the attacks begin now."""
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Return the seconds since the attacks began, -1 before."""
        return -1.0 if self._began is None else time.monotonic() - self._began

    def scrape(self) -> Scrape:
        """Scrape, and print what failed if it did."""
        at, start = self.elapsed(), time.monotonic()
        try:
            status, body = self._get("/metrics", self._authorization)
            seconds = time.monotonic() - start
            if status != 200:  # noqa: PLR2004 # OK
                error = f"status {status}: {body[:200].decode(errors='replace')}"
            else:
                return self._checked(at, seconds, body.decode())
        except (OSError, HTTPException, ValueError, AssertionError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        seconds = time.monotonic() - start
        self._explain(at, seconds, error)
        return Scrape(at, seconds, error)

    def check_protection(self) -> None:
        """Count an answer to a request without a password."""
        with contextlib.suppress(OSError, HTTPException):  # it owes no answer
            status, _ = self._get("/metrics", {})
            if status == 200:  # noqa: PLR2004 # OK
                self.unprotected += 1
                _log(f"{self.elapsed():.0f} s: a request without a password answered")

    def sample(self) -> Sample:
        """Return the resources of each process, by role."""
        usage: dict[str, Usage] = {}
        for role, process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = process.memory_full_info()
                before = usage.get(role, Usage(0, 0, 0))
                own = Usage(memory.rss, memory.pss, process.num_fds())
                usage[role] = Usage(*map(sum, zip(before, own, strict=True)))
        return Sample(self.elapsed(), usage)

    def processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Yield the role of each process of the exporter, and the process."""
        yield "collector", self._process
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found = _ROLE.search(" ".join(child.cmdline()))
                yield found[1] if found else "other", child

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = HTTPConnection(
            "127.0.0.1", self._exporter.port, timeout=TIMEOUT_SECONDS
        )
        with contextlib.closing(connection):
            connection.request(
                "GET", path, headers={"Accept-Encoding": "gzip"} | headers
            )
            response = connection.getresponse()
            body = response.read()
            compressed = response.getheader("Content-Encoding") == "gzip"
            return response.status, decompress(body) if compressed else body

    def _checked(self, at: float, seconds: float, text: str) -> Scrape:
        self._number += 1
        if self._number % _PARSED_EVERY == 1:
            Exposition(text)
        info = [line for line in text.splitlines() if line.startswith("netns_info{")]
        cookies = {match[1] for line in info if (match := _COOKIE.search(line))}
        lost = self._cookies - cookies
        if lost and self._began:
            _log(f"{at:.0f} s: pods that a scrape lacks: {sorted(lost)}")
        if seconds > _SLOW_SECONDS:
            stages = ", ".join(f"{k} {v}" for k, v in _DURATION.findall(text))
            _log(f"{at:.0f} s: a scrape took {seconds:.1f} s: {stages}; {_load()}")
        return Scrape(
            at,
            seconds,
            namespaces=int(sum(map(float, _NAMESPACES.findall(text)))),
            deferred=sum(map(float, _DEFERRED.findall(text))),
            problems=frozenset(_PROBLEM.findall(text)) - {isolation.PROBLEM},
            lost=len(lost),
        )

    def _explain(self, at: float, seconds: float, error: str) -> None:
        """Print a failed scrape, the state of the processes and the end of the log."""
        _log(f"{at:.0f} s: a scrape failed after {seconds:.1f} s: {error}; {_load()}")
        with contextlib.suppress(psutil.NoSuchProcess):
            for role, process in self.processes():
                with contextlib.suppress(OSError, psutil.NoSuchProcess):
                    _log(f"  {role}, pid {process.pid}: {process.status()}")
        for line in self._exporter.log.read_text(errors="replace").splitlines()[-5:]:
            _log(f"  log: {line}")


def _load() -> str:
    return f"load of the machine: {os.getloadavg()[0]:.1f}"


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
