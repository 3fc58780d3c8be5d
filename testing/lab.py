"""
A lab of real network namespaces, for tests and benchmarks.

It ends what it starts, by PID, and writes sysctls only in namespaces that it made.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType

import pytest
from pyroute2 import IPRoute

from exporter.kernel.netns import entered
from exporter.kernel.syscalls import netns_cookie
from exporter.model import Ino

DEADLINE_SECONDS = 60.0

_HOLDER = """
import ctypes, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
count, flags, listeners = (int(word) for word in sys.argv[1:4])
comm, families = bytes.fromhex(sys.argv[4]), (socket.AF_INET, socket.AF_INET6)
libc.prctl(1, 9, 0, 0, 0)
libc.prctl(15, comm, 0, 0, 0)
for _ in range(count):
    if os.fork() == 0:
        libc.prctl(1, 9, 0, 0, 0)
        if libc.unshare(flags):
            os.write(1, b"0\\n")
            os._exit(1)
        sockets = [
            socket.create_server(("", 8000 + number), family=families[number % 2])
            for number in range(listeners)
        ]
        os.write(1, b"%d\\n" % os.getpid())
        signal.pause()
        os._exit(0)
signal.pause()
"""

_JOINED = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
with open(sys.argv[1]) as netns:
    assert libc.setns(netns.fileno(), 0x40000000) == 0
print("in", flush=True)
sys.stdin.readline()
assert libc.unshare(0x40000000) == 0
print("out", flush=True)
sys.stdin.readline()
"""

CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x00020000


class LabNetns:
    """A network namespace of the lab, by a path at which it can be entered."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def ino(self) -> Ino:
        return Ino(os.stat(self.path).st_ino)

    @property
    def cookie(self) -> int | None:
        with entered(self.path, self.ino):
            return netns_cookie()

    def write(self, sysctl: str, value: str) -> None:
        with entered(self.path, self.ino):
            Path("/proc/sys", sysctl.replace(".", "/")).write_text(value)

    def run(self, *command: str) -> str:
        """Run a command inside and return its standard output."""
        enter = ("nsenter", f"--net={self.path}", *command)
        return subprocess.run(enter, check=True, capture_output=True, text=True).stdout


class ProcessNetns(LabNetns):
    """A namespace with one process in it."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"/proc/{pid}/ns/net")
        self.pid = pid

    def kill(self) -> None:
        """Kill the process; return when it has left the namespace."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(self.path))


@contextlib.contextmanager
def new_namespaces(
    count: int = 1,
    *,
    flags: int = CLONE_NEWNET,
    listeners: int = 0,
    comm: bytes = b"holder",
) -> Iterator[list[ProcessNetns]]:
    """
    Make *count* namespaces, a process called *comm* in each.

    listeners: number of ports that each process listens on, from 8000, with IPv4 and
    IPv6 in turn.
    """
    arguments = (str(count), str(flags), str(listeners), comm.hex())
    command = [sys.executable, "-I", "-S", "-c", _HOLDER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            pids = [int(process.stdout.readline()) for _ in range(count)]
            assert all(pids), "cannot make a network namespace: are you root?"
            yield [ProcessNetns(pid) for pid in pids]
        finally:
            process.kill()


class JoinedProcess:
    """A process that has joined a namespace."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def leave(self) -> None:
        """Move the process to a namespace of its own."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout
        assert self._process.stdout.readline() == "out\n"

    def end(self) -> None:
        """Kill the process; return when it has ended."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def joined_process(netns: ProcessNetns) -> Iterator[JoinedProcess]:
    command = [sys.executable, "-I", "-S", "-c", _JOINED, netns.path]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "in\n"
            yield JoinedProcess(process)
        finally:
            process.kill()


@contextlib.contextmanager
def named_netns(name: str) -> Iterator[LabNetns]:
    """Make a namespace as `ip netns add` does: a mount without processes."""
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield LabNetns(f"/run/netns/{name}")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def add_veth(pid: int) -> Path:
    """
    Connect the namespace of *pid* to ours with a veth pair, e0 in that namespace.

    Return the directory of the end in our namespace, below /sys/class/net. It goes away
    with the namespace of *pid*.
    """
    name = f"nse{secrets.token_hex(4)}"  # other tests are in our namespace too
    with IPRoute() as route:
        peer = {"ifname": "e0", "net_ns_pid": pid}
        route.link("add", ifname=name, kind="veth", peer=peer)
    return Path("/sys/class/net", name)


def hierarchies() -> dict[str, tuple[Path, Path]]:
    """
    Return the root of each mounted cgroup hierarchy, and our own cgroup in it.

    The keys are those of /proc/self/cgroup: the controllers of cgroup v1,
    `name=systemd`, and "" for cgroup v2.
    """
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        name = controllers.removeprefix("name=") or "unified"
        root = Path("/sys/fs/cgroup", name)
        if not controllers and not root.is_dir():
            root = root.parent
        if (root / "cgroup.procs").exists():
            found[controllers] = (root, Path(f"{root}{path}"))
    return found


@contextlib.contextmanager
def cgroup(path: str, *pids: int, hierarchy: str | None = None) -> Iterator[None]:
    """
    Move processes into a new cgroup; move them back and remove it at the end.

    hierarchy: one of hierarchies(), by default that of the v1 controller pids, or v2.
    """
    known = hierarchies()
    if hierarchy is None:
        hierarchy = "pids" if "pids" in known else ""
    if hierarchy not in known:
        pytest.skip(f"there is no cgroup hierarchy {hierarchy!r}")
    root, home = known[hierarchy]
    if not os.access(root, os.W_OK):
        pytest.skip(f"cannot make cgroups below {root}")
    created = []
    place = root
    for part in path.split("/"):
        place /= part
        with contextlib.suppress(FileExistsError):  # side by side with another test
            place.mkdir()
            created.append(place)
    for pid in pids:
        (place / "cgroup.procs").write_text(str(pid))
    try:
        yield
    finally:
        for member in (place / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (home / "cgroup.procs").write_text(member)
        for directory in reversed(created):
            wait_until(lambda path=directory: _removed(path))  # type: ignore[misc]


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # a zombie is still in it
        return False
    return True


def wait_until(
    condition: Callable[[], object], seconds: float = DEADLINE_SECONDS
) -> None:
    """Return when *condition* holds; AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still false after {seconds} s"
        time.sleep(0.005)


@contextlib.contextmanager
def alarm(seconds: float, error: BaseException) -> Iterator[None]:
    """Raise *error* in this thread after *seconds*, by SIGALRM."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_THREAD = """
import ctypes, os, signal, threading
libc = ctypes.CDLL(None)
def unshare_and_wait():
    libc.unshare(0x40000000)
    print(os.stat("/proc/thread-self/ns/net").st_ino, flush=True)
    threading.Event().wait()
threading.Thread(target=unshare_and_wait, daemon=True).start()
signal.pause()
"""


def thread_netns() -> AbstractContextManager[tuple[int, Ino]]:
    """Make a namespace whose only member is a thread that is not its process's main."""
    return _holder(sys.executable, "-I", "-S", "-c", _THREAD)


def privately_mounted_netns(path: Path) -> AbstractContextManager[tuple[int, Ino]]:
    """Make a namespace without processes, mounted only in another mount namespace."""
    path.touch()
    script = f"unshare --net={path} true; stat -c %i {path}; exec sleep infinity"
    return _holder("unshare", "--mount", "--propagation", "private", "sh", "-c", script)


@contextlib.contextmanager
def _holder(*command: str) -> Iterator[tuple[int, Ino]]:
    """Run a command that prints an inode and waits; yield its PID and the inode."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.pid, Ino(int(process.stdout.readline()))
        finally:
            process.kill()
