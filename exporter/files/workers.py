"""
Run jobs in threads, of which some may wait for ever for a file.

A thread in the kernel that waits for a FUSE or NFS server cannot be interrupted, but
does not keep other threads from running. So a job that makes no progress is left to
itself, with its thread, and others go on. Its end shows that the server answers again.
"""

import collections
import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable

HUNG_SECONDS = 2.0
"""Without progress, until a job counts as hung."""

MAX_RUNNING = 16
"""Jobs at a time, hung ones aside; one that has just hung still counts."""

PARTY_RUNNING = 4
"""Of these, for one party: a container, a user, or the node."""

MAX_HUNG = 32
"""Of all parties. Beyond it, only a party whose files were read before is served."""

PARTY_HUNG = 2
"""Of one party; its further jobs are refused until one of these ends."""

NODE_HUNG = 8
"""Of the node, whose users' runtimes and mounts are many."""

NODE = ""
"""The party of the node's own root."""

_STACK_BYTES = 256 << 10

log = logging.getLogger(__name__)


class Job:
    """
    Reads files of one party. Only run() is called in another thread.

    Attributes:
        key: of two jobs with the same key, the second waits for the first; it is
            refused while the first hangs.
        party: the container or user that controls the files, NODE for the node.
        touched: when it last made progress, in monotonic seconds.
    """

    def __init__(self, key: Hashable, party: str) -> None:
        self.key = key
        self.party = party
        self.touched = 0.0

    @property
    def hung_key(self) -> Hashable:
        """The key of the jobs that are refused while this one hangs."""
        return self.key

    def touch(self) -> None:
        """Note progress."""
        self.touched = time.monotonic()

    def start(self) -> None:
        """Prepare to run."""

    def describe(self) -> str:
        """Return what it reads, for people."""
        raise NotImplementedError

    def run(self) -> None:
        """Read, and keep the result in the job."""
        raise NotImplementedError

    def finish(self) -> None:
        """Use the result."""

    def refuse(self) -> None:
        """Do without a result: it hangs, or was not run since others do."""

    def resume(self) -> None:
        """Start again if need be: it did hang, and has ended."""


class Workers:
    """
    The threads, and the jobs that wait for one.

    Args:
        wake: called in a thread when its job ended; then call finish_jobs().
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        threading.stack_size(_STACK_BYTES)
        self._wake = wake
        self._waiting: dict[Hashable, Job] = {}
        self._running: dict[Hashable, Job] = {}
        self._hung: dict[Hashable, Job] = {}
        self._ready: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._threads = 0
        self._proven: set[str] = set()
        """Parties whose files were read."""

    @property
    def is_busy(self) -> bool:
        """Whether any job runs that may turn out to hang."""
        return bool(self._running)

    @property
    def hung(self) -> list[str]:
        """What hung jobs read."""
        return sorted(job.describe() for job in self._hung.values())

    def submit(self, job: Job) -> None:
        """Run *job* when there is room, unless one of its key waits already."""
        if self._is_refused(job):
            job.refuse()
            return
        self._waiting.setdefault(job.key, job)
        self._dispatch()

    def finish_jobs(self) -> None:
        """Use the results of jobs that ended, and run others."""
        while not self._ended.empty():
            job = self._ended.get()
            if self._hung.get(job.hung_key) is job:
                del self._hung[job.hung_key]
                log.info("%s answers again", job.describe())
                job.resume()
            else:
                del self._running[job.key]
                self._proven.add(job.party)
                job.finish()
        self._dispatch()

    def give_up_on_hung(self) -> None:
        """Go on without the jobs that have made no progress for HUNG_SECONDS."""
        deadline = time.monotonic() - HUNG_SECONDS
        for key, job in list(self._running.items()):
            if job.touched < deadline:
                del self._running[key]
                self._hung[job.hung_key] = job
                log.warning("%s does not answer", job.describe())
                job.refuse()
        refused = [job for job in self._waiting.values() if self._is_refused(job)]
        for job in refused:
            del self._waiting[job.key]
            job.refuse()
        self._dispatch()

    def wait(self, seconds: float) -> None:
        """Wait for running jobs, to end while none has a file of a namespace open."""
        self._waiting.clear()
        deadline = time.monotonic() + seconds
        while self._running and time.monotonic() < deadline:
            time.sleep(0.001)
            while not self._ended.empty():
                self._running.pop(self._ended.get().key, None)

    def _is_refused(self, job: Job) -> bool:
        if job.key in self._hung:
            return True
        of_party = sum(other.party == job.party for other in self._hung.values())
        if of_party >= (NODE_HUNG if job.party == NODE else PARTY_HUNG):
            return True
        return len(self._hung) >= MAX_HUNG and job.party not in self._proven

    def _dispatch(self) -> None:
        parties = collections.Counter(job.party for job in self._running.values())
        for key, job in list(self._waiting.items()):
            if len(self._running) >= MAX_RUNNING:
                return
            if key in self._running or parties[job.party] >= PARTY_RUNNING:
                continue
            del self._waiting[key]
            parties[job.party] += 1
            self._running[key] = job
            job.start()
            job.touch()
            if self._threads < len(self._running) + len(self._hung):
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()
            self._ready.put(job)

    def _work(self) -> None:
        while True:
            job = self._ready.get()
            try:
                job.run()
            except Exception:  # whatever a file contains must not end the thread
                log.exception("cannot read %s", job.describe())
            self._ended.put(job)
            self._wake()
