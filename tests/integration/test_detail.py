"""A real exporter with less detail for each namespace."""

import subprocess
from pathlib import Path

import pytest

from testing.lab import new_namespaces, wait_until
from testing.running import COMMAND, Exposition, run_exporter

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"


def _sysctls(metrics: Exposition, netns: str, metric: str) -> set[str]:
    """Return the sysctls for which a namespace has a series of *metric*."""
    return {dict(labels)["sysctl"] for labels in metrics.samples(metric, netns=netns)}


def test_only_drifting_values_are_exported_and_the_others_are_aggregated(
    tmp_path: Path,
) -> None:
    with (
        new_namespaces(2) as pods,
        run_exporter(tmp_path, "--metrics.detail=drift") as exporter,
    ):
        pods[0].write(SOMAXCONN, "128")
        names = [f"cookie/{pod.cookie}" for pod in pods]
        wait_until(lambda: exporter.scrape().samples("netns_info", netns=names[1]))
        metrics = exporter.scrape()

    assert _sysctls(metrics, names[0], "netns_sysctl_value") >= {SOMAXCONN}
    assert SOMAXCONN not in _sysctls(metrics, names[1], "netns_sysctl_value")
    assert metrics.value("netns_sysctl_lowest_value", sysctl=SOMAXCONN) == 128
    drifting = metrics.samples("netns_sysctl_drifting_namespaces", sysctl=SOMAXCONN)
    assert sum(drifting.values()) >= 1


def test_many_namespaces_are_truncated_at_the_limit_of_series(tmp_path: Path) -> None:
    with (
        new_namespaces(60),
        run_exporter(tmp_path, "--metrics.max-series=3000") as exporter,
    ):
        name = "netns_exporter_namespaces_reduced"
        wait_until(lambda: sum(exporter.scrape().samples(name).values()) > 0)
        metrics = exporter.scrape()

        assert len(metrics.series) <= 3000
        assert metrics.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert "metrics.max_series is too low for all of" in exporter.log.read_text()


def test_the_detail_applies_to_a_snapshot_for_the_textfile_collector() -> None:
    arguments = ("snapshot", "--format=prom", "--metrics.detail=summary")
    done = subprocess.run([*COMMAND, *arguments], check=True, capture_output=True)

    metrics = Exposition(done.stdout.decode())
    assert metrics.value("netns_exporter_detail_info", detail="summary") == 1
    assert metrics.samples("netns_info")
    assert not metrics.samples("netns_sysctl_value")
