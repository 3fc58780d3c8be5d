"""A daemon of a container runtime, as a child of the tests."""

import abc
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from testing.lab import wait_until


class Daemon(abc.ABC):
    """A daemon in the foreground, with its log in the directory of the test."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._children: list[psutil.Process] = []

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it when its former children are gone, zombies included."""
        psutil.wait_procs(self._children, timeout=10)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._ready_or_dead)

    def suspend(self) -> None:
        """Stop it with SIGSTOP: it no longer responds."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it; its containers keep running."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        self._end(signal.SIGTERM)

    def restart_daemon(self) -> None:
        self.terminate()
        self.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the block ends; then remove its containers and end it."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.kill)
            self.start()
            stack.callback(self.remove_all)
            stack.callback(self._ensure_running)
            yield

    @abc.abstractmethod
    def ready(self) -> bool:
        """Return whether it responds."""

    @abc.abstractmethod
    def remove_all(self) -> None:
        """Remove all its containers."""

    def _end(self, number: signal.Signals) -> None:
        if not self._process or self._process.poll() is not None:
            return
        self._children = psutil.Process(self.pid).children()
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(30)

    def _ready_or_dead(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        return self.ready()

    def _ensure_running(self) -> None:
        """Resume or restart it after a test that stopped it."""
        assert self._process
        if self._process.poll() is None:
            self.resume()
        else:
            self.start()
