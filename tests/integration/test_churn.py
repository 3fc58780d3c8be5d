"""Namespaces that are created and deleted during scrapes: none kept alive, no leak."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import add_veth, cgroup, new_namespaces, wait_until
from testing.running import Exporter, run_exporter

pytestmark = pytest.mark.root

ROUNDS, PER_ROUND = 25, 40
STEP = 100
GROWTH_BYTES = 8 << 20


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Exporter]:
    with run_exporter(tmp_path) as exporter:
        yield exporter


def test_a_thousand_deleted_namespaces_leak_nothing(running: Exporter) -> None:
    churn(running, rounds=5)  # fill caches and allocators
    wait_until(lambda: len(cookies(running)) <= usual_count())
    memory, files = resident(running), running.count_fds()

    found, veths = churn(running, rounds=ROUNDS)

    assert len(found) >= ROUNDS * PER_ROUND / 2, "the scrapes found too few"
    wait_until(lambda: not any(veth.exists() for veth in veths))
    wait_until(lambda: not found & cookies(running))
    wait_until(lambda: running.count_fds() <= files)
    assert resident(running) - memory < GROWTH_BYTES


def test_four_thousand_deleted_namespaces_leak_nothing(running: Exporter) -> None:
    """In steps of a hundred, each found by a scrape before it is deleted."""
    create_and_delete(running, steps=10)
    wait_until(lambda: len(cookies(running)) <= usual_count())
    memory, files = resident(running), running.count_fds()

    create_and_delete(running, steps=40)

    wait_until(lambda: len(cookies(running)) <= usual_count())
    wait_until(lambda: running.count_fds() <= files)
    assert resident(running) - memory < GROWTH_BYTES / 2


def create_and_delete(running: Exporter, *, steps: int) -> None:
    for _ in range(steps):
        with new_namespaces(STEP):
            wait_until(lambda: (namespaces(running) or 0) > STEP)


def namespaces(running: Exporter) -> float | None:
    """Return how many namespaces have values, including pending ones."""
    metrics = running.scrape()
    read = metrics.value("netns_namespaces", state="read") or 0
    return read + (metrics.value("netns_namespaces", state="pending") or 0)


def churn(running: Exporter, *, rounds: int) -> tuple[set[str], list[Path]]:
    """
    Create and delete namespaces during scrapes.

    Return the cookies found, and our ends of the veth pairs.
    """
    found: set[str] = set()
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            found.update(cookies(running))

    before = cookies(running)
    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        veths = [run_round(number, found) for number in range(rounds)]
    finally:
        done.set()
        scraper.join()
    return found - before, veths


def run_round(number: int, found: set[str]) -> Path:
    """
    Create containers, and end them once found.

    Return our end of a veth pair that the first had.
    """
    with contextlib.ExitStack() as stack:
        pods = stack.enter_context(new_namespaces(PER_ROUND))
        for at, pod in enumerate(pods):
            container = f"{number * PER_ROUND + at:012x}" + "0" * 52
            stack.enter_context(cgroup(f"docker/{container}", pod.pid))
        veth = add_veth(pods[0].pid)
        target = {str(pod.cookie) for pod in pods}
        wait_until(lambda: len(target & found) > PER_ROUND / 2)
    return veth


def cookies(running: Exporter) -> set[str]:
    """Return the cookies of all namespaces found, except pending ones."""
    infos = running.scrape().samples("netns_info")
    return {dict(labels).get("cookie", "") for labels in infos}


def usual_count() -> int:
    """Return an upper bound of the namespaces that are not from this test."""
    out = subprocess.run(
        ["lsns", "-t", "net", "-n"], check=True, capture_output=True, text=True
    ).stdout
    return max(len(out.splitlines()), 1) + 5


def resident(running: Exporter) -> int:
    metrics = running.scrape()
    collector = metrics.value("netns_collector_resident_memory_bytes")
    server = metrics.value("process_resident_memory_bytes")
    assert collector
    assert server
    return int(collector + server)
