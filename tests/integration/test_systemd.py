"""
The units under a real systemd: PID 1 of its own namespaces, on a temporary root.

Its root is an overlay of this machine's, its cgroups are below ours, and it has only
the units that the tests give it. The exporter is installed there by `make install`, as
in docs/install/host.md.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testing import isolation
from testing.lab import wait_until
from testing.running import Exposition
from tests.support.clients import make_certificate

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
UNIT = "netns-sysctl-exporter.service"
SOCKET = "netns-sysctl-exporter.socket"
CONFIG = "/etc/netns-sysctl-exporter/config.yaml"
SOMAXCONN = "net.core.somaxconn"
BOOT_SECONDS = 240.0

_BOOT = """
set -eu
home=$1 checkout=$2 python=$3 cgroup=$4
mount --make-rprivate /
mount -t tmpfs -o mode=755 lab "$home"
cd "$home"
mkdir root upper work source source-work
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work lab root
mount -t tmpfs -o mode=1777 lab root/tmp
mkdir -p root/srv/checkout
mount -t overlay -o "lowerdir=$checkout,upperdir=source,workdir=source-work" \
    lab root/srv/checkout
mount -t tmpfs -o mode=755 lab root/etc/systemd/system
mount -t proc proc root/proc
mount --rbind /dev root/dev
chroot root make -C /srv/checkout install PYTHON="$python"
umount -l root/dev root/proc

mount -t tmpfs -o mode=755 lab root/dev
for name in null zero full random urandom tty; do
    touch "root/dev/$name"
    mount --bind "/dev/$name" "root/dev/$name"
done
mkdir root/dev/shm
ln -s pts/ptmx root/dev/ptmx
ln -s /proc/self/fd root/dev/fd
mount -t tmpfs -o mode=755 lab root/run
units=root/etc/systemd/system
for target in sysinit basic sockets shutdown multi-user; do
    printf '[Unit]\\nDefaultDependencies=no\\n' >"$units/$target.target"
done
echo Wants=systemd-journald.service >>"$units/sysinit.target"
echo 'Wants=sysinit.target sockets.target' >>"$units/multi-user.target"
cp /lib/systemd/system/systemd-journald.s* "$units"
mkdir "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
exec unshare --pid --mount --uts --ipc --cgroup --net --fork --kill-child=KILL sh -c '
    set -eu
    ip link set lo up
    mount -t proc proc root/proc
    mount -t sysfs sysfs root/sys
    mount -t cgroup2 cgroup2 root/sys/fs/cgroup
    cd root
    mkdir -p .old
    pivot_root . .old
    umount -l .old
    mount --make-rshared /
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab \
        SYSTEMD_UNIT_PATH=/etc/systemd/system \
        /lib/systemd/systemd --system --unit=multi-user.target --show-status=no'
"""

_GET = """
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
response = urllib.request.urlopen(sys.argv[1], timeout=20, context=context)
sys.stdout.write(response.read().decode())
"""


class Machine:
    """A running systemd. Commands run in all its namespaces."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            ("nsenter", "-t", str(self.pid), "-a", *command),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        file = Path(f"/proc/{self.pid}/root{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run_unit(self, name: str, somaxconn: int, *properties: str) -> None:
        """Start a unit that sets somaxconn in its namespace and keeps running."""
        command = f"echo {somaxconn} >/proc/sys/net/core/somaxconn; exec sleep 3600"
        flags = [f"--property={text}" for text in properties]
        unshare = () if properties else ("unshare", "-n")
        unit = ("systemd-run", "-q", f"--unit={name}", *flags)
        self.run(*unit, *unshare, "sh", "-c", command)

    def add_named_netns(self, name: str, somaxconn: int) -> None:
        self.run("ip", "netns", "add", name)
        command = f"echo {somaxconn} >/proc/sys/net/core/somaxconn"
        self.run("ip", "netns", "exec", name, "sh", "-c", command)

    def start(self, *drop_in: str, config: str = "{}\n") -> None:
        """Start the exporter's unit, with a drop-in of *drop_in* lines."""
        self.write(CONFIG, config)
        text = "\n".join(["[Service]", *drop_in, ""])
        self.write(f"/etc/systemd/system/{UNIT}.d/test.conf", text)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", UNIT)

    def show(self, name: str) -> str:
        """Return a property of the exporter's unit."""
        return self.run("systemctl", "show", UNIT, "--value", "-p", name).strip()

    def unit_pids(self) -> list[int]:
        """Return the PIDs of the unit's processes, as in our PID namespace."""
        pids = []
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(
                FileNotFoundError, ProcessLookupError
            ):  # it exited
                if UNIT in Path(f"/proc/{process.pid}/cgroup").read_text():
                    pids.append(process.pid)
        return pids

    def process(self, argument: str) -> psutil.Process:
        """Return the process of the unit with *argument* on its command line."""
        processes = map(psutil.Process, self.unit_pids())
        (process,) = [p for p in processes if argument in p.cmdline()]
        return process

    def scrape(self, url: str = "http://127.0.0.1:10128/metrics") -> Exposition:
        return Exposition(self.run(_python(), "-I", "-c", _GET, url))

    def warnings(self) -> list[str]:
        """Return the warnings and errors since the start, but that of isolation."""
        journal = ("journalctl", "--no-pager", "-o", "cat")
        invocation = f"_SYSTEMD_INVOCATION_ID={self.show('InvocationID')}"
        lines = self.run(*journal, invocation).splitlines()
        return [
            line
            for line in lines
            if "level=info" not in line and isolation.PROBLEM not in line
        ]


@contextlib.contextmanager
def _machine(home: Path) -> Iterator[Machine]:
    cgroup = _cgroups() / f"netns-sysctl-exporter-lab-{os.getpid()}"
    log = home.parent / "lab.log"
    command = ("unshare", "--mount", "sh", "-c", _BOOT, "sh", home, ROOT, _python())
    try:
        with (
            log.open("wb") as file,
            subprocess.Popen(
                (*command, cgroup),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                yield _booted(process, log)
            finally:
                process.kill()
    finally:
        if (events := cgroup / "cgroup.events").exists():
            wait_until(lambda: "populated 0" in events.read_text())
        for directory, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(directory)


def _booted(process: "subprocess.Popen[bytes]", log: Path) -> Machine:
    def systemd_pids() -> list[int]:
        assert process.poll() is None, log.read_text()
        pids = []
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(
                psutil.NoSuchProcess
            ):  # a command of the script that exited
                if child.name() == "systemd":
                    pids.append(child.pid)
        return pids

    wait_until(systemd_pids, BOOT_SECONDS)
    (pid,) = systemd_pids()
    machine = Machine(pid)
    state = ("systemctl", "is-system-running")
    wait_until(lambda: machine.run(*state, check=False) == "running\n")
    return machine


def _cgroups() -> Path:
    """Return the mount point of cgroup2; skip the tests if systemd cannot run here."""
    if not Path("/lib/systemd/systemd").exists():
        pytest.skip("needs systemd (not running, only installed)")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(path)
    pytest.skip("needs a writable cgroup2 file system")


def _python() -> str:
    """Return the system's Python if it has venv and is new enough, else ours."""
    check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    command = ("/usr/bin/python3", "-c", check)
    with contextlib.suppress(FileNotFoundError):
        if (
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode
            == 0
        ):
            return command[0]
    return os.path.realpath(sys.executable)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp("systemd") / "home"
    home.mkdir()
    with _machine(home) as systemd:
        yield systemd


def test_namespaces_from_before_and_after_the_start_are_read(
    machine: Machine,
) -> None:
    machine.add_named_netns("before", 1001)
    machine.run_unit("unit-before", 1002, "PrivateNetwork=yes")

    machine.run("systemctl", "enable", "--now", UNIT)

    machine.add_named_netns("after", 1003)
    machine.run_unit("process-after", 1004)

    def values() -> set[float]:
        metrics = machine.scrape()
        return set(metrics.samples("netns_sysctl_value", sysctl=SOMAXCONN).values())

    wait_until(lambda: values() >= {1001, 1002, 1003, 1004})
    assert len(values()) == 5  # and the host's
    metrics = machine.scrape()
    read = metrics.samples("netns_sysctl_value", netns="named/after")
    assert (
        len(read)
        == len(metrics.samples("netns_sysctl_value", netns="named/before"))
        > 30
    )
    assert metrics.value("netns_listening_sockets", netns="host") == 1
    assert metrics.samples("netns_sysctl_fresh_value")
    problems = {
        dict(labels)["problem"] for labels in metrics.samples("netns_collector_problem")
    }
    assert problems == {isolation.PROBLEM}
    assert machine.show("ActiveState") == "active"
    assert not machine.warnings()


def test_its_processes_have_the_privileges_in_security_md(machine: Machine) -> None:
    machine.start()

    collector, server = machine.process("serve"), machine.process("--server-role")

    collector_status = Path(f"/proc/{collector.pid}/status").read_text()
    server_status = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapEff:\t0000000000280004" in collector_status
    assert "CapPrm:\t00000000002800c4" in collector_status  # SETUID, SETGID
    assert "CapBnd:\t00000000002800c4" in collector_status
    assert "CapPrm:\t0000000000000000" in server_status
    assert "CapBnd:\t0000000000000000" in server_status
    assert "Uid:\t65534\t65534\t65534\t65534" in server_status
    for status in (collector_status, server_status):
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status  # filtered


def test_it_has_no_writable_mount(machine: Machine) -> None:
    machine.start()
    mounts = Path(f"/proc/{machine.process('serve').pid}/mountinfo").read_text()

    writable = {
        path
        for _, _, _, _, path, options, *_ in map(str.split, mounts.splitlines())
        if "rw" in options.split(",")
    }

    private = {"/tmp", "/var/tmp", "/proc", "/dev/pts", "/dev/shm", "/dev/mqueue"}
    assert {path for path in writable if not path.startswith("/run/netns/")} == private


@pytest.mark.parametrize("denied", ["kill", "EPERM"])
def test_the_system_call_filter_denies_nothing_it_uses(
    machine: Machine, tmp_path: Path, denied: str
) -> None:
    """With TLS, a kubelet and all sysctls; the filter kills, or returns EPERM."""
    certificate = make_certificate(tmp_path, "localhost")
    directory = Path(CONFIG).parent
    machine.write(f"{directory}/cert.pem", certificate.cert.read_text())
    machine.write(f"{directory}/key.pem", certificate.key.read_text())
    machine.write(
        f"{directory}/web.yaml",
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem}",
    )
    config = f"""
web: {{config_file: {directory}/web.yaml}}
runtimes: {{docker: "", kubelet: "http://127.0.0.1:10255"}}
path: {{rootfs: /proc/1/root}}
sysctls: {{profile: all}}
signals: {{listeners: all}}
"""
    server = f"{_python()} -m http.server --bind 127.0.0.1 10255"
    machine.run("systemd-run", "-q", f"--unit=kubelet-{denied}", *server.split())

    machine.start(f"SystemCallErrorNumber={denied}", config=config)

    def problems() -> set[str]:
        metrics = machine.scrape("https://127.0.0.1:10128/metrics")
        found = metrics.samples("netns_collector_problem")
        return {dict(labels)["problem"] for labels in found}

    # the runtime poller runs, and openat2(2) below another root is allowed
    wait_until(lambda: problems() == {isolation.PROBLEM, "kubelet_malformed"})
    machine.run("systemctl", "stop", f"kubelet-{denied}")
    assert machine.show("NRestarts") == "0"
    assert not [line for line in machine.warnings() if "kubelet" not in line]


def test_it_stops_cleanly(machine: Machine) -> None:
    machine.start()

    machine.run("systemctl", "stop", UNIT)

    assert machine.show("Result") == "success"
    assert machine.show("ExecMainStatus") == "0"
    assert not machine.unit_pids()


def test_the_socket_unit_starts_it_at_the_first_scrape(machine: Machine) -> None:
    machine.run("systemctl", "stop", UNIT)
    machine.write(CONFIG, "web: {systemd_socket: true}\n")
    machine.run("systemctl", "enable", "--now", SOCKET)
    try:
        assert machine.show("ActiveState") == "inactive"

        metrics = machine.scrape()

        assert metrics.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert machine.show("ActiveState") == "active"
        assert not machine.warnings()
    finally:
        machine.run("systemctl", "disable", "--now", SOCKET)
        machine.run("systemctl", "stop", UNIT)


@pytest.mark.parametrize("argument", ["serve", "--server-role"])
def test_a_process_that_hangs_causes_a_restart(machine: Machine, argument: str) -> None:
    machine.start("WatchdogSec=6", "RestartSec=0")
    hung = machine.process(argument)

    hung.suspend()

    wait_until(lambda: machine.show("NRestarts") == "1")
    wait_until(lambda: machine.show("ActiveState") == "active")
    assert not hung.is_running()
    assert machine.scrape().samples("netns_sysctl_value")


def test_a_process_that_is_killed_causes_a_restart(machine: Machine) -> None:
    machine.start("RestartSec=0")

    machine.process("--server-role").kill()

    wait_until(lambda: machine.show("NRestarts") == "1")
    wait_until(lambda: machine.show("ActiveState") == "active")
    assert machine.scrape().samples("netns_sysctl_value")


def test_an_upgrade_keeps_the_configuration(machine: Machine) -> None:
    machine.start(config="log: {level: debug}\n")

    machine.run("make", "-C", "/srv/checkout", "install", f"PYTHON={_python()}")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)

    assert machine.scrape().samples("netns_sysctl_value")
    assert Path(f"/proc/{machine.pid}/root{CONFIG}").read_text() == (
        "log: {level: debug}\n"
    )
