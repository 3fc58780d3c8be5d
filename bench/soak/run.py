"""A soak: the exporter, its pods, the attacks on it, and what an observer sees."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self
from uuid import uuid4

import bcrypt
import psutil

from bench.soak.attacks.attack import PASSWORD, USER, Target
from bench.soak.attacks.cgroups import container_cgroup
from bench.soak.observer import Observer
from bench.soak.results import Results, Sample, Scrape
from testing.lab import new_namespaces
from testing.running import Exporter, run_exporter

PODS = 10
"""Namespaces that run throughout, with two listeners each."""

SCRAPE_SECONDS = 1.0
_SAMPLES = 100
_SETTLE_SCRAPES = 10
_RECOVERY_SECONDS = 60.0
_STOP_ATTACK_SECONDS = 120.0


def soak(seconds: float, attacks: Sequence[str], directory: Path) -> Results:
    """Run the exporter under *attacks* for *seconds*."""
    web_config = _write_web_config(directory)
    flags = ("--web.config.file", str(web_config))
    with (
        new_namespaces(PODS, listeners=2, comm=b"pod") as pods,
        contextlib.ExitStack() as cgroups,
        run_exporter(directory, *flags) as exporter,
    ):
        for pod in pods:
            cgroups.enter_context(container_cgroup([pod.pid], f"kubepods/pod{uuid4()}"))
        observer = Observer(
            exporter, (USER, PASSWORD), (pod.cookie or 0 for pod in pods)
        )
        usual = [_scrape(observer, exporter) for _ in range(_SETTLE_SCRAPES)][-1]
        before = observer.sample()
        (files := directory / "attacks").mkdir()
        target = Target(exporter.port, str(files), str(web_config))
        observer.begin()
        with _Attacks(attacks, target) as running:
            during = _observe(observer, exporter, running, seconds)
        recovery = _recover(observer, exporter, usual.namespaces)
        after = observer.sample()
        stop_seconds, leftovers = _stop(observer, exporter)
    return Results(
        seconds=seconds,
        counts=running.counts,
        scrapes=during.scrapes,
        recovery=recovery,
        before=before,
        samples=during.samples,
        after=after,
        unprotected=observer.unprotected,
        stop_seconds=stop_seconds,
        leftovers=leftovers,
    )


class _Observations(NamedTuple):
    scrapes: list[Scrape]
    samples: list[Sample]


def _write_web_config(directory: Path) -> Path:
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    path = directory / "web.yml"
    path.write_text(f"basic_auth_users:\n  {USER}: {digest}\n")
    return path


class _Attacks:
    """Attacks that run until the end of the block; `counts` are filled then."""

    def __init__(self, names: Sequence[str], target: Target) -> None:
        self.counts: Counter[str] = Counter()
        # As in a cgroup of their own: many processes get no larger share of the CPUs.
        command = ("nice", "-n", "10", sys.executable, "-m", "bench.soak.attacks")
        self._processes = {
            name: subprocess.Popen(
                (*command, name, json.dumps(target)), stdout=subprocess.PIPE
            )
            for name in names
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for attack, process in self._processes.items():
            output = self._output(attack, process)
            for name, value in json.loads(output or "{}").items():
                largest, total = (
                    max(self.counts[name], value),
                    self.counts[name] + value,
                )
                self.counts[name] = largest if name.startswith("longest") else total

    def _output(self, attack: str, process: subprocess.Popen[bytes]) -> bytes:
        """Return what an attack printed; RuntimeError, and no process, if it hangs."""
        try:
            return process.communicate(timeout=_STOP_ATTACK_SECONDS)[0]
        except subprocess.TimeoutExpired as error:
            process.send_signal(signal.SIGUSR1)  # it prints where its threads are
            time.sleep(1)
            for left in self._processes.values():
                left.kill()
            raise RuntimeError(
                f"the attack {attack} does not end: see above"
            ) from error

    def check(self) -> None:
        """Raise RuntimeError if an attack has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"the attack {name} ended: its traceback is above")


def _observe(
    observer: Observer, exporter: Exporter, attacks: _Attacks, seconds: float
) -> _Observations:
    observations = _Observations([], [])
    next_sample = next_progress = 0.0
    while (elapsed := observer.elapsed()) < seconds:
        if elapsed >= next_sample:
            observations.samples.append(observer.sample())
            next_sample = elapsed + seconds / _SAMPLES
        attacks.check()
        scrape = _scrape(observer, exporter)
        observations.scrapes.append(scrape)
        if elapsed >= next_progress:
            _log_progress(scrape, observations.samples[-1])
            next_progress = elapsed + 60
    return observations


def _recover(observer: Observer, exporter: Exporter, namespaces: int) -> list[Scrape]:
    """Scrape until there are only *namespaces* and nothing is deferred; or a minute."""
    scrapes = [_scrape(observer, exporter)]

    def has_recovered() -> bool:
        last = scrapes[-1]
        return not last.error and not last.deferred and last.namespaces <= namespaces

    ends = time.monotonic() + _RECOVERY_SECONDS
    while not has_recovered() and time.monotonic() < ends:
        scrapes.append(_scrape(observer, exporter))
    return scrapes


def _scrape(observer: Observer, exporter: Exporter) -> Scrape:
    """Scrape, and wait for the time of the next scrape."""
    if exporter.process.poll() is not None:
        raise RuntimeError(f"the exporter ended:\n{exporter.log.read_text()[-4000:]}")
    start = time.monotonic()
    scrape = observer.scrape()
    observer.check_protection()
    time.sleep(max(0.0, start + SCRAPE_SECONDS - time.monotonic()))
    return scrape


def _stop(observer: Observer, exporter: Exporter) -> tuple[float, list[str]]:
    """Send SIGTERM; return how long the end took, and which processes remain."""
    processes = {process: role for role, process in observer.processes()}
    start = time.monotonic()
    exporter.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        exporter.process.wait(30)
    _, left = psutil.wait_procs(processes, timeout=5)
    return time.monotonic() - start, [processes[process] for process in left]


def _log_progress(scrape: Scrape, sample: Sample) -> None:
    memory = ", ".join(
        f"{role} {usage.rss >> 20} MiB" for role, usage in sample.usage.items()
    )
    _log(
        f"{scrape.at:.0f} s: {scrape.namespaces} namespaces, a scrape in "
        f"{scrape.seconds * 1000:.0f} ms, {scrape.deferred:g} deferred; {memory}"
    )


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
