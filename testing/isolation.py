"""
Run a command apart from the rest of the machine: `isolation.py COMMAND …`, as root.

Two commands that run at once see nothing of each other, nor of the machine's
containers. Of its own are its process IDs, mounts, cgroups, System V IPC and host name;
/run is empty, and what it writes below _COPIED vanishes. The network is the machine's,
because a sysctl of the initial network namespace is in no other, and a new namespace
inherits from that one alone.
"""

import contextlib
import ctypes
import fcntl
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VARIABLE = "NETNS_TESTS_ISOLATED"
"""The environment variable that is set for the command."""

PROBLEM = "not_the_hosts_processes"
"""What the exporter reports there: a PID namespace has no kernel threads."""

ISOLATED = (sys.executable, __file__)

_INSIDE = "--inside"
_UNSHARE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"),
    *("--propagation", "unchanged", "--ipc", "--uts", "--cgroup"),
)
_CGROUPS = Path("/sys/fs/cgroup")
_PREFIX = "netns-tests-"
_CHECKOUT = Path(__file__).parents[1]
_COPIED = ("/opt", "/var/cache", "/var/lib", "/var/log")
_EMPTIED = (
    *("/var/lib/cni", "/var/lib/containerd", "/var/lib/containers"),
    *("/var/lib/docker", "/var/lib/kubelet", "/var/lib/rancher"),
    *("/var/log/containers", "/var/log/pods"),
)
_MS_REC = 1 << 14
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_SECONDS = 20.0

_libc = ctypes.CDLL(None)


class _Hierarchy(NamedTuple):
    """
    A mounted cgroup hierarchy and the cgroup of this process in it.

    controllers: those of a hierarchy of version 1, or its name; "" for cgroup2.
    """

    mount: Path
    kind: str
    controllers: str
    joined: str


def why_impossible() -> str:
    """Return why commands cannot be isolated here, "" if they can."""
    if os.geteuid():
        return "needs root"
    try:
        done = subprocess.run(
            (*ISOLATED, "true"),
            check=False,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""


def main(*command: str) -> int:
    """Run a command isolated; return its status."""
    for number in (signal.SIGINT, signal.SIGQUIT):  # those of a terminal reach it too
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with _own_cgroups() as entered:
        inside = (*ISOLATED, _INSIDE, *map(str, entered), "--", *command)
        return subprocess.run((*_UNSHARE, *inside), check=False).returncode


@contextlib.contextmanager
def _own_cgroups() -> Iterator[list[Path]]:
    """Move this process into a new cgroup of each hierarchy; remove them at the end."""
    name = f"{_PREFIX}{secrets.token_hex(4)}"
    writable = [h for h in _hierarchies() if os.access(h.mount, os.W_OK)]
    homes = {h.mount / name: Path(f"{h.mount}{h.joined}") for h in writable}
    try:
        with _locked(_CGROUPS):
            for cgroup in homes:
                _remove_abandoned(cgroup.parent)
                cgroup.mkdir()
                _copy_cpuset(cgroup)
                (cgroup / "cgroup.procs").write_text("0")
        yield list(homes)
    finally:
        for cgroup, home in homes.items():
            with contextlib.suppress(OSError):
                (home / "cgroup.procs").write_text("0")
            _remove(cgroup)


def _hierarchies() -> Iterator[_Hierarchy]:
    """Yield the mounted hierarchies, each with the cgroup of this process."""
    mounts = list(map(str.split, Path("/proc/self/mounts").read_text().splitlines()))
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, joined = line.split(":", 2)
        for _, path, kind, options, *_ in mounts:
            v1 = kind == "cgroup" and {*controllers.split(",")} <= {*options.split(",")}
            if v1 if controllers else kind == "cgroup2":
                yield _Hierarchy(Path(path), kind, controllers, joined)
                break


def _copy_cpuset(cgroup: Path) -> None:
    """Give a version 1 cgroup its parent's processors, without which it takes none."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (cgroup.parent / name).exists() and (cgroup / name).exists():
            (cgroup / name).write_text((cgroup.parent / name).read_text())


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(root: Path) -> None:
    """Remove the cgroups of runs that were killed: each running one has a process."""
    for cgroup in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # it has just been removed
            if not any(file.read_text() for file in cgroup.rglob("cgroup.procs")):
                _remove(cgroup)


def _remove(cgroup: Path) -> None:
    """Remove a cgroup and those below it when the last process of each is gone."""
    deadline = time.monotonic() + _SECONDS
    for directory, _, _ in os.walk(cgroup, topdown=False):
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                os.rmdir(directory)
                break
            time.sleep(0.01)


def _run_inside(entered: list[Path], command: list[str]) -> int:
    """Mount what differs, run the command, and reap the orphans until it ends."""
    _make_mounts_private()
    _detach_mounts()
    _mount_run()
    for place in filter(os.path.isdir, _COPIED):
        _mount_copy(place)
    for place in filter(os.path.isdir, _EMPTIED):
        _mount("-t", "tmpfs", "none", place)
    _mount_cgroups(entered)
    for number in (signal.SIGINT, signal.SIGQUIT):  # main ignores them
        signal.signal(number, signal.SIG_DFL)
    child = subprocess.Popen(command, env=os.environ | {VARIABLE: "1"})
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _make_mounts_private() -> None:
    """
    Keep what is mounted here from showing on the machine.

    In a chroot, whose / is no mount: so from outside of it, as root can.
    """
    home, here = os.open("/", os.O_PATH), os.getcwd()
    with tempfile.TemporaryDirectory() as inner:
        os.chroot(inner)
        os.fchdir(home)
        while not os.path.samefile(".", ".."):
            os.chdir("..")
        os.chroot(".")
        private = _libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
        os.fchdir(home)
        os.chroot(".")
    os.chdir(here)
    os.close(home)
    if private:
        raise OSError("the mounts cannot be made private")


def _detach_mounts() -> None:
    """Detach the mounts of other network namespaces, and those that _mount_* cover."""
    hidden = ("/run", *_COPIED)
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        own, _, others = line.partition(" - ")
        path = own.split()[4].encode().decode("unicode_escape")
        covered = any(Path(path).is_relative_to(place) for place in hidden)
        used = any(keep.is_relative_to(path) for keep in (_CHECKOUT, Path.cwd()))
        if others.startswith("nsfs ") or (covered and not used):
            _detach(path)


def _mount_run() -> None:
    """Mount an empty /run with what resolves names, which may be a link into it."""
    resolver = Path("/etc/resolv.conf")
    text = resolver.read_bytes() if resolver.exists() else b""
    _mount("-t", "tmpfs", "-o", "mode=755", "none", "/run")
    for name in ("lock", "netns"):
        Path("/run", name).mkdir()
    target = resolver.resolve()
    if target.is_relative_to("/run"):
        target.parent.mkdir(parents=True)
        target.write_bytes(text)


def _mount_copy(place: str) -> None:
    """Mount a copy on write over *place*, but not over this checkout."""
    layers = Path("/run/netns-tests", place.lstrip("/"))
    for name in ("upper", "work"):
        (layers / name).mkdir(parents=True)
    checkout = os.open(_CHECKOUT, os.O_PATH)
    options = f"lowerdir={place},upperdir={layers}/upper,workdir={layers}/work"
    _mount("-t", "overlay", "-o", options, "none", place)
    if _CHECKOUT.is_relative_to(place):
        _mount("--rbind", f"/proc/{os.getpid()}/fd/{checkout}", str(_CHECKOUT))
    os.close(checkout)


def _mount_cgroups(entered: list[Path]) -> None:
    """Mount each hierarchy with this command's cgroup of it as the root."""
    for hierarchy in list(_hierarchies()):
        if hierarchy.mount not in {cgroup.parent for cgroup in entered}:
            continue
        _detach(str(hierarchy.mount))
        options = hierarchy.controllers
        if options.startswith("name="):
            options = f"none,{options}"
        flags = ("-o", options) if options else ()
        _mount("-t", hierarchy.kind, *flags, "none", str(hierarchy.mount))
        _move_into_leaf(hierarchy.mount)


def _move_into_leaf(root: Path) -> None:
    """
    Let the cgroups below the root of a cgroup2 have its controllers.

    They cannot have them while it has processes itself.
    """
    available = root / "cgroup.controllers"
    if available.exists() and (names := available.read_text().split()):
        leaf = root / "tests"
        leaf.mkdir()
        (leaf / "cgroup.procs").write_text("0")
        enabled = " ".join(f"+{name}" for name in names)
        (root / "cgroup.subtree_control").write_text(enabled)


def _detach(path: str) -> None:
    """Unmount *path* also if it is in use or does not answer."""
    _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW)


def _mount(*arguments: str) -> None:
    subprocess.run(("mount", *arguments), check=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[0] == _INSIDE:
        at = arguments.index("--")
        entered = [Path(text) for text in arguments[1:at]]
        sys.exit(_run_inside(entered, arguments[at + 1 :]))
    sys.exit(main(*arguments))
