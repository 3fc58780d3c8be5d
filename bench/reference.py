"""CPU time of a scrape of node_exporter, which most nodes run already."""

import contextlib
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial

from bench import cpu
from bench.baselines import Work
from bench.scrapes import SCRAPES
from exporter import catalog
from exporter.model import Sysctl
from testing import lab

COMMAND = "prometheus-node-exporter"


def measure(work: Work) -> dict[str, float]:
    """Return the CPU milliseconds of only the host's sysctls, and of the defaults."""
    if not shutil.which(COMMAND):
        sys.stderr.write(f"{COMMAND} is not installed\n")
        return {}
    fields = {entry.name: entry.fields for entry in catalog.load()}
    names = [_include(sysctl, fields[sysctl.name]) for sysctl in work.sysctls]
    only = ["--collector.disable-defaults", "--collector.sysctl", *names]
    return {"yardstick sysctls": _scrape(*only), "yardstick defaults": _scrape()}


def _include(sysctl: Sysctl, fields: tuple[str, ...]) -> str:
    if sysctl.kind == "int":
        return f"--collector.sysctl.include={sysctl.name}"
    if sysctl.kind == "ints":
        return f"--collector.sysctl.include={sysctl.name}:{','.join(fields)}"
    return f"--collector.sysctl.include-info={sysctl.name}"


def _scrape(*flags: str) -> float:
    with _running(*flags) as (pid, url):
        lab.wait_until(lambda: _get(url))
        if flags and b"node_sysctl_net_core_somaxconn" not in _get(url):
            raise AssertionError(f"{COMMAND} does not read sysctls")
        scrape = partial(_get, url, "gzip")
        return cpu.minimum(partial(cpu.processes_ms, [pid], scrape), SCRAPES)


@contextlib.contextmanager
def _running(*flags: str) -> Iterator[tuple[int, str]]:
    address = f"127.0.0.1:{_free_port()}"
    command = [COMMAND, f"--web.listen-address={address}", *flags]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process.pid, f"http://{address}/metrics"
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _get(url: str, encoding: str = "identity") -> bytes:
    request = urllib.request.Request(url, headers={"Accept-Encoding": encoding})
    try:
        with urllib.request.urlopen(request) as response:
            return bytes(response.read())
    except OSError:
        return b""
