"""
The unit under a real systemd: pid 1 of namespaces of its own, on a throwaway root.

Its root is an overlay of this machine's, its cgroups are a branch of ours, and it knows
no unit but the few it is given. `make install` has installed the exporter there, as
docs/install/host.md says.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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

OURS = "not_the_hosts_processes"
"""A problem that the sandbox has no part in: the lab is a pid namespace."""

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

_ASK = """
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
answer = urllib.request.urlopen(sys.argv[1], timeout=20, context=context)
sys.stdout.write(answer.read().decode())
"""


class Machine:
    """A running systemd; what is run on it runs in all its namespaces."""

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
        place = Path(f"/proc/{self.pid}/root{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def lodger(self, name: str, somaxconn: int, *properties: str) -> None:
        """Start a unit that sets a sysctl and stays, in the namespace it has."""
        command = f"echo {somaxconn} >/proc/sys/net/core/somaxconn; exec sleep 3600"
        words = [f"--property={one}" for one in properties]
        apart = () if properties else ("unshare", "-n")
        unit = ("systemd-run", "-q", f"--unit={name}", *words)
        self.run(*unit, *apart, "sh", "-c", command)

    def named(self, name: str, somaxconn: int) -> None:
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
        return self.run("systemctl", "show", UNIT, "--value", "-p", name).strip()

    def cgroup(self) -> list[int]:
        """Return the pids of the unit, as we see them."""
        found = []
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended
                if UNIT in Path(f"/proc/{process.pid}/cgroup").read_text():
                    found.append(process.pid)
        return found

    def role(self, word: str) -> psutil.Process:
        every = map(psutil.Process, self.cgroup())
        (found,) = [one for one in every if word in one.cmdline()]
        return found

    def scrape(self, url: str = "http://127.0.0.1:10128/metrics") -> Exposition:
        return Exposition(self.run(_python(), "-I", "-c", _ASK, url))

    def complaints(self) -> list[str]:
        """Return what the journal has of this start that is not said of the lab."""
        run = ("journalctl", "--no-pager", "-o", "cat")
        invocation = f"_SYSTEMD_INVOCATION_ID={self.show('InvocationID')}"
        lines = self.run(*run, invocation).splitlines()
        return [line for line in lines if "level=info" not in line and OURS not in line]


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
    def systemd() -> list[int]:
        assert process.poll() is None, log.read_text()
        found = []
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a command of the script
                if child.name() == "systemd":
                    found.append(child.pid)
        return found

    wait_until(systemd, BOOT_SECONDS)
    (pid,) = systemd()
    machine = Machine(pid)
    state = ("systemctl", "is-system-running")
    wait_until(lambda: machine.run(*state, check=False) == "running\n")
    return machine


def _cgroups() -> Path:
    """Return where cgroup2 is mounted, if this machine can be one's host."""
    if not Path("/lib/systemd/systemd").exists():
        pytest.skip("needs systemd (not running, only installed)")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, form, options, *_ = line.split()
        if form == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    pytest.skip("needs a cgroup2 file system that can be written to")


def _python() -> str:
    """Return the system's Python, as an administrator has it, if it will do."""
    able = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    command = ("/usr/bin/python3", "-c", able)
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
    with _machine(home) as one:
        yield one


def test_every_namespace_is_read_whenever_and_wherever_it_was_made(
    machine: Machine,
) -> None:
    machine.named("before", 1001)
    machine.lodger("unit-before", 1002, "PrivateNetwork=yes")

    machine.run("systemctl", "enable", "--now", UNIT)

    machine.named("after", 1003)
    machine.lodger("process-after", 1004)

    def values() -> set[float]:
        page = machine.scrape()
        return set(page.samples("netns_sysctl_value", sysctl=SOMAXCONN).values())

    wait_until(lambda: values() >= {1001, 1002, 1003, 1004})
    assert len(values()) == 5  # and the host's
    page = machine.scrape()
    read = page.samples("netns_sysctl_value", netns="named/after")
    assert (
        len(read) == len(page.samples("netns_sysctl_value", netns="named/before")) > 30
    )
    assert page.value("netns_listening_sockets", netns="host") == 1
    assert page.samples("netns_sysctl_fresh_value")
    told = {
        dict(labels)["problem"] for labels in page.samples("netns_collector_problem")
    }
    assert told == {OURS}
    assert machine.show("ActiveState") == "active"
    assert not machine.complaints()


def test_its_processes_have_what_security_md_says(machine: Machine) -> None:
    machine.start()

    collector, server = machine.role("serve"), machine.role("--server-role")

    of_collector = Path(f"/proc/{collector.pid}/status").read_text()
    of_server = Path(f"/proc/{server.pid}/status").read_text()
    assert "CapPrm:\t0000000000280004" in of_collector
    assert "CapBnd:\t0000000000280004" in of_collector
    assert "CapPrm:\t0000000000000000" in of_server
    assert "CapBnd:\t0000000000000000" in of_server
    assert "Uid:\t65534\t65534\t65534\t65534" in of_server
    for status in (of_collector, of_server):
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status  # filtered


def test_it_can_write_nowhere(machine: Machine) -> None:
    machine.start()
    mounts = Path(f"/proc/{machine.role('serve').pid}/mountinfo").read_text()

    writable = {
        place
        for _, _, _, _, place, options, *_ in map(str.split, mounts.splitlines())
        if "rw" in options.split(",")
    }

    private = {"/tmp", "/var/tmp", "/proc", "/dev/pts", "/dev/shm", "/dev/mqueue"}
    assert {one for one in writable if not one.startswith("/run/netns/")} == private


@pytest.mark.parametrize("denied", ["kill", "EPERM"])
def test_nothing_it_does_is_denied(
    machine: Machine, tmp_path: Path, denied: str
) -> None:
    """TLS, a kubelet to ask, every sysctl: with a filter that kills who is denied."""
    made = make_certificate(tmp_path, "localhost")
    place = Path(CONFIG).parent
    machine.write(f"{place}/cert.pem", made.cert.read_text())
    machine.write(f"{place}/key.pem", made.key.read_text())
    machine.write(
        f"{place}/web.yaml",
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem}",
    )
    config = f"""
web: {{config_file: {place}/web.yaml}}
runtimes: {{docker: "", kubelet: "http://127.0.0.1:10255"}}
path: {{rootfs: /proc/1/root}}
sysctls: {{profile: all}}
signals: {{listeners: all}}
"""
    server = f"{_python()} -m http.server --bind 127.0.0.1 10255"
    machine.run("systemd-run", "-q", f"--unit=kubelet-{denied}", *server.split())

    machine.start(f"SystemCallErrorNumber={denied}", config=config)

    def problems() -> set[str]:
        page = machine.scrape("https://127.0.0.1:10128/metrics")
        every = page.samples("netns_collector_problem")
        return {dict(labels)["problem"] for labels in every}

    # who asks the kubelet lives, and openat2(2) below another root is allowed
    wait_until(lambda: problems() == {OURS, "kubelet_malformed"})
    machine.run("systemctl", "stop", f"kubelet-{denied}")
    assert machine.show("NRestarts") == "0"
    assert not [line for line in machine.complaints() if "kubelet" not in line]


def test_it_stops_by_itself_and_well(machine: Machine) -> None:
    machine.start()

    machine.run("systemctl", "stop", UNIT)

    assert machine.show("Result") == "success"
    assert machine.show("ExecMainStatus") == "0"
    assert not machine.cgroup()


def test_with_the_socket_unit_the_first_scrape_starts_it(machine: Machine) -> None:
    machine.run("systemctl", "stop", UNIT)
    machine.write(CONFIG, "web: {systemd_socket: true}\n")
    machine.run("systemctl", "enable", "--now", SOCKET)
    try:
        assert machine.show("ActiveState") == "inactive"

        page = machine.scrape()

        assert page.value("netns_sysctl_value", netns="host", sysctl=SOMAXCONN)
        assert machine.show("ActiveState") == "active"
        assert not machine.complaints()
    finally:
        machine.run("systemctl", "disable", "--now", SOCKET)
        machine.run("systemctl", "stop", UNIT)


@pytest.mark.parametrize("who", ["serve", "--server-role"])
def test_a_process_that_hangs_is_replaced(machine: Machine, who: str) -> None:
    machine.start("WatchdogSec=6", "RestartSec=0")
    hung = machine.role(who)

    hung.suspend()

    wait_until(lambda: machine.show("NRestarts") == "1")
    wait_until(lambda: machine.show("ActiveState") == "active")
    assert not hung.is_running()
    assert machine.scrape().samples("netns_sysctl_value")


def test_a_process_that_is_killed_is_replaced(machine: Machine) -> None:
    machine.start("RestartSec=0")

    machine.role("--server-role").kill()

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
