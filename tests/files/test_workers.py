"""Jobs in threads, some of which do not end."""

import threading
from collections.abc import Callable, Iterator

import pytest

from exporter.files import workers as workers_module
from exporter.files.workers import (
    MAX_HUNG,
    NODE,
    NODE_HUNG,
    PARTY_HUNG,
    PARTY_RUNNING,
    Job,
    Workers,
)
from testing.lab import wait_until

HUNG_SECONDS = 0.05


class Waiting(Job):
    """
    A job that ends when it may.

    Attributes:
        events: the methods that were called.
    """

    def __init__(self, key: str, party: str = "p", *, may_end: bool = True) -> None:
        super().__init__(key, party)
        self.events: list[str] = []
        self.released = threading.Event()
        if may_end:
            self.released.set()

    def describe(self) -> str:
        return str(self.key)

    def start(self) -> None:
        self.events.append("start")

    def run(self) -> None:
        self.released.wait()

    def finish(self) -> None:
        self.events.append("finish")

    def refuse(self) -> None:
        self.events.append("refuse")

    def resume(self) -> None:
        self.events.append("resume")


class Harness:
    """Workers, and what must be ended."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.workers = Workers(self.woken.set)
        self.jobs: list[Waiting] = []

    def submit(self, key: str, party: str = "p", *, may_end: bool = True) -> Waiting:
        job = Waiting(key, party, may_end=may_end)
        self.jobs.append(job)
        self.workers.submit(job)
        return job

    def hang(self, key: str, party: str = "p") -> Waiting:
        """Submit a job that does not end, until it is given up."""
        job = self.submit(key, party, may_end=False)

        def is_given_up() -> bool:
            self.workers.give_up_on_hung()
            return key in self.workers.hung

        wait_until(is_given_up)
        return job

    def wait_for(self, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            self.workers.finish_jobs()
            return condition()

        wait_until(holds)


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.setattr(workers_module, "HUNG_SECONDS", HUNG_SECONDS)
    made = Harness()
    yield made
    for job in made.jobs:
        job.released.set()


def test_a_job_is_run_and_wakes_the_caller(harness: Harness) -> None:
    job = harness.submit("a")

    assert harness.woken.wait(10)
    harness.wait_for(lambda: job.events == ["start", "finish"])
    assert not harness.workers.is_busy


def test_a_job_that_hangs_does_not_keep_others_from_running(harness: Harness) -> None:
    hung = harness.hang("a")

    other = harness.submit("b")

    harness.wait_for(lambda: other.events == ["start", "finish"])
    assert hung.events == ["start", "refuse"]
    assert harness.workers.hung == ["a"]


def test_a_hung_job_that_ends_is_resumed(harness: Harness) -> None:
    hung = harness.hang("a")

    hung.released.set()

    harness.wait_for(lambda: hung.events == ["start", "refuse", "resume"])
    assert harness.workers.hung == []


def test_a_job_of_the_same_key_is_refused_while_one_hangs(harness: Harness) -> None:
    harness.hang("a")

    assert harness.submit("a").events == ["refuse"]


def test_a_job_of_the_same_key_waits_for_the_one_that_runs(harness: Harness) -> None:
    first = harness.submit("a", may_end=False)
    second = harness.submit("a")
    third = harness.submit("a")

    assert second.events == []
    first.released.set()
    harness.wait_for(lambda: second.events == ["start", "finish"])
    assert third.events == [], "the second does its work"


@pytest.mark.parametrize(("party", "limit"), [("p", PARTY_HUNG), (NODE, NODE_HUNG)])
def test_a_party_may_hang_only_so_many_jobs(
    harness: Harness, party: str, limit: int
) -> None:
    for number in range(limit):
        harness.hang(str(number), party)

    assert harness.submit("more", party).events == ["refuse"]
    other = harness.submit("other", "q")
    harness.wait_for(lambda: other.events == ["start", "finish"])


def test_a_party_does_not_take_all_threads(harness: Harness) -> None:
    """Until a job counts as hung it runs."""
    for number in range(3 * PARTY_RUNNING):
        harness.submit(str(number), may_end=False)

    other = harness.submit("other", "q")

    harness.wait_for(lambda: other.events == ["start", "finish"])
    started = [job for job in harness.jobs if job.events == ["start"]]
    assert len(started) == PARTY_RUNNING


def test_parties_that_were_served_are_served_whatever_hangs(harness: Harness) -> None:
    harness.submit("first", "served")
    harness.wait_for(lambda: not harness.workers.is_busy)
    for number in range(MAX_HUNG):
        harness.hang(str(number), f"party {number // PARTY_HUNG}")

    assert harness.submit("new", "new").events == ["refuse"]
    job = harness.submit("second", "served")
    harness.wait_for(lambda: job.events == ["start", "finish"])


def test_an_error_ends_a_job_and_not_its_thread(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Waiting):
        def run(self) -> None:
            raise ValueError("a broken file")

    job = Failing("a")
    harness.workers.submit(job)

    harness.wait_for(lambda: job.events == ["start", "finish"])
    assert "a broken file" in caplog.text
    other = harness.submit("b")
    harness.wait_for(lambda: other.events == ["start", "finish"])


def test_the_end_waits_for_what_runs_but_not_for_what_hangs(harness: Harness) -> None:
    harness.hang("a")
    running = harness.submit("b", may_end=False)
    threading.Timer(0.05, running.released.set).start()

    harness.workers.wait(10)

    assert running.released.is_set()
    assert not harness.workers.is_busy
