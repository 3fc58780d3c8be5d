"""A real exporter that was told to export less of each namespace."""

import subprocess
from pathlib import Path

import pytest

from testing.lab import new_namespaces, wait_until
from testing.running import COMMAND, Exposition, run_exporter

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"


def _of(page: Exposition, netns: str, metric: str) -> set[str]:
    """Return the sysctls of which a namespace has that metric."""
    return {dict(labels)["sysctl"] for labels in page.samples(metric, netns=netns)}


def test_only_what_drifts_is_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    with (
        new_namespaces(2) as pods,
        run_exporter(tmp_path, "--metrics.detail=drift") as one,
    ):
        pods[0].write(SOMAXCONN, "128")
        names = [f"cookie/{pod.cookie}" for pod in pods]
        wait_until(lambda: one.scrape().samples("netns_info", netns=names[1]))
        page = one.scrape()

    assert _of(page, names[0], "netns_sysctl_value") >= {SOMAXCONN}
    assert SOMAXCONN not in _of(page, names[1], "netns_sysctl_value")
    assert page.value("netns_sysctl_lowest_value", sysctl=SOMAXCONN) == 128
    drifting = page.samples("netns_sysctl_drifting_namespaces", sysctl=SOMAXCONN)
    assert sum(drifting.values()) >= 1


def test_a_crowd_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    with new_namespaces(60), run_exporter(tmp_path, "--metrics.max-series=3000") as one:
        name = "netns_exporter_namespaces_reduced"
        wait_until(lambda: sum(one.scrape().samples(name).values()) > 0)
        page = one.scrape()

        assert len(page.series) <= 3000
        assert page.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert "metrics.max_series leaves no room" in one.log.read_text()


def test_a_snapshot_for_a_textfile_is_as_detailed() -> None:
    words = ("snapshot", "--format=prom", "--metrics.detail=summary")
    done = subprocess.run([*COMMAND, *words], check=True, capture_output=True)

    page = Exposition(done.stdout.decode())
    assert page.value("netns_exporter_detail_info", detail="summary") == 1
    assert page.samples("netns_info")
    assert not page.samples("netns_sysctl_value")
