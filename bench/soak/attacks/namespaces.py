"""Births and deaths of namespaces: with processes, threads, mounts; forks."""

import contextlib
import os
import random
import secrets
import subprocess
import sys
import threading
from pathlib import Path

from bench.soak.attacks.attack import HOSTILE_NAMES, Counts, Target, in_threads
from bench.soak.attacks.cgroups import container_cgroup
from bench.soak.attacks.pins import Pins, watching
from testing.lab import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    named_netns,
    new_namespaces,
    privately_mounted_netns,
    thread_netns,
)

_CHURN_THREADS = 6
_LARGEST_BATCH = 20
_SHORT_LIFE, _LONG_LIFE = 2.0, 12.0
_SHARE_OF_SHORT = 0.7
"""Of the batches; a namespace that only a process holds is exported after 5 seconds."""
_STORM, _SHARE_OF_STORMS = 200, 0.01
_FLAGS = (CLONE_NEWNET, CLONE_NEWNET | CLONE_NEWUSER, CLONE_NEWNET | CLONE_NEWNS)

_FORKS = """
import os, sys, time
while True:
    for _ in range(10):
        if os.fork() == 0:
            os._exit(0)
    for _ in range(10):
        os.wait()
    print(flush=True)
    time.sleep(0.05)
"""


_FLOOD_MOUNTS = 5000
_FLOOD = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None)
directory, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    path = f"{directory}/{number}"
    open(path, "w").close()
    libc.mount(b"/proc/self/ns/net", path.encode(), None, 4096, None)
print(flush=True)
time.sleep(3600)
"""


def churn(_target: Target, counts: Counts, stop: threading.Event) -> None:
    """Make and end namespaces with processes, some of them in containers' cgroups."""
    with watching(counts, stop) as pins:
        in_threads(_CHURN_THREADS, lambda: _batch(pins, counts, stop), stop)


def _batch(pins: Pins, counts: Counts, stop: threading.Event) -> None:
    is_storm = random.random() < _SHARE_OF_STORMS
    size = _STORM if is_storm else random.randint(1, _LARGEST_BATCH)
    comm = random.choice(HOSTILE_NAMES).encode("utf-8", "replace")[:15]
    flags, listeners = random.choice(_FLAGS), random.choice((0, 0, 1, 5))
    names = []
    with (
        new_namespaces(size, flags=flags, listeners=listeners, comm=comm) as pods,
        container_cgroup([pod.pid for pod in pods]),
    ):
        counts.add("births of namespaces with a process", size)
        names = [pins.watch(pod.path) for pod in pods[:_LARGEST_BATCH]]
        stop.wait(_life())
    for name in names:
        pins.end(name)


def _life() -> float:
    is_short = random.random() < _SHARE_OF_SHORT
    return random.uniform(0, _SHORT_LIFE if is_short else _LONG_LIFE)


def mounts(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Make and end namespaces of mounts and threads, with hostile names."""
    with watching(counts, stop) as pins:
        in_threads(1, lambda: _mounts(target, pins, counts, stop), stop)


def _mounts(target: Target, pins: Pins, counts: Counts, stop: threading.Event) -> None:
    name = f"{secrets.token_hex(4)}{random.choice(HOSTILE_NAMES).replace('/', '')}"
    with contextlib.ExitStack() as stack:
        named = stack.enter_context(named_netns(name))
        path = Path(target.directory, secrets.token_hex(4))
        private, _ = stack.enter_context(privately_mounted_netns(path))
        threaded, _ = stack.enter_context(thread_netns())
        counts.add("births of namespaces with a mount", 2)
        counts.add("births of namespaces with a thread")
        (thread,) = (
            t for t in os.listdir(f"/proc/{threaded}/task") if int(t) != threaded
        )
        paths = (
            named.path,
            f"/proc/{private}/root{path}",
            f"/proc/{threaded}/task/{thread}/ns/net",
        )
        names = [pins.watch(path) for path in paths]
        stop.wait(_life())
    for name in names:
        pins.end(name)


def floods(target: Target, counts: Counts, stop: threading.Event) -> None:
    """Fill a mount namespace with thousands of mounts of a single namespace."""
    path = Path(target.directory, "flood")

    def flood() -> None:
        path.mkdir(exist_ok=True)
        command = (
            "unshare",
            "--mount",
            "--net",
            sys.executable,
            "-I",
            "-S",
            "-c",
            _FLOOD,
        )
        with subprocess.Popen(
            (*command, str(path), str(_FLOOD_MOUNTS)), stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            counts.add("mounts in floods", _FLOOD_MOUNTS)
            stop.wait(_LONG_LIFE)
            process.kill()
        stop.wait(_LONG_LIFE)

    in_threads(1, flood, stop)


def forks(_target: Target, counts: Counts, stop: threading.Event) -> None:
    """Fork processes that end at once, so that process IDs are reused."""
    command = [sys.executable, "-I", "-S", "-c", _FORKS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        while not stop.is_set() and process.stdout.readline():
            counts.add("forks", 10)
        process.kill()
