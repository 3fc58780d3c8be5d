"""
What the node's root makes on a fake node, and what others can add to it.

A party writes only the lines of /proc/PID/cgroup below its own cgroup, in each
hierarchy in which its runtime placed it; elsewhere it is at the root, which only a
process with uid 0 may write. It mounts whatever it can open, in a mount namespace that
it owns, under any name.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from exporter.kernel.procfs import MountNsOwner
from exporter.model import Ino
from exporter.owner import owner_key
from tests.support.builders import CONTAINER, OTHER_CONTAINER, OTHER_UID, UID
from tests.support.fakeproc import HOST_INO, FakeProcfs
from tests.support.owner_node import GRACE, FakeNode
from tests.support.process_table import ProcessTableWithMounts

Labels = tuple[str, ...]

NOTHING = ("",) * 5
TASKS = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"

THIRD = "c3" * 32
EVIL = "e7" * 32
SHIM = 30
USER = "/user.slice/user-4711.slice/user@4711.service"
NEIGHBOR = "/user.slice/user-1000.slice/user@1000.service"
UID_ = UID.replace("-", "_")

LAYOUTS = {  # the hierarchies of a node: where it places a process, and the others
    "v1": (("3:cpu,cpuacct", "8:pids", "1:name=systemd"), ()),
    "v2": (("0:",), ()),
    "hybrid": (("3:cpu,cpuacct", "8:pids", "1:name=systemd"), ("7:misc", "0:")),
    "without systemd": (("3:cpu,cpuacct", "8:pids"), ("0:",)),
}


class Victim(NamedTuple):
    """
    Something that the node's root makes.

    Attributes:
        cgroup: where its process is, "" if it has none.
        container_id: of its bundle, "" if it has none.
        pod_uid: in its bundle.
        mounts: where pid 1 sees its namespace.
    """

    cgroup: str
    container_id: str = ""
    pod_uid: str = ""
    mounts: tuple[str, ...] = ()


POD = f"/kubepods/burstable/pod{UID}/{CONTAINER}"
VICTIMS = (
    Victim(POD),
    Victim(POD, CONTAINER, UID),
    Victim(
        f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{CONTAINER}.scope",
        CONTAINER,
        UID,
    ),
    Victim(f"/another/kubepods/pod{UID}/{CONTAINER}", CONTAINER, UID),
    Victim(f"/docker/{OTHER_CONTAINER}"),
    Victim(f"/system.slice/docker-{OTHER_CONTAINER}.scope", OTHER_CONTAINER),
    Victim(f"/custom/grp/{OTHER_CONTAINER}", OTHER_CONTAINER),
    Victim(f"/system.slice/web.service/libpod-payload-{THIRD}", THIRD),
    Victim("/system.slice/nginx.service"),
    Victim(f"{NEIGHBOR}/app.slice/nginx.service"),
    Victim(f"{NEIGHBOR}/user.slice/docker-{THIRD}.scope"),
    Victim("/default/good"),
    Victim("/"),
    Victim("", mounts=("/run/netns/blue",)),
    Victim("/system.slice/nginx.service", mounts=("/run/netns/red",)),
)

PLACES = {  # of parties, and whether they run as uid 0
    "/default/evil": True,
    f"/docker/{EVIL}": True,
    "/docker/buildkit/x": True,
    f"/kubepods/pod{OTHER_UID}/{EVIL}": True,
    f"/system.slice/docker-{EVIL}.scope": True,
    "/system.slice/x.service": True,
    "/lxc.payload.evil": True,
    "/evil": True,
    "/machine.slice/machine-evil.scope": True,
    USER: False,
    "/user.slice/user-4711.slice/session-3.scope": False,
    "/": False,
}
_PIECES = st.sampled_from(
    [
        *(victim.cgroup.strip("/") for victim in VICTIMS),
        *(CONTAINER, OTHER_CONTAINER, THIRD, "x", "kubepods", "docker", "init.scope"),
        *(f"docker-{OTHER_CONTAINER}.scope", f"docker/{OTHER_CONTAINER}"),
        *(f"kubepods/pod{UID}/{CONTAINER}", f"pod{UID}/{CONTAINER}"),
        *(f"crio-conmon-{CONTAINER}.scope", "libpod_parent/conmon", "nginx.service"),
        *(f"kubepods-pod{UID_}.slice:cri-containerd:{CONTAINER}", "kubepods.slice"),
        *("user@1000.service", "user.slice", "containerd.service", "garden.service"),
    ]
)
_BELOW = st.lists(_PIECES, max_size=3).map("/".join)
_NAMES = st.sampled_from(
    ["blue", "red", "host", "x", "cni-0d137909-8596-495c-92b3-048a901457b2"]
)


def identity(victim: Victim) -> str:
    """Return what two victims cannot both be."""
    ids = (CONTAINER, OTHER_CONTAINER, THIRD)
    return next((known for known in ids if known in victim.cgroup), repr(victim))


class Attack(NamedTuple):
    """
    A process of a party, or a mount.

    Attributes:
        place: the party's, of PLACES.
        below: what the party makes below its own cgroup, by the number of the line.
        start_time: of the process.
        parent: 1, a shim of the node (of a container with the node's processes), or
            the process before.
        comm: its name.
        mount: a name for a mount of the namespace, "" for none.
        of_victim: the number of the victim whose namespace is mounted, instead of its
            own; an odd one too many stands for its own.
        bundle: whether its parent shows a bundle of a victim's container.
    """

    place: str
    below: tuple[str, ...]
    start_time: int
    parent: int
    comm: str
    mount: str
    of_victim: int
    bundle: bool


ATTACKS = st.builds(
    Attack,
    place=st.sampled_from(list(PLACES)),
    below=st.tuples(*[_BELOW] * 5) | _BELOW.map(lambda path: (path,) * 5),
    start_time=st.integers(1, 200),
    parent=st.sampled_from([1, SHIM, 0]),
    comm=st.sampled_from(["nginx", "pause", "host"]),
    mount=st.just("") | _NAMES,
    of_victim=st.integers(0, 2 * len(VICTIMS)),
    bundle=st.booleans(),
)


class Node:
    """A fake node, on which victims and attacks start one after another."""

    def __init__(self, node: FakeNode, layout: str, victims: Sequence[Victim]) -> None:
        self.node, self._layout, self._victims = node, layout, victims
        self._pid = 1000
        node.attributions.clear()
        shim = node.fake.process(SHIM)
        shown = self._cgroup("/system.slice/containerd.service", NOTHING)
        node.set_cgroup(SHIM, shown)
        (shim / "status").write_text(
            f"Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t{(1 << 41) - 1:016x}\n"
        )
        (shim / "cwd").symlink_to(f"{TASKS}/{CONTAINER}")
        (shim / "root").symlink_to(node.rootfs)
        for home in (shim, node.fake.process(os.getpid())):
            (home / "ns/user").symlink_to("user:[1]")
        node.make_pod_log_directory()

    def start_victim(self, number: int) -> None:
        """Start a victim, without its bundle."""
        victim, ino = self._victims[number], self.ino(number)
        if victim.cgroup:
            text = self._cgroup(victim.cgroup, NOTHING)
            parent = SHIM if victim.container_id else 1
            self.node.fake.process(ino, netns=ino, parent=parent, cgroup=text)
        for path in victim.mounts:
            self.node.fake.mount(1, ino, path)
        self.node.add(ino, cookie=ino)

    def write_bundle(self, number: int) -> None:
        """Let the runtime write the bundle of a victim, if it has one."""
        victim = self._victims[number]
        if victim.container_id:
            self.node.write_bundle(
                victim.container_id, sandbox_of=victim.pod_uid, cgroup=victim.cgroup
            )

    def ino(self, number: int) -> Ino:
        """Return the namespace of a victim."""
        return Ino(100 + number)

    def attack(self, attack: Attack) -> None:
        """Start the process of an attack, and make its mount."""
        self._pid += 1
        pid, ino = self._pid, Ino(self._pid)
        is_root = PLACES[attack.place]
        text = self._cgroup(attack.place, attack.below, is_root=is_root)
        self.node.fake.process(
            pid,
            netns=ino,
            mntns=f"mnt:[{pid}]",
            comm=attack.comm.encode(),
            parent=attack.parent or pid - 1,
            start_time=attack.start_time,
            cgroup=text,
        )
        self.node.add(ino, cookie=pid)
        self._show_bundle(pid, attack)
        procfs = self.node.fake.procfs
        assert isinstance(procfs, FakeProcfs)
        procfs.mount_owners[pid] = MountNsOwner(is_node=False, uid=4711)
        if attack.mount:
            opened = attack.of_victim
            mounted = self.ino(opened) if opened < len(self._victims) else ino
            self.node.fake.mount(pid, mounted, f"/run/netns/{attack.mount}")

    def settle(self) -> None:
        """Make full scans until nothing waits any more."""
        processes = self.node.processes
        assert isinstance(processes, ProcessTableWithMounts)
        processes.watch.has_changed = True
        for _ in range(3):
            processes.scan()
            processes.full_scan()
            for attribution in self.node.attributions.values():
                attribution.needs_resolution = True
            self.node.resolver.resolve(self.node.attributions, Ino(HOST_INO))
            self.node.clock.now += GRACE

    def restart(self) -> None:
        """Replace the exporter by one that knows nothing yet."""
        self.node.use(self.node.fake.procfs)
        inodes = list(self.node.attributions)
        self.node.attributions.clear()
        for ino in inodes:
            self.node.add(ino, cookie=ino)

    def labels(self) -> dict[Ino, Labels]:
        """Return the labels of each victim that has started."""
        inodes = [self.ino(number) for number in range(len(self._victims))]
        found = {ino: self.node.attributions.get(ino) for ino in inodes}
        return {
            ino: owner_key(it.owner) for ino, it in found.items() if it and it.owner
        }

    def _cgroup(
        self, place: str, below: Sequence[str], *, is_root: bool = False
    ) -> bytes:
        placed, others = LAYOUTS[self._layout]
        below = NOTHING if place == "/" and not is_root else below
        lines = [
            f"{name}:{f'{place}/{more}'.rstrip('/') or '/'}"
            for name, more in zip(placed, below, strict=False)
        ]
        lines += [
            f"{name}:/{more if is_root else ''}"
            for name, more in zip(others, below[::-1], strict=False)
        ]
        return "\n".join([*lines, ""]).encode()

    def _show_bundle(self, pid: int, attack: Attack) -> None:
        """Let the process pose as a shim with a bundle of each container."""
        if not attack.bundle:
            return
        home = self.node.fake.root / str(pid)
        root = self.node.fake.root.parent / f"root-of-{pid}"
        for container_id in (CONTAINER, OTHER_CONTAINER, THIRD):
            bundle = root / TASKS.strip("/") / container_id
            bundle.mkdir(parents=True)
            cri = "io.kubernetes.cri."
            annotations = {
                f"{cri}container-type": "sandbox",
                f"{cri}sandbox-id": container_id,
                f"{cri}sandbox-name": "evil",
                f"{cri}sandbox-namespace": "evil",
                f"{cri}sandbox-uid": UID,
            }
            linux = {"cgroupsPath": f"/kubepods/pod{UID}/{container_id}"}
            spec = {"annotations": annotations, "linux": linux}
            (bundle / "config.json").write_bytes(msgspec.json.encode(spec))
        (home / "cwd").symlink_to(f"{TASKS}/{CONTAINER}")
        (home / "root").symlink_to(root)
        (home / "status").write_text(
            "Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n"
        )
