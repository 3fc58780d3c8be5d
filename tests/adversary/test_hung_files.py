"""File systems that stop to answer: FUSE servers of a container, a user or the node."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from exporter.files import connection
from exporter.privsep.privileges import FILE_READER_CAPABILITIES, NOBODY
from testing.fuse_files import FuseMount, fuse_mount
from testing.lab import (
    LabNetns,
    ProcessNetns,
    add_veth,
    cgroup,
    named_netns,
    new_namespaces,
    wait_until,
)
from testing.running import Exporter, run_exporter
from tests.support.processes import thread_credentials

pytestmark = pytest.mark.root

USER = 4711
MANAGER = f"user.slice/user-{USER}.slice/user@{USER}.service/user.slice"
WITHIN = {"netns": f"within/user@{USER}.service"}
SOMAXCONN = "net.core.somaxconn"
PASSES = 20
STOP_SECONDS = 5.0


@contextlib.contextmanager
def mounted_netns(path: Path) -> Iterator[LabNetns]:
    """Mount a new namespace at *path*, which alone keeps it alive."""
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        yield LabNetns(str(path))
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


@contextlib.contextmanager
def netns_on_fuse(tmp_path: Path, name: str) -> Iterator[FuseMount]:
    """Mount a namespace called *name* on a FUSE file system; end when it answers."""
    with fuse_mount(tmp_path / f"fuse-{name}", {f"/{name}": b""}) as fuse:
        path = fuse.path / name
        subprocess.run(["unshare", f"--net={path}", "true"], check=True)
        LabNetns(str(path)).write(SOMAXCONN, "1234")
        try:
            yield fuse
        finally:
            fuse.answer()
            subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextlib.contextmanager
def user_container(container_id: str, storage: Path) -> Iterator[ProcessNetns]:
    """Run a container of a user's podman: a conmon that names a bundle, its child."""
    script = f"""
import ctypes, os, signal
read, write = os.pipe()
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    ctypes.CDLL(None).unshare(0x40000000)
    os.write(write, b"!")
    signal.pause()
os.read(read, 1)
os.setresuid({USER}, {USER}, {USER})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
print(child, flush=True)
signal.pause()
"""
    bundle = str(storage / container_id / "userdata")
    environment = {"PYTHONHOME": sys.base_prefix}
    with subprocess.Popen(
        ["conmon", "-S", "-c", script, "-b", bundle],
        executable=os.path.realpath(sys.executable),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as conmon:
        assert conmon.stdout
        pod = ProcessNetns(int(conmon.stdout.readline()))
        try:
            with (
                cgroup(f"{MANAGER}/libpod-conmon-{container_id}.scope", conmon.pid),
                cgroup(f"{MANAGER}/libpod-{container_id}.scope", pod.pid),
            ):
                yield pod
        finally:
            conmon.kill()


def storage_files(*container_ids: str) -> dict[str, bytes]:
    """Return the files of a podman storage; each container has its ID's end as name."""
    config = json.dumps({"annotations": {"io.container.manager": "libpod"}}).encode()
    names = [{"id": i, "names": [f"name-{i[-2:]}"]} for i in container_ids]
    bundles = {f"/s/{i}/userdata/config.json": config for i in container_ids}
    return {**bundles, "/s/containers.json": json.dumps(names).encode()}


def container_name(exporter: Exporter, container_id: str) -> str:
    """Return the label `container` of a container, "" if it is not there."""
    found = exporter.scrape().samples("netns_info", container_id=container_id)
    return next((dict(labels)["container"] for labels in found), "")


def is_read(exporter: Exporter, name: str, **labels: str) -> bool:
    values = exporter.scrape().samples("netns_sysctl_value", netns=name, **labels)
    return bool(values)


def has_problem(exporter: Exporter) -> bool:
    return bool(
        exporter.scrape().value("netns_collector_problem", problem="files_hung")
    )


def cpu_seconds(exporter: Exporter) -> float:
    """Return the CPU time of the collector for PASSES passes, each answered."""
    process = psutil.Process(exporter.process.pid)
    before = process.cpu_times()
    for _ in range(PASSES):
        assert exporter.get("/metrics")[0] == 200
    after = process.cpu_times()
    return (after.user + after.system) - (before.user + before.system)


class TestAMountedNamespace:
    """One that only a mount on a FUSE file system keeps alive."""

    def test_it_is_read_while_the_file_system_answers(self, tmp_path: Path) -> None:
        with netns_on_fuse(tmp_path, "blue"), run_exporter(tmp_path) as exporter:
            wait_until(lambda: is_read(exporter, "named/blue"))

            metrics = exporter.scrape()

            (thread, *more) = thread_credentials(exporter.child_pid(connection.ROLE))
        labels = {"sysctl": SOMAXCONN, "netns": "named/blue"}
        assert metrics.value("netns_sysctl_value", **labels) == 1234
        assert not metrics.samples("netns_collector_problem", problem="files_hung")
        for each in (thread, *more):
            assert each.uids == (NOBODY,) * 4
            assert each.permitted == each.effective == FILE_READER_CAPABILITIES

    @pytest.mark.parametrize("count", [1, 10])
    def test_scrapes_go_on_and_others_are_found_while_it_hangs(
        self, tmp_path: Path, count: int
    ) -> None:
        with contextlib.ExitStack() as stack:
            mounts = [
                stack.enter_context(netns_on_fuse(tmp_path, f"n{number}"))
                for number in range(count)
            ]
            exporter = stack.enter_context(run_exporter(tmp_path))
            last = f"named/n{count - 1}"
            wait_until(lambda: is_read(exporter, last))
            cpu_seconds(exporter)
            usual = cpu_seconds(exporter)

            for fuse in mounts:
                fuse.stall()
            wait_until(lambda: has_problem(exporter))
            assert cpu_seconds(exporter) <= 1.2 * usual + PASSES * 0.002

            with named_netns("exporter-hung-new"), new_namespaces() as (pod,):
                veth = add_veth(pod.pid)
                for _ in range(2):
                    metrics = exporter.scrape()
                assert metrics.samples("netns_info", netns="named/exporter-hung-new")
                pod.kill()
                wait_until(lambda: not veth.exists())

            for fuse in mounts:
                fuse.answer()
            wait_until(lambda: not has_problem(exporter))

    def test_one_that_hangs_from_the_start_is_read_when_it_answers(
        self, tmp_path: Path
    ) -> None:
        with netns_on_fuse(tmp_path, "blue") as fuse:
            fuse.stall()
            with run_exporter(tmp_path) as exporter:
                wait_until(lambda: has_problem(exporter))
                assert not is_read(exporter, "named/blue")

                fuse.answer()

                wait_until(lambda: is_read(exporter, "named/blue"))
                assert not has_problem(exporter)

    def test_a_signal_ends_all_processes(self, tmp_path: Path) -> None:
        with netns_on_fuse(tmp_path, "blue") as fuse:
            fuse.stall()
            with run_exporter(tmp_path) as exporter:
                wait_until(lambda: has_problem(exporter))
                children = psutil.Process(exporter.process.pid).children()
                assert len(children) == 2

                exporter.process.send_signal(signal.SIGTERM)

                assert exporter.process.wait(STOP_SECONDS) == 0
                wait_until(lambda: not any(map(can_run, children)), STOP_SECONDS)

    def test_a_namespace_that_ends_while_another_hangs_is_not_kept_alive(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "green").touch()
        with (
            netns_on_fuse(tmp_path, "blue") as fuse,
            mounted_netns(tmp_path / "green") as green,
            run_exporter(tmp_path) as exporter,
        ):
            with new_namespaces() as (pod,):
                veth = add_veth(pod.pid)
                mount = tmp_path / "mounted"
                mount.touch()
                subprocess.run(["mount", "--bind", pod.path, str(mount)], check=True)
                pod.kill()
                wait_until(lambda: is_read(exporter, "named/mounted"))
                fuse.stall()
                wait_until(lambda: has_problem(exporter))

                subprocess.run(["umount", str(mount)], check=True)

                wait_until(lambda: not veth.exists())
            assert is_read(exporter, "named/green"), green.path


def can_run(process: psutil.Process) -> bool:
    """Return whether a process is there, and not only threads that cannot end."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TestABundle:
    """The files of a user's container, on a file system of the user's."""

    ONE, TWO, OTHER = "a1" * 32, "b2" * 32, "c3" * 32

    @pytest.fixture
    def others(self, tmp_path: Path) -> Iterator[Path]:
        """Make a storage that always answers, and run a container of it."""
        for name, body in storage_files(self.OTHER).items():
            path = tmp_path / f"good{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            os.chown(path, USER, USER)
        with user_container(self.OTHER, tmp_path / "good/s"):
            yield tmp_path

    @pytest.mark.parametrize("what", ["/", "/s/{}/userdata/config.json"])
    @pytest.mark.usefixtures("others")
    def test_only_what_hangs_has_no_name_until_it_answers(
        self, tmp_path: Path, what: str
    ) -> None:
        files = storage_files(self.ONE, self.TWO)
        with (
            fuse_mount(tmp_path / "fuse", files, uid=USER) as fuse,
            user_container(self.ONE, fuse.path / "s"),
            user_container(self.TWO, fuse.path / "s"),
        ):
            fuse.stall(what.format(self.ONE))
            with run_exporter(tmp_path) as exporter:
                wait_until(lambda: has_problem(exporter))
                assert container_name(exporter, self.OTHER) == "name-c3"
                wait_until(lambda: container_name(exporter, self.ONE) == "a1" * 6)
                expected = "b2" * 6 if what == "/" else "name-b2"
                wait_until(lambda: container_name(exporter, self.TWO) == expected)

                fuse.answer()

                wait_until(lambda: container_name(exporter, self.ONE) == "name-a1")
                wait_until(lambda: container_name(exporter, self.TWO) == "name-b2")
                assert not has_problem(exporter)

    def test_scrapes_go_on_while_it_hangs(self, tmp_path: Path, others: Path) -> None:
        files = storage_files(self.ONE)
        with (
            fuse_mount(tmp_path / "fuse", files, uid=USER) as fuse,
            user_container(self.ONE, fuse.path / "s"),
            run_exporter(others) as exporter,
        ):
            wait_until(lambda: container_name(exporter, self.ONE) == "name-a1")
            cpu_seconds(exporter)
            usual = cpu_seconds(exporter)

            fuse.stall()
            wait_until(lambda: has_problem(exporter))

            assert cpu_seconds(exporter) <= 1.2 * usual + PASSES * 0.002
            assert container_name(exporter, self.ONE) == "name-a1"
            assert container_name(exporter, self.OTHER) == "name-c3"

    def test_a_bundle_of_runc_hangs_alone(self, tmp_path: Path) -> None:
        """Its state names it, wherever it is; here below a root of our own."""
        root = tmp_path / "root"
        files = {"/bundle/config.json": b'{"linux": {"sysctl": {}}}'}
        with (
            fuse_mount(root / "home/u", files) as fuse,
            new_namespaces(2) as pods,
        ):
            for name, bundle, pod in zip(
                ("good", "bad"), ("/good", "/home/u/bundle"), pods, strict=True
            ):
                state = {
                    "init_process_pid": pod.pid,
                    "init_process_start": start_time(pod.pid),
                    "config": {"labels": [f"bundle={bundle}"]},
                }
                path = root / f"run/runc/{name}/state.json"
                path.parent.mkdir(parents=True)
                path.write_text(json.dumps(state))
            (root / "good").mkdir()
            (root / "good/config.json").write_text("{}")
            fuse.stall()
            with run_exporter(tmp_path, "--path.rootfs", str(root)) as exporter:
                wait_until(lambda: container_name(exporter, "good") == "good")
                wait_until(lambda: has_problem(exporter))
                assert container_name(exporter, "bad") == ""

                fuse.answer()

                wait_until(lambda: container_name(exporter, "bad") == "bad")


def start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "symlink": lambda path: path.symlink_to("/proc/1/ns/net"),
    "fifo": os.mkfifo,
    "device": lambda path: subprocess.run(
        ["mknod", str(path), "c", "1", "3"], check=True
    ),
    "nothing": bool,
}


@contextlib.contextmanager
def moving_mount(path: Path) -> Iterator[Callable[[], None]]:
    """
    Mount a namespace at *path*, in another mount namespace.

    Yield what moves the mount elsewhere and removes *path*.
    """
    path.touch()
    kept = path.with_name("kept")
    script = f"""
unshare --net={path} true; echo mounted; read go
touch {kept}; mount --bind {path} {kept}; umount {path}; rm {path}; echo moved; read go
"""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdin
        assert holder.stdout
        stdin, stdout = holder.stdin, holder.stdout

        def move() -> None:
            stdin.write("\n")
            stdin.flush()
            assert stdout.readline() == "moved\n"

        try:
            assert stdout.readline() == "mounted\n"
            yield move
        finally:
            holder.kill()


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_a_mount_point_that_is_replaced_is_never_opened(
    tmp_path: Path, kind: str
) -> None:
    """The mounts of other mount namespaces are listed once a minute only."""
    path = tmp_path / "blue"
    with moving_mount(path) as move, run_exporter(tmp_path) as exporter:
        wait_until(lambda: is_read(exporter, "named/blue"))
        values = exporter.scrape().samples("netns_sysctl_value", netns="named/blue")
        move()
        REPLACEMENTS[kind](path)
        command = ["sh", "-c", f": > {path}" if kind == "fifo" else "read never"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
            for _ in range(3):
                metrics = exporter.scrape()

            assert writer.poll() is None, "somebody opened the FIFO"
            writer.kill()
    now = metrics.samples("netns_sysctl_value", netns="named/blue")
    assert now == values
    assert not metrics.samples("netns_tcp_sockets", netns="named/blue")
