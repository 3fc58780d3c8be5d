"""A real Prometheus scrapes a real exporter, and counts right."""

import contextlib
import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import held, wait_until
from tests.running import exporter

pytestmark = pytest.mark.root

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: netns
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
{settings}
"""


class Prometheus:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1/query?query="

    def query(self, expression: str) -> list[Any]:
        try:
            with urllib.request.urlopen(
                self.url + urllib.parse.quote(expression)
            ) as answer:
                return list(json.load(answer)["data"]["result"])
        except OSError:
            return []

    def number(self, expression: str) -> float | None:
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None


@contextlib.contextmanager
def prometheus(tmp_path: Path, target: int, settings: str = "") -> Iterator[Prometheus]:
    """Run one that scrapes *target* with the *settings* of its job besides."""
    config = tmp_path / "prometheus.yml"
    config.write_text(CONFIG.format(port=target, settings=settings))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command)
    try:
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_prometheus_sees_every_namespace(tmp_path: Path) -> None:
    with held(7) as pods, exporter(tmp_path) as one:
        pods[0].write("net.core.somaxconn", "128")
        with prometheus(tmp_path, one.port) as server:
            wait_until(lambda: server.number("up") == 1)
            count = 'count(netns_sysctl_value{sysctl="net.core.somaxconn"})'
            # the namespaces of processes wait a moment for a better name
            wait_until(lambda: (server.number(count) or 0) >= len(pods) + 1)

            found = server.number('sum(netns_namespaces{state="read"})')
            assert server.number(f'{count} == sum(netns_namespaces{{state="read"}})')
            assert found
            drifted = server.query(
                'netns_sysctl_drift{sysctl="net.core.somaxconn"} < 0'
            )
            host = int(Path("/proc/sys/net/core/somaxconn").read_text())
            assert [float(s["value"][1]) for s in drifted] == [128 - host]
            assert drifted[0]["metric"]["netns"] == f"cookie/{pods[0].cookie}"
            assert not server.query("scrape_samples_scraped == 0")
