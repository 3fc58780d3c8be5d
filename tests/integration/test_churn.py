"""Namespaces that come and go while being scraped: nothing pinned, nothing left."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.lab import add_veth, cgroup, new_namespaces, wait_until
from testing.running import Exporter, run_exporter

pytestmark = pytest.mark.root

ROUNDS, EACH = 25, 40
STEP = 100
GROWTH_BYTES = 8 << 20


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Exporter]:
    with run_exporter(tmp_path) as one:
        yield one


def test_a_thousand_namespaces_leave_nothing_behind(running: Exporter) -> None:
    churn(running, rounds=5)  # caches and allocators fill once
    wait_until(lambda: not links())  # their names are used again
    wait_until(lambda: len(cookies(running)) <= quiet())
    memory, files = resident(running), running.count_fds()

    seen = churn(running, rounds=ROUNDS)

    assert len(seen) >= ROUNDS * EACH / 2, "the scrapes saw too few to prove a thing"
    wait_until(lambda: not links())
    wait_until(lambda: not seen & cookies(running))
    wait_until(lambda: running.count_fds() <= files)
    assert resident(running) - memory < GROWTH_BYTES


def test_ten_thousand_births_and_deaths_grow_nothing(running: Exporter) -> None:
    """In steps of a hundred, each of them seen by a scrape before it ends."""
    births_and_deaths(running, steps=10)
    wait_until(lambda: len(cookies(running)) <= quiet())
    memory, files = resident(running), running.count_fds()

    births_and_deaths(running, steps=100)

    wait_until(lambda: len(cookies(running)) <= quiet())
    wait_until(lambda: running.count_fds() <= files)
    assert resident(running) - memory < GROWTH_BYTES


def births_and_deaths(running: Exporter, *, steps: int) -> None:
    for _ in range(steps):
        with new_namespaces(STEP):
            wait_until(lambda: (namespaces(running) or 0) > STEP)


def namespaces(running: Exporter) -> float | None:
    """Return how many have values; those that wait for their name have, too."""
    page = running.scrape()
    read = page.value("netns_namespaces", state="read") or 0
    return read + (page.value("netns_namespaces", state="pending") or 0)


def churn(running: Exporter, *, rounds: int) -> set[str]:
    """Make and end namespaces with scrapes all the time; return what these saw."""
    seen: set[str] = set()
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            seen.update(cookies(running))

    before = cookies(running)
    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        for number in range(rounds):
            one_round(number, seen)
    finally:
        done.set()
        scraper.join()
    return seen - before


def one_round(number: int, seen: set[str]) -> None:
    """Make EACH containers, one of them linked to us, and end them once seen."""
    with contextlib.ExitStack() as all_of_them:
        pods = all_of_them.enter_context(new_namespaces(EACH))
        for at, pod in enumerate(pods):
            container = f"{number * EACH + at:012x}" + "0" * 52
            all_of_them.enter_context(cgroup(f"docker/{container}", pod.pid))
        add_veth(pods[0].pid, f"exch{number}")
        target = {str(pod.cookie) for pod in pods}
        wait_until(lambda: len(target & seen) > EACH / 2)


def cookies(running: Exporter) -> set[str]:
    """Return the cookies of all that is found, the pending left out."""
    infos = running.scrape().samples("netns_info")
    return {dict(labels).get("cookie", "") for labels in infos}


def quiet() -> int:
    """Return how many namespaces there are when nothing of ours is."""
    out = subprocess.run(
        ["lsns", "-t", "net", "-n"], check=True, capture_output=True, text=True
    ).stdout
    return max(len(out.splitlines()), 1) + 5


def links() -> list[str]:
    return [name for name in os.listdir("/sys/class/net") if name.startswith("exch")]


def resident(running: Exporter) -> int:
    page = running.scrape()
    collector = page.value("netns_collector_resident_memory_bytes")
    server = page.value("process_resident_memory_bytes")
    assert collector
    assert server
    return int(collector + server)
