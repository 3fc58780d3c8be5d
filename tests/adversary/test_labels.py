"""Labels of others: cgroups, mounts, units and processes that anybody can make."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config, PathSettings
from exporter.model import Ino, Snapshot
from exporter.owner import owner_key
from testing.lab import (
    LabNetns,
    ProcessNetns,
    cgroup,
    hierarchies,
    named_netns,
    new_namespaces,
    wait_until,
)
from tests.support.false_shims import running_shim

pytestmark = pytest.mark.root

UID = "5e2d8a3c-0000-4000-8000-0000000000f1"
UID_ = UID.replace("-", "_")
IN_POD = "1a" * 32
IN_DOCKER = "1b" * 32
EVIL = "1c" * 32
SCOPE = f"kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{IN_POD}.scope"
USER = "user.slice/user-4711.slice/user@4711.service"

VICTIMS = {  # what the node's root made, and the labels that it must keep
    f"kubepods/pod{UID}/{IN_POD}": ("shop", "web-0", UID, "", ""),
    f"docker/{IN_DOCKER}": ("", "", "", IN_DOCKER[:12], ""),
    "system.slice/nginx.service": ("", "", "", "", "unit/nginx.service"),
}
ATTACKS = (  # what a container, a unit with Delegate= or a user can make
    f"default/evil/kubepods/pod{UID}/{IN_POD}",
    f"system.slice/system-x.slice/x@x.service/payload/kubepods/pod{UID}/{IN_POD}",
    f"system.slice/x.service/{SCOPE}",
    f"system.slice/containerd.service/kubepods/pod{UID}/{IN_POD}",
    f"docker/buildkit/x/kubepods/pod{UID}/{IN_POD}",
    f"docker/{EVIL}/kubepods/pod{UID}/{IN_POD}",
    f"{USER}/app.slice/x.service/{SCOPE}",
    f"default/evil/docker/{IN_DOCKER}",
    f"default/evil/{IN_DOCKER}",
    f"system.slice/x.service/docker-{IN_DOCKER}.scope",
    f"docker/{EVIL}/docker/{IN_DOCKER}",
    f"{USER}/user.slice/docker-{IN_DOCKER}.scope",
    f"{USER}/app.slice/nginx.service",
    "default/evil/system.slice/nginx.service",
)

HOME = "pids" if "pids" in hierarchies() else ""
"""The hierarchy that shows where a process was placed."""

_MAKES_CGROUPS = """
import ctypes, os, signal, struct, sys
directory, kind, options, name = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    assert result == 0, os.strerror(ctypes.get_errno())
libc.prctl(1, 9, 0, 0, 0)
check(libc.prctl(38, 1, 0, 0, 0))
check(libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)))
assert os.geteuid() == 0
sys.stdin.readline()
check(libc.unshare(0x10000000))
for file, text in ("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1"):
    open(f"/proc/self/{file}", "w").write(text)
check(libc.unshare(0x00020000 | 0x02000000 | 0x40000000))
target = directory.encode()
check(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))
check(libc.mount(b"none", target, kind.encode(), 0, options.encode() or None))
os.makedirs(f"{directory}/{name}")
open(f"{directory}/{name}/cgroup.procs", "w").write("0")
print("in", flush=True)
signal.pause()
"""

_MOUNTS = """
import ctypes, os, signal, sys
path, opened = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    assert result == 0, os.strerror(ctypes.get_errno())
libc.prctl(1, 9, 0, 0, 0)
os.setgroups([])
os.setresgid(4711, 4711, 4711)
os.setresuid(4711, 4711, 4711)
libc.prctl(4, 1, 0, 0, 0)
check(libc.unshare(0x10000000))
open(f"/proc/self/setgroups", "w").write("deny")
for file in "uid_map", "gid_map":
    open(f"/proc/self/{file}", "w").write("0 4711 1")
check(libc.unshare(0x00020000))
check(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))
check(libc.mount(b"none", os.path.dirname(path).encode(), b"tmpfs", 0, None))
open(path, "w").close()
if opened:
    netns = os.open(opened, os.O_RDONLY)
else:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    pid = os.fork()
    if pid == 0:
        check(libc.unshare(0x40000000))
        print("new", flush=True)
        signal.pause()
    sys.stdin.readline()
    netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
source = f"/proc/self/fd/{netns}".encode()
check(libc.mount(source, path.encode(), None, 4096, None))
os.close(netns)
if not opened:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print("mounted", flush=True)
signal.pause()
"""


Labels = tuple[str, ...]


class Node:
    """
    A collector of this machine, which has the log directory of the pod shop/web-0.

    Args:
        root: an empty directory that stands for the root of the node.
    """

    def __init__(self, root: Path) -> None:
        (root / f"var/log/pods/shop_web-0_{UID}").mkdir(parents=True)
        self._config = Config(path=PathSettings(rootfs=str(root)))
        self._skipped = 0.0
        self._collector = self._new_collector()

    def restart(self) -> None:
        """Replace the collector by one that knows nothing yet."""
        self.close()
        self._collector = self._new_collector()

    def close(self) -> None:
        self._collector.close()

    def labels(
        self, namespaces: Iterable[LabNetns], until: Sequence[Labels] = ()
    ) -> list[Labels]:
        """
        Return the labels of each namespace, after two full scans and the grace.

        until: wait for these labels, which depend on a file of others.
        """
        inodes = [netns.ino for netns in namespaces]
        shown: list[Labels | None] = []

        def are_shown() -> bool:
            shown[:] = map(self._collect().get, inodes)
            return None not in shown and (not until or shown == list(until))

        for _ in range(2):
            self._skipped += 61
            with contextlib.suppress(AssertionError):  # the caller compares
                wait_until(are_shown)
        return [labels or () for labels in shown]

    def _new_collector(self) -> Collector:
        def clock() -> float:
            return time.monotonic() + self._skipped

        return Collector(self._config, grace=1.0, clock=clock)

    def _collect(self) -> dict[Ino, Labels]:
        encoded = msgspec.json.encode(self._collector.collect())
        found = msgspec.json.decode(encoded, type=Snapshot).namespaces
        known = [netns for netns in found if netns.state != "pending"]
        return {netns.id.ino: owner_key(netns.owner) for netns in known}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "root")
    yield node
    node.close()


def is_within(labels: Labels) -> bool:
    """Return whether labels are those of no pod and of no other party."""
    return not any(labels[:3]) and labels[4].startswith(("within/", "cookie/"))


@contextlib.contextmanager
def running_in(*paths: str, hierarchy: str) -> Iterator[list[ProcessNetns]]:
    """Run a process in a namespace of its own in each of the cgroups *paths*."""
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(new_namespaces(len(paths)))
        for path, netns in zip(paths, made, strict=True):
            stack.enter_context(cgroup(path, netns.pid, hierarchy=hierarchy))
        for netns in made:
            stack.callback(netns.kill)
        yield made


@pytest.mark.parametrize("first", ["victims", "attackers"])
@pytest.mark.parametrize("hierarchy", ["pids", "name=systemd", ""], ids=repr)
def test_cgroups_below_one_that_others_may_write_leave_all_labels_as_they_are(
    node: Node, hierarchy: str, first: str
) -> None:
    with contextlib.ExitStack() as stack:

        def start(paths: Iterable[str]) -> list[ProcessNetns]:
            made = stack.enter_context(running_in(*paths, hierarchy=hierarchy))
            node.labels(made)
            return made

        evil = start(ATTACKS) if first == "attackers" else []
        victims = start(VICTIMS)
        alone = node.labels(victims)
        evil = evil or start(ATTACKS)

        beside, forged = node.labels(victims), node.labels(evil)
        node.restart()
        again, forged_again = node.labels(victims), node.labels(evil)

    assert [*VICTIMS.values()] == alone == beside == again
    assert [labels for labels in forged if not is_within(labels)] == []
    assert sorted(forged) == sorted(forged_again)


@pytest.mark.parametrize(
    "place", ["default/evil", "system.slice/x.service", f"docker/{EVIL}"]
)
def test_a_line_that_the_runtime_left_at_the_root_gives_no_name(
    node: Node, place: str
) -> None:
    """On a hybrid node, `0::/` may be written by every container that runs as root."""
    if not {"", "name=systemd"} <= hierarchies().keys():
        pytest.skip("no hybrid cgroups")
    with contextlib.ExitStack() as stack:
        evil = stack.enter_context(running_in(*VICTIMS, hierarchy=""))
        for netns in evil:
            stack.enter_context(cgroup(place, netns.pid, hierarchy="name=systemd"))
        forged = node.labels(evil)
        victims = stack.enter_context(running_in(*VICTIMS, hierarchy="name=systemd"))

        shown, forged_again = node.labels(victims), node.labels(evil)

    assert shown == [*VICTIMS.values()]
    assert forged == forged_again
    names = {labels[3] or labels[4].partition("/")[2] for labels in forged}
    assert not names & {IN_DOCKER[:12], "nginx.service"}
    assert not [labels for labels in forged if any(labels[:3])]


@pytest.mark.parametrize(
    ("hierarchy", "kind", "options"), [("", "cgroup2", ""), ("pids", "cgroup", "pids")]
)
def test_a_process_without_capabilities_makes_cgroups_but_no_labels(
    node: Node, tmp_path: Path, hierarchy: str, kind: str, options: str
) -> None:
    """With no_new_privs, through a mount in a user namespace of its own."""
    name = f"kubepods/pod{UID}/{IN_POD}"
    (tmp_path / "mount").mkdir()
    with (
        started(_MAKES_CGROUPS, str(tmp_path / "mount"), kind, options, name) as evil,
        cgroup("default/evil", evil.pid, hierarchy=hierarchy),
        removing("default/evil", name, hierarchy),
        killing(evil),
    ):
        tell(evil, "")
        assert read(evil) == "in"
        text = Path(f"/proc/{evil.pid}/cgroup").read_text()
        assert f"/default/evil/{name}\n" in text
        attacker = ProcessNetns(evil.pid)
        node.labels([attacker])

        with running_in(*VICTIMS, hierarchy=hierarchy) as victims:
            *kept, shown = node.labels([*victims, attacker])

    assert kept == [*VICTIMS.values()]
    assert shown == ("", "", "", IN_POD[:12], "within/default:evil")


@contextlib.contextmanager
def started(script: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-I", "-S", "-c", script, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def killing(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def removing(parent: str, name: str, hierarchy: str) -> Iterator[None]:
    """Remove the cgroups *name* below *parent* at the end."""
    try:
        yield
    finally:
        root = hierarchies()[hierarchy][0] / parent
        while name:
            (root / name).rmdir()
            name = name.rpartition("/")[0]


def tell(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdin
    process.stdin.write(f"{text}\n")
    process.stdin.flush()


def read(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


@contextlib.contextmanager
def mounted_by_a_user(name: str, opened: str = "") -> Iterator[LabNetns]:
    """Mount a new namespace, or the one at *opened*, in a user's mount namespace."""
    with started(_MOUNTS, f"/mnt/{name}", opened) as process:
        if not opened:
            assert read(process) == "new"
            tell(process, "")
        assert read(process) == "mounted"
        yield LabNetns(f"/proc/{process.pid}/root/mnt/{name}")


@pytest.mark.parametrize("first", ["operator", "user"])
def test_a_mount_of_a_user_does_not_take_the_name_of_an_operators(
    node: Node, first: str
) -> None:
    with contextlib.ExitStack() as stack:
        make = {
            "operator": lambda: named_netns("labels-blue"),
            "user": lambda: mounted_by_a_user("labels-blue"),
        }
        made: dict[str, LabNetns] = {}
        for party in sorted(make, key=lambda party: party != first):
            made[party] = stack.enter_context(make[party]())
            node.labels(made.values())
        parties = [made["operator"], made["user"]]

        now = node.labels(parties)
        node.restart()
        again = node.labels(parties)

    assert now == again
    assert [labels[4] for labels in now] == [
        "named/labels-blue",
        "within/uid:4711/named/labels-blue",
    ]


def test_a_user_that_keeps_a_deleted_namespace_does_not_keep_its_name(
    node: Node,
) -> None:
    path = "/run/netns/labels-red"
    with contextlib.ExitStack() as stack:
        with named_netns("labels-red") as old:
            node.labels([old])
            user = mounted_by_a_user("labels-green", path)
            kept = stack.enter_context(user)
            (before,) = node.labels([kept])
        new = stack.enter_context(named_netns("labels-red"))

        after = node.labels([new, kept])

    assert before[4] == "named/labels-red"
    assert after[0][4] == "named/labels-red"
    assert after[1][4].startswith(("within/", "cookie/"))


@pytest.mark.parametrize("first", ["service", "user"])
def test_a_mount_of_a_service_does_not_name_what_it_can_open(
    node: Node, first: str
) -> None:
    """A private mount of another unit's namespace, whose processes are alive."""
    with contextlib.ExitStack() as stack:
        paths = ["system.slice/nginx.service"]
        (victim,) = stack.enter_context(running_in(*paths, hierarchy=HOME))
        if first == "service":
            node.labels([victim])
        target = Path("/run/labels-opened")
        target.touch()
        subprocess.run(["mount", "--bind", victim.path, target], check=True)
        user = mounted_by_a_user("evil", str(target))
        stack.enter_context(user)
        subprocess.run(["umount", "-l", target], check=True)
        stack.callback(target.unlink)

        assert node.labels([victim]) == [VICTIMS[paths[0]]]


@pytest.mark.parametrize("first", ["container", "impostor"])
@pytest.mark.parametrize("parent", ["custom/grp", "system.slice/web.service"])
def test_a_container_below_a_cgroup_of_root_keeps_its_name_by_its_bundle(
    node: Node, tmp_path: Path, parent: str, first: str
) -> None:
    """As with Docker's --cgroup-parent; its shim shows where the bundle is."""
    path = f"{parent}/{IN_DOCKER}"
    bundle = tmp_path / "state/io.containerd.runtime.v2.task/default" / IN_DOCKER
    web = ("", "", "", "web", "")
    annotations = {"nerdctl/name": "web"}
    linux = {"cgroupsPath": f"/{path}", "namespaces": [{"type": "network"}]}
    bundle.mkdir(parents=True)
    config = json.dumps({"annotations": annotations, "linux": linux})
    (bundle / "config.json").write_text(config)
    with contextlib.ExitStack() as stack:
        forged = [f"default/evil/{IN_DOCKER}", f"x.service/docker-{IN_DOCKER}.scope"]
        if first == "impostor":
            evil = stack.enter_context(running_in(*forged, hierarchy=HOME))
            node.labels(evil)
        _, container = stack.enter_context(running_shim(bundle))
        stack.enter_context(cgroup(path, container.pid, hierarchy=HOME))
        stack.callback(container.kill)
        (alone,) = node.labels([container], until=[web])
        if first == "container":
            evil = stack.enter_context(running_in(*forged, hierarchy=HOME))

        beside, *shown = node.labels([container, *evil])
        node.restart()
        (again,) = node.labels([container], until=[web])

    assert alone == beside == again == web
    assert [labels for labels in shown if not is_within(labels)] == []
