"""A user whose many containers change before every collection."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from exporter.files.bundle_index import BundleIndex
from exporter.files.client import FileReaderClient
from exporter.files.connection import FileReaderConnection
from exporter.files.foreign import ROUND_CPU_SECONDS, ROUND_SECONDS
from exporter.files.records import ContainerKey, Supervisor
from exporter.kernel.procfs import Procfs
from testing.lab import wait_until

pytestmark = pytest.mark.root

USER = 4711
SCOPE = f"user@{USER}.service"
STORAGES, CONTAINERS = 30, 250
PASSES = 5


class Storages:
    """The storages of a user, and a conmon that shows each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        annotations = {"io.container.manager": "libpod", "filler": "x" * 10_000}
        config = json.dumps({"annotations": annotations})
        for number in range(STORAGES):
            for container in range(CONTAINERS):
                name = f"{number:02}{container:03}"
                path = self._storage(number) / name / "userdata/config.json"
                path.parent.mkdir(parents=True)
                path.write_text(config)
                os.chown(path, USER, USER)

    def touch(self) -> None:
        """Let every container look as if it had changed."""
        for number in range(STORAGES):
            os.utime(self._storage(number))

    @contextlib.contextmanager
    def conmons(self) -> Iterator[list[tuple[ContainerKey, Supervisor]]]:
        """Run a conmon for each storage; yield them with a container of each."""
        procfs, found = Procfs(), []
        with contextlib.ExitStack() as stack:
            for number in range(STORAGES):
                name = f"{number:02}000"
                bundle = str(self._storage(number) / name / "userdata")
                process = subprocess.Popen(
                    ["conmon", "-c", "read never", "conmon", "-b", bundle],
                    executable="/bin/sh",
                    user=USER,
                    stdin=subprocess.PIPE,
                )
                stack.enter_context(process)
                stack.callback(process.kill)
                pid, inode = process.pid, procfs.proc_inode(process.pid)
                assert inode
                supervisor = Supervisor(pid=pid, inode=inode, uid=USER, trusted=False)
                found.append((ContainerKey(SCOPE, name), supervisor))
            yield found

    def _storage(self, number: int) -> Path:
        return self._directory / f"{number}/overlay-containers"


@contextlib.contextmanager
def file_reader() -> Iterator[FileReaderClient]:
    client = FileReaderClient(FileReaderConnection(("/proc", "/", "info", "logfmt")))
    try:
        yield client
    finally:
        client.close()


class Index:
    """An index of bundles, and the CPU time that it and its file reader take."""

    def __init__(self, client: FileReaderClient) -> None:
        self.client = client
        self.found: set[ContainerKey] = set()
        self.bundles = BundleIndex("/", client)

    def poll(self) -> None:
        """Do what a pass does."""
        self.client.start_pass()
        self.found.update(key for key, _ in self.bundles.poll())

    def is_answered(self) -> bool:
        self.poll()
        return not self.client.outstanding

    def is_complete(self) -> bool:
        self.poll()
        return len(self.found) == STORAGES * CONTAINERS and not self.client.deferred


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def test_they_cost_a_bounded_time_and_are_all_read_in_the_end(tmp_path: Path) -> None:
    storages = Storages(tmp_path)
    with storages.conmons() as conmons, file_reader() as client:
        index = Index(client)
        for key, supervisor in conmons:
            index.bundles.look_up(key, supervisor)
        wait_until(index.is_answered)
        (process,) = psutil.Process().children()[-1:]
        assert "--file-reader-role" in process.cmdline()

        deferred = 0
        for _ in range(PASSES):
            storages.touch()
            before, own = cpu_seconds(process), time.thread_time()
            index.poll()
            assert time.thread_time() - own < ROUND_CPU_SECONDS / 2
            time.sleep(ROUND_SECONDS)
            assert cpu_seconds(process) - before < 3 * ROUND_CPU_SECONDS
            deferred = max(deferred, client.deferred)
        assert deferred, "it all fits a round: the test needs more containers"

        wait_until(index.is_complete, 120)
