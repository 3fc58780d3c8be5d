"""
What a pass and a scrape cost, in CPU time, beside the plain way.

    python -m bench [N …]

It makes N real network namespaces (default 50, 110 and 450; 41 sysctls and 5 TCP
listeners each), and for each N measures in one run:

- plain: enter each namespace; open, read and close each file; as the exporters
  before this one do, in the same language;
- reading: the same values from bound files;
- signals: a look at the listeners, counters and sockets of idle namespaces;
- busy: the same as once a minute, when all is read and dumped again;
- pass: a whole pass of the collector, discovery included, to the encoded snapshot;
- scrape: GET /metrics with gzip from a running exporter, CPU of both its processes.

Costs are CPU milliseconds, the least of several rounds. Needs root. From 450
namespaces on it fails where a cost is worse than promised, as a ratio in one run.
"""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from exporter.collect import Collector
from exporter.config import Config
from exporter.kernel.netns import inside
from exporter.kernel.sysctls import FdBudget, Plan, SysctlFiles
from exporter.model import Sysctl
from tests import lab

ROUNDS = 7
SCRAPES = 15
LISTENERS = 5
PROMISED_AT, PROMISED_RATIO, PROMISED_GROWTH = 450, 10, 1.2
PORT = 10199
_CACHE_BYTES = 128 << 20


class Costs(NamedTuple):
    """CPU milliseconds at one number of namespaces."""

    namespaces: int
    plain: float
    reading: float
    signals: float
    busy: float
    whole_pass: float
    scrape: float
    page_bytes: int


def main() -> None:
    """Print the table."""
    sizes = [int(word) for word in sys.argv[1:]] or [50, 110, 450]
    rows = [measure(size) for size in sizes]
    columns = ("plain", "reading", "signals", "busy", "pass", "scrape")
    print("CPU ms     ", *(f"{name:>8}" for name in columns), "plain/reading  page kB")
    for row in rows:
        times = (f"{cost:8.2f}" for cost in row[1:-1])
        ratio = row.plain / row.reading
        size = row.page_bytes / 1000
        print(f"{row.namespaces:5} netns", *times, f"{ratio:11.1f} x {size:8.0f}")
    if len(rows) > 1:
        compare(rows[0], rows[-1])
        sys.exit(broken_promises(rows[0], rows[-1]))


def compare(first: Costs, last: Costs) -> None:
    """Print how the cost of one namespace grows with their number."""
    for name in Costs._fields[1:-1]:
        print(
            f"per namespace, {last.namespaces} against {first.namespaces}: "
            f"{name} {growth(first, last, name):.2f} x"
        )


def broken_promises(first: Costs, last: Costs) -> str | None:
    """Return what is worse than promised at 450 namespaces, None if nothing is."""
    if last.namespaces < PROMISED_AT:
        return None
    if last.plain < PROMISED_RATIO * last.reading:
        return f"reading is not {PROMISED_RATIO} times cheaper than the plain way"
    for name in ("signals", "whole_pass"):
        if (times := growth(first, last, name)) > PROMISED_GROWTH:
            return f"{name} costs {times:.2f} times as much per namespace"
    return None


def growth(first: Costs, last: Costs, name: str) -> float:
    """Return how many times as much one namespace costs in *last*."""
    before, now = (float(getattr(c, name)) / c.namespaces for c in (first, last))
    return now / before


def measure(size: int) -> Costs:
    """Make *size* namespaces and measure everything."""
    with lab.held(size, listeners=LISTENERS) as pods:
        collector = Collector(Config(), grace=0)
        parcel = collector.parcel()
        sysctls = parcel.sysctls
        whole = least(lambda: msgspec.json.encode(collector.parcel()))
        signals = least(lambda: collector.look(recheck=False))
        busy = least(lambda: collector.look(recheck=True))
        collector.close()
        plain = least(lambda: read_plainly(pods, sysctls))
        files = list(bind(pods, sysctls))
        reading = least(lambda: [one.read_bound() for one in files])
        for one in files:
            one.close()
        scrape, page_bytes = measure_scrape(size)
    return Costs(size, plain, reading, signals, busy, whole, scrape, page_bytes)


def least(work: Callable[[], object]) -> float:
    """Return the least CPU milliseconds that *work* took in ROUNDS rounds."""
    work()
    return min(once(work) for _ in range(ROUNDS))


def once(work: Callable[[], object]) -> float:
    """
    Return the CPU milliseconds of *work* with cold caches.

    Between two scrapes of a real node other programs use the caches, so a loop
    that keeps them warm would flatter few namespaces.
    """
    bytearray(_CACHE_BYTES).count(1)
    start = time.process_time_ns()
    work()
    return (time.process_time_ns() - start) / 1e6


def read_plainly(pods: list[lab.Held], sysctls: tuple[Sysctl, ...]) -> list[bytes]:
    """Enter each namespace; open, read and close each file."""
    paths = Plan(sysctls, "/proc").paths
    values = []
    for pod in pods:
        with inside(pod.door, pod.ino):
            for path in paths:
                fd = os.open(path, os.O_RDONLY)
                values.append(os.read(fd, 4096))
                os.close(fd)
    return values


def bind(pods: list[lab.Held], sysctls: tuple[Sysctl, ...]) -> Iterator[SysctlFiles]:
    """Open the files of each namespace once."""
    plan, budget = Plan(sysctls, "/proc"), FdBudget(1 << 20)
    for pod in pods:
        files = SysctlFiles(plan, budget)
        with inside(pod.door, pod.ino):
            files.bind_inside()
        yield files


def measure_scrape(size: int) -> tuple[float, int]:
    """Return the CPU of both processes for a scrape, and the page's size."""
    with running_exporter() as pids:
        lab.wait_until(lambda: namespaces(read_page()) > size)
        rounds = []
        for _ in range(SCRAPES):
            before = sum(map(cpu_ns, pids))
            page = read_page("gzip")
            rounds.append(sum(map(cpu_ns, pids)) - before)
        return min(rounds) / 1e6, len(read_page() or page)


@contextlib.contextmanager
def running_exporter() -> Iterator[list[int]]:
    """Run the exporter as a user does; yield the pids of its two processes."""
    command = [sys.executable, "-m", "exporter", "--web.listen-address"]
    process = subprocess.Popen([*command, f"127.0.0.1:{PORT}"])
    try:
        lab.wait_until(read_page)
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        with open(children) as file:
            yield [process.pid, int(file.read())]
    finally:
        process.terminate()
        process.wait()


def read_page(encoding: str = "identity") -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/metrics", headers={"Accept-Encoding": encoding}
    )
    try:
        with urllib.request.urlopen(request) as response:
            return bytes(response.read())
    except OSError:
        return b""


def namespaces(page: bytes) -> float:
    """Return how many namespaces a page has values of."""
    _, found, rest = page.partition(b'netns_namespaces{state="read"} ')
    return float(rest.split(maxsplit=1)[0]) if found else 0.0


def cpu_ns(pid: int) -> int:
    """Return the CPU time of every thread of *pid*: /proc/PID/task/*/schedstat."""
    total = 0
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/schedstat") as file:
            total += int(file.read().split()[0])
    return total


main()
