"""A real Prometheus that scrapes a real exporter."""

from pathlib import Path

import pytest

from testing.lab import new_namespaces, wait_until
from testing.monitoring import run_prometheus
from testing.running import run_exporter

pytestmark = pytest.mark.root


def test_prometheus_stores_the_series_of_all_namespaces(tmp_path: Path) -> None:
    with new_namespaces(7) as pods, run_exporter(tmp_path) as exporter:
        pods[0].write("net.core.somaxconn", "128")
        with run_prometheus(tmp_path, exporter.port) as server:
            wait_until(lambda: server.number("up") == 1)
            count = 'count(netns_sysctl_value{sysctl="net.core.somaxconn"})'
            # namespaces of processes are pending for a few seconds
            wait_until(lambda: (server.number(count) or 0) >= len(pods) + 1)

            found = server.number('sum(netns_namespaces{state="read"})')
            assert server.number(f'{count} == sum(netns_namespaces{{state="read"}})')
            assert found
            drifted = server.query(
                'netns_sysctl_drift{sysctl="net.core.somaxconn"} < 0'
            )
            host = int(Path("/proc/sys/net/core/somaxconn").read_text())
            assert [float(series["value"][1]) for series in drifted] == [128 - host]
            assert drifted[0]["metric"]["netns"] == f"cookie/{pods[0].cookie}"
            assert not server.query("scrape_samples_scraped == 0")
