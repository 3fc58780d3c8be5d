"""A user that renews network namespaces makes a bounded number of series."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config.settings import MetricSettings
from testing.lab import cgroup, new_namespaces, wait_until
from testing.running import Exporter, Exposition, run_exporter

pytestmark = pytest.mark.root

USER = 54_321
COUNT = 120
LIMIT = MetricSettings().max_unnamed
LEFT_OUT = "netns_exporter_unnamed_namespaces_left_out"
CONTAINER = "5e" * 32
MAKE = f"for _ in $(seq {COUNT}); do unshare -Urn sleep 600 & done; wait"


@contextlib.contextmanager
def namespaces_of_a_user() -> Iterator[None]:
    """Run processes of an unprivileged user, each in a namespace that it made."""
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    with subprocess.Popen(
        [*command, "sh", "-c", MAKE], start_new_session=True, cwd="/"
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Exporter]:
    with run_exporter(tmp_path, f"--metrics.max-unnamed={LIMIT}") as exporter:
        yield exporter


def names_of(page: Exposition, comm: str) -> set[str]:
    infos = page.samples("netns_info", comm=comm)
    return {dict(labels).get("netns", "") for labels in infos}


def resolved(page: Exposition, count: int) -> bool:
    """Return whether *count* namespaces have been found, and none is pending."""
    found = page.value("netns_namespaces", state="read") or 0
    return found >= count and not page.value("netns_namespaces", state="pending")


def test_renewed_namespaces_of_a_user_take_no_series_from_others(
    running: Exporter,
) -> None:
    """Those of root, of a container, and the aggregates of the node stay."""
    before = running.scrape().value("netns_namespaces", state="read") or 0
    seen: set[str] = set()
    for _ in range(3):
        with namespaces_of_a_user():
            wait_until(lambda: resolved(running.scrape(), int(before) + COUNT), 60)
            page = running.scrape()
            names = names_of(page, "sleep")
            assert page.value(LEFT_OUT, reason="user") == COUNT - len(names)
            seen |= {name for name in names if "cookie/" in name}
        wait_until(
            lambda: (running.scrape().value(LEFT_OUT, reason="user") or 0) < COUNT / 2
        )
    assert len(seen) == LIMIT
    with (
        new_namespaces(3, comm=b"roots") as pods,
        cgroup(f"docker/{CONTAINER}", pods[0].pid),
    ):
        wait_until(lambda: len(names_of(running.scrape(), "roots")) == 3)
        page = running.scrape()
        assert page.samples("netns_sysctl_value", container=CONTAINER[:12])
    assert "metrics.max_unnamed leaves out" in running.log.read_text()


def test_the_further_namespaces_of_a_container_are_limited_too(
    running: Exporter,
) -> None:
    owner = {"container": CONTAINER[:12]}
    with (
        new_namespaces(COUNT) as members,
        cgroup(f"docker/{CONTAINER}", *(member.pid for member in members)),
    ):
        wait_until(
            lambda: (
                running.scrape().value(LEFT_OUT, reason="owner") == COUNT - LIMIT - 1
            ),
            60,
        )
        infos = running.scrape().samples("netns_info", **owner)

    assert len(infos) == LIMIT + 1
    assert sum("netns" not in dict(labels) for labels in infos) == 1
