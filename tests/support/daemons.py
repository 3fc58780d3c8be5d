"""
A laboratory of real container runtimes: Docker, containerd, podman, runc, crun.

Each lives in a directory of its own and keeps off the default ones; what it
started ends with it, by pid, and what it mounted or made is taken away.
"""

import abc
import contextlib
import hashlib
import io
import itertools
import json
import os
import platform
import secrets
import shlex
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import grpc  # type: ignore[import-untyped]
import psutil
import pytest

from testing.lab import wait_until

BUSYBOX = Path("/bin/busybox")
IMAGE = "test/busybox:1"
PAUSE_IMAGE = "registry.k8s.io/pause:3.6"
CNI_PLUGINS = "/usr/lib/cni"

_APPLETS = "cat echo env false httpd id ip ls mkdir nc ps sh sleep sysctl true wget"
_CMD = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"]
_PATH = "PATH=/bin"
_TASKS = "io.containerd.runtime.v2.task"
_NAMES = {
    *("conmon", "containerd", "containerd-shim-runc-v2", "crun", "ctr", "docker"),
    *("docker-proxy", "dockerd", "podman", "runc"),
}
_STRAYS = (
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/run/containerd/s",
    "/run/crun",
    "/run/docker/plugins",
    "/run/runc",
    "/var/cache/containers/short-name-aliases.conf.lock",
    "/var/lib/cni/results",
    "/var/lib/containers/cache/blob-info-cache-v1.boltdb",
)


def _need(*commands: str) -> None:
    """Skip the test where one of the commands is not installed."""
    for command in (str(BUSYBOX), *commands):
        if not shutil.which(command):
            pytest.skip(f"needs {command}")


# --- the image ---------------------------------------------------------------


def image(directory: Path) -> Path:
    """Make the archive that `docker load`, `podman load`, `ctr images import` take."""
    archive = directory / "busybox.tar"
    if archive.exists():
        return archive
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": _CMD, "Env": [_PATH]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "tests"}],
    }
    config_json = json.dumps(config).encode()
    name = f"{hashlib.sha256(config_json).hexdigest()}.json"
    manifest = {
        "Config": name,
        "RepoTags": [PAUSE_IMAGE, IMAGE],
        "Layers": [f"{digest}/layer.tar"],
    }
    with tarfile.open(archive, "w") as tar:
        _add(tar, name, config_json)
        _add(tar, f"{digest}/layer.tar", layer)
        _add(tar, "manifest.json", json.dumps([manifest]).encode())
    return archive


def _layer() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes())
        for name in _APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type = tarfile.SYMTYPE
            entry.linkname = "busybox"
            tar.addfile(entry)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o755
    tar.addfile(entry, io.BytesIO(content))


# --- what all of them share --------------------------------------------------


def _run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return what it printed."""
    result = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | env if env else None,
    )
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout.strip()


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """Make a directory with a short path; end and unmount all that is left in it."""
    home = Path(tempfile.mkdtemp(prefix="nse-", dir="/tmp"))
    home.chmod(0o711)
    cgroups = _cgroups()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home)
        stack.enter_context(_strays())
        stack.callback(lambda: _remove_cgroups(_cgroups() - cgroups))
        stack.callback(_unmount, home)
        stack.callback(_remove_named_namespaces, home)
        stack.callback(_end_processes, home)
        yield home


@contextlib.contextmanager
def _strays() -> Iterator[None]:
    """Remove what runtimes make in places that no flag moves, if it is new."""
    absent = [
        place
        for stray in map(Path, _STRAYS)
        for place in (stray, *stray.parents)
        if not place.exists()
    ]
    try:
        yield
    finally:
        for place in absent:
            with contextlib.suppress(OSError):
                place.rmdir() if place.is_dir() else place.unlink()


def _end_processes(home: Path) -> None:
    """Kill every runtime's process that names *home* in its arguments, and children."""
    left: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            named = any(str(home) in argument for argument in process.cmdline())
            if named and process.name() in _NAMES:
                left += [process, *process.children(recursive=True)]
    for address in home.glob(f"**/{_TASKS}/*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: all(map(_ended, left)))


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _remove_named_namespaces(home: Path) -> None:
    """Remove those that a runtime mounted for the bundles it left behind."""
    bundles = (*home.glob(f"**/{_TASKS}/*/*"), *home.glob("**/userdata"))
    for config in (bundle / "config.json" for bundle in bundles):
        spec = json.loads(config.read_text()) if config.exists() else {"linux": {}}
        for namespace in spec["linux"].get("namespaces", ()):
            path = Path(namespace.get("path", "/")).resolve()
            made = path.parent == Path("/run/netns") and path.exists()
            if made and path.name.startswith(("cni-", "netns-")):
                _run("umount", "--lazy", path)
                path.unlink()


def _unmount(home: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in reversed(points):
        if point.startswith(f"{home}/"):
            _run("umount", "--lazy", point)


def _cgroups() -> set[Path]:
    """Return every cgroup of every hierarchy."""
    return {Path(place) for place, _, _ in os.walk("/sys/fs/cgroup")}


def _remove_cgroups(places: set[Path]) -> None:
    """Remove those that nobody is in, children first."""
    for place in sorted(places, reverse=True):
        wait_until(lambda one=place: _in_use(one) or _removed(one))  # type: ignore[misc]


def _in_use(cgroup: Path) -> bool:
    try:
        return any(one.is_dir() for one in cgroup.iterdir()) or bool(
            (cgroup / "cgroup.procs").read_text()
        )
    except OSError:
        return True


def _removed(directory: Path) -> bool:
    """Remove a directory unless something is in it, a zombie in a cgroup, say."""
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def _prepare_netns_directory() -> None:
    """Let `ip netns` bind /run/netns to itself before a runtime mounts in it."""
    name = f"nse-{secrets.token_hex(4)}"
    _run("ip", "netns", "add", name)
    _run("ip", "netns", "del", name)


@contextlib.contextmanager
def _bridge_name() -> Iterator[str]:
    """Give a name to a bridge; delete the bridge if somebody made it."""
    name = f"nse{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        if Path("/sys/class/net", name).exists():
            _run("ip", "link", "del", name)


def _subnet() -> str:
    """Return the first three octets of a subnet meant for benchmarks."""
    return f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"


@contextlib.contextmanager
def _cni(directory: Path, network: str, bridge: str) -> Iterator[None]:
    """Configure a network of one bridge that routes nowhere."""
    directory.mkdir()
    plugin = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": False,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "subnet": f"{_subnet()}.0/24",
            "dataDir": str(directory / "addresses"),
        },
    }
    conflist = {"cniVersion": "0.4.0", "name": network, "plugins": [plugin]}
    (directory / "10-test.conflist").write_text(json.dumps(conflist))
    results = Path("/var/lib/cni/results")
    before = set(results.glob(f"{network}-*"))
    try:
        yield
    finally:
        for left in set(results.glob(f"{network}-*")) - before:
            left.unlink(missing_ok=True)


class _Daemon(abc.ABC):
    """A daemon in the foreground, its log below the test's directory."""

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
        """Start it, once its children of before are gone, zombies too."""
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

    def stop(self) -> None:
        """Freeze it: it answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; its containers live on."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        self._end(signal.SIGTERM)

    def restart_daemon(self) -> None:
        self.terminate()
        self.start()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the block ends, then what it manages ends with it."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.kill)
            self.start()
            stack.callback(self.clear)
            stack.callback(self._revive)
            yield

    @abc.abstractmethod
    def ready(self) -> bool:
        """Tell whether it answers."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove all that it manages."""

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

    def _revive(self) -> None:
        """Have it run and answer, whatever a test did to it."""
        assert self._process
        if self._process.poll() is None:
            self.cont()
        else:
            self.start()


# --- Docker ------------------------------------------------------------------


class Docker(_Daemon):
    """A dockerd and the containerd it starts."""

    def __init__(self, log: Path, home: Path, bridge: str, *flags: str) -> None:
        self.socket = home / "docker.sock"
        self.root = home / "data"
        self.state = home / "exec" / "containerd" / "daemon"
        config = {"deprecated-key-path": f"{home}/key.json"}
        (home / "daemon.json").write_text(json.dumps(config))
        super().__init__(
            log,
            "dockerd",
            f"--config-file={home}/daemon.json",
            f"--data-root={self.root}",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/docker.pid",
            f"--host=unix://{self.socket}",
            f"--bridge={bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            *flags,
        )
        self._client = ("docker", f"--config={home}", f"--host=unix://{self.socket}")

    def ready(self) -> bool:
        if not self.socket.exists():
            return False
        command = (*self._client, "version")
        return not subprocess.run(command, check=False, capture_output=True).returncode

    def command(self, *arguments: str) -> str:
        return _run(*self._client, *arguments)

    def run(self, *arguments: str) -> str:
        """Start a container of the image, or of one that the arguments name."""
        return self.command("run", "--detach", *_with_image(arguments))

    def bundle(self, container_id: str) -> Path:
        return self.state / _TASKS / "moby" / container_id

    def pid_of(self, container_id: str) -> int:
        return int((self.bundle(container_id) / "init.pid").read_text())

    def clear(self) -> None:
        """Remove every container and every network."""
        ids = self.command("ps", "--all", "--quiet").split()
        if ids:
            self.command("rm", "--force", "--volumes", *ids)
        self.command("network", "prune", "--force")


def _with_image(arguments: Sequence[str]) -> Sequence[str]:
    named = {IMAGE, PAUSE_IMAGE} & set(arguments)
    return arguments if named else (*arguments, IMAGE)


@contextlib.contextmanager
def docker(
    directory: Path, *flags: str, kind: type[Docker] = Docker
) -> Iterator[Docker]:
    """Run a Docker Engine that has the image loaded."""
    _need("dockerd", "docker", "containerd", "runc")
    if Path("/run/containerd/containerd.sock").exists():
        pytest.skip("dockerd would use this machine's containerd, not its own")
    with _bridge_name() as bridge, _home() as home:
        _run("ip", "link", "add", bridge, "type", "bridge")
        _run("ip", "address", "add", f"{_subnet()}.1/24", "dev", bridge)
        daemon = kind(directory / "dockerd.log", home, bridge, *flags)
        with daemon.running():
            daemon.command("load", "--quiet", "--input", str(image(directory)))
            yield daemon


# --- containerd --------------------------------------------------------------

_Field = str | bytes | int | Mapping[str, str]


def _message(fields: Mapping[int, _Field]) -> bytes:
    """Encode a protobuf message of strings, messages, enums and string maps."""
    return b"".join(itertools.starmap(_field, fields.items()))


def _field(number: int, value: _Field) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, Mapping):
        entries = (_message({1: key, 2: text}) for key, text in value.items())
        return b"".join(_field(number, entry) for entry in entries)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _first_string(message: bytes) -> str:
    """Decode a response's field 1, a string shorter than 128 bytes."""
    assert message[:1] == b"\x0a", message
    assert message[1] < 0x80, message
    return message[2 : 2 + message[1]].decode()


class _Pod(NamedTuple):
    """A sandbox as its containers must be told of it again."""

    config: bytes
    labels: Mapping[str, str]
    options: bytes


class Containerd(_Daemon):
    """A containerd with the CRI plug-in, and the part of a kubelet that drives it."""

    def __init__(self, directory: Path, home: Path) -> None:
        self.socket = home / "containerd.sock"
        self.root = home / "root"
        self.state = home / "state"
        self._logs = directory / "pods"
        self._pods: dict[str, _Pod] = {}
        config = home / "config.toml"
        config.write_text(
            _CONTAINERD_CONFIG.format(
                home=home,
                cni=CNI_PLUGINS,
                pause=PAUSE_IMAGE,
                crun=_script(home / "crun.sh", *_beside_hybrid_cgroups("crun"), "crun"),
                kata=_script(home / "kata-runtime", "runc"),
            )
        )
        log = directory / "containerd.log"
        super().__init__(log, "containerd", f"--config={config}")

    def ready(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            self.call("RuntimeService/Version", {})
        except grpc.RpcError:
            return False
        return True

    def call(self, method: str, fields: Mapping[int, _Field]) -> bytes:
        """Call a method of CRI with an encoded request; return the response."""
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            function = channel.unary_unary(f"/runtime.v1.{method}")
            response = function(_message(fields), timeout=60)
        assert isinstance(response, bytes)
        return response

    def load(self, archive: Path) -> None:
        _run("ctr", f"--address={self.socket}", "-n=k8s.io", "image", "import", archive)
        for name in (IMAGE, PAUSE_IMAGE):
            wanted = {1: _message({1: name})}
            wait_until(lambda one=wanted: self.call("ImageService/ImageStatus", one))  # type: ignore[misc]

    def pod(
        self,
        namespace: str,
        name: str,
        uid: str,
        *,
        sysctls: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        host_network: bool = False,
        cgroup_parent: str = "",
        runtime_handler: str = "",
        attempt: int = 0,
    ) -> str:
        """Start a pod's sandbox; the cgroup is that of a best-effort pod."""
        labels = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": namespace,
            "io.kubernetes.pod.uid": uid,
        }
        options = _message({1: 2 if host_network else 0, 2: 1})
        linux: dict[int, _Field] = {
            1: cgroup_parent or f"/kubepods/besteffort/pod{uid}",
            2: _message({1: options}),
            3: sysctls or {},
        }
        logs = self._logs / f"{namespace}_{name}_{uid}"
        config = _message(
            {
                1: _message({1: name, 2: uid, 3: namespace, 4: attempt}),
                2: "" if host_network else name,
                3: str(logs),
                6: labels,
                7: annotations or {},
                8: _message(linux),
            }
        )
        response = self.call(
            "RuntimeService/RunPodSandbox", {1: config, 2: runtime_handler}
        )
        sandbox_id = _first_string(response)
        self._pods[sandbox_id] = _Pod(config, labels, options)
        return sandbox_id

    def container(self, sandbox_id: str, name: str) -> str:
        """Create and start a container of the image in a pod."""
        pod = self._pods[sandbox_id]
        config: dict[int, _Field] = {
            1: _message({1: name}),
            2: _message({1: IMAGE}),
            9: {**pod.labels, "io.kubernetes.container.name": name},
            11: f"{name}/0.log",
            15: _message({2: _message({3: pod.options})}),
        }
        response = self.call(
            "RuntimeService/CreateContainer",
            {1: sandbox_id, 2: _message(config), 3: pod.config},
        )
        container_id = _first_string(response)
        self.call("RuntimeService/StartContainer", {1: container_id})
        return container_id

    def remove_container(self, container_id: str) -> None:
        self.call("RuntimeService/StopContainer", {1: container_id})
        self.call("RuntimeService/RemoveContainer", {1: container_id})

    def stop_pod(self, sandbox_id: str) -> None:
        """End a pod's processes and its network; it stays listed."""
        self.call("RuntimeService/StopPodSandbox", {1: sandbox_id})

    def remove(self, sandbox_id: str) -> None:
        self.stop_pod(sandbox_id)
        self.call("RuntimeService/RemovePodSandbox", {1: sandbox_id})
        del self._pods[sandbox_id]

    def bundle(self, container_id: str) -> Path:
        return self.state / _TASKS / "k8s.io" / container_id

    def pid_of(self, container_id: str) -> int:
        return int((self.bundle(container_id) / "init.pid").read_text())

    def clear(self) -> None:
        for sandbox_id in list(self._pods):
            self.remove(sandbox_id)


def _script(path: Path, *command: str) -> Path:
    """Write a program that runs *command* with the arguments it is given."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)
    return path


_CONTAINERD_CONFIG = """
version = 2
root = "{home}/root"
state = "{home}/state"

[grpc]
address = "{home}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{home}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{home}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{home}/runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
BinaryName = "{crun}"
Root = "{home}/crun"

# runc under another name: a virtual machine is more than these tests can start.
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata.options]
BinaryName = "{kata}"
Root = "{home}/kata"
"""


@contextlib.contextmanager
def containerd(directory: Path) -> Iterator[Containerd]:
    """Run a containerd that serves CRI and has the image."""
    _need("containerd", "ctr", "runc", f"{CNI_PLUGINS}/bridge")
    with _bridge_name() as bridge, _home() as home, _cni(home / "cni", bridge, bridge):
        _prepare_netns_directory()
        daemon = Containerd(directory, home)
        with daemon.running():
            daemon.load(image(directory))
            yield daemon


# --- podman ------------------------------------------------------------------


class Podman:
    """The podman command with storage, state and network of its own."""

    def __init__(self, home: Path) -> None:
        self.root = home / "root"
        self.runroot = home / "runroot"
        self.tmpdir = home / "tmp"
        self.tmpdir.mkdir()
        settings = home / "containers.conf"
        settings.write_text(
            _CONTAINERS_CONF.format(home=home, cni=CNI_PLUGINS, pause=PAUSE_IMAGE)
        )
        _script(home / "runc", "runc", f"--root={home}/containers")
        storage = home / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{self.root}"\nrunroot = "{self.runroot}"\n'
        )
        self._environment = {
            "CONTAINERS_CONF": str(settings),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "TMPDIR": str(self.tmpdir),
        }
        self._client = (
            *("podman", f"--root={self.root}", f"--runroot={self.runroot}"),
            *(f"--tmpdir={self.tmpdir}", f"--network-config-dir={home}/cni"),
        )

    def command(self, *arguments: str) -> str:
        return _run(*self._client, *arguments, env=self._environment)

    def run(self, *arguments: str) -> str:
        """Start a container of the image, or of one that the arguments name."""
        return self.command("run", "--detach", *_with_image(arguments))

    def bundle(self, container_id: str) -> Path:
        return self.root / "overlay-containers" / container_id / "userdata"

    def pid_of(self, container_id: str) -> int:
        return int(self.command("inspect", "--format={{.State.Pid}}", container_id))

    def clear(self) -> None:
        """Remove every container and every pod."""
        self.command("pod", "rm", "--all", "--force", "--time=0")
        wait_until(self._cleared)

    def _cleared(self) -> bool:
        """Remove containers; one that another has joined takes a second go."""
        with contextlib.suppress(AssertionError):
            self.command("rm", "--all", "--force", "--time=0")
        return not self.command("ps", "--all", "--quiet")


_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
infra_image = "{pause}"
lock_type = "file"
runtime = "runc"

[engine.runtimes]
runc = ["{home}/runc"]

[network]
cni_plugin_dirs = ["{cni}"]
network_backend = "cni"
network_config_dir = "{home}/cni"
"""


@contextlib.contextmanager
def podman(directory: Path) -> Iterator[Podman]:
    """Give a podman that has the image loaded."""
    _need("podman", "conmon", "runc", f"{CNI_PLUGINS}/bridge")
    with (
        _bridge_name() as bridge,
        _home() as home,
        _cni(home / "cni", "podman", bridge),
    ):
        client = Podman(home)
        client.command("load", "--quiet", f"--input={image(directory)}")
        try:
            yield client
        finally:
            client.clear()


# --- runc and crun -----------------------------------------------------------


@contextlib.contextmanager
def oci(
    runtime: Literal["runc", "crun"],
    directory: Path,
    container_id: str,
    *,
    cgroups_path: str,
    sysctls: Mapping[str, str] | None = None,
    netns_path: str = "",
    annotations: Mapping[str, str] | None = None,
    userns: bool = False,
    default_root: bool = False,
) -> Iterator[int]:
    """Run a container that no manager knows of; yield its pid."""
    _need(runtime)
    with _home() as home:
        _unpack(image(directory), home / "rootfs")
        spec = _spec(cgroups_path, sysctls or {}, netns_path, annotations or {})
        if userns:
            _map_users(spec["linux"])
        (home / "config.json").write_text(json.dumps(spec))
        pid = home / "pid"
        create = ("create", f"--bundle={home}", f"--pid-file={pid}", container_id)
        command = [*_beside_hybrid_cgroups(runtime), runtime]
        if not default_root:
            command.append(f"--root={home}/state")
        try:
            with (directory / f"{container_id}.log").open("ab") as log:
                subprocess.run(
                    (*command, *create),
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            _run(*command, "start", container_id)
            yield int(pid.read_text())
        finally:
            _run(*command, "delete", "--force", container_id)


def _beside_hybrid_cgroups(runtime: str) -> list[str]:
    """Hide cgroup2 from crun where it lies beside v1, which crun refuses."""
    unified = Path("/sys/fs/cgroup/unified")
    if runtime != "crun" or not unified.is_mount():
        return []
    script = f'umount --lazy {unified}; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


def _unpack(archive: Path, rootfs: Path) -> None:
    with tarfile.open(archive) as tar:
        name = next(name for name in tar.getnames() if name.endswith("layer.tar"))
        with tarfile.open(fileobj=tar.extractfile(name)) as layer:
            layer.extractall(rootfs, filter="data")


def _spec(
    cgroups_path: str,
    sysctls: Mapping[str, str],
    netns_path: str,
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """Return the config.json of a container of the image."""
    network = {"type": "network"} | ({"path": netns_path} if netns_path else {})
    kinds = ("pid", "mount", "ipc", "uts")
    user = {"uid": 0, "gid": 0}
    return {
        "ociVersion": "1.0.2",
        "process": {"args": _CMD, "env": [_PATH], "cwd": "/", "user": user},
        "root": {"path": "rootfs"},
        "hostname": "plain",
        "annotations": annotations,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
        ],
        "linux": {
            "cgroupsPath": cgroups_path,
            "sysctl": sysctls,
            "namespaces": [network, *({"type": kind} for kind in kinds)],
        },
    }


def _map_users(linux: dict[str, Any]) -> None:
    mapping = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = mapping
