"""Docker's containers as an operator scrapes them; a real Engine, a real exporter."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from testing.lab import cgroup, new_namespaces, wait_until
from testing.running import COMMAND, Exporter, Exposition, Labels, run_exporter
from tests.support.runtimes.docker import Docker, run_docker
from tests.support.runtimes.image import IMAGE

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
SETTING = f"{SOMAXCONN}=777"
SILENT = {"problem": "docker_silent"}
HOST = int(Path("/proc/sys/net/core/somaxconn").read_text())


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with run_docker(tmp_path_factory.mktemp("docker"), "--live-restore") as one:
        yield one


@pytest.fixture(scope="module")
def running(
    docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    home = tmp_path_factory.mktemp("exporter")
    with run_exporter(home, "--runtimes.docker", f"unix://{docker.socket}") as one:
        yield one


@pytest.fixture(autouse=True)
def cleared(docker: Docker) -> Iterator[None]:
    yield
    docker.remove_all()


class Watch:
    """Scrapes, and remembers under which labels a container was ever shown."""

    def __init__(self, running: Exporter) -> None:
        self._running = running
        self.page = Exposition("")
        self.seen: set[Labels] = set()

    def scrape(self, container_id: str) -> set[Labels]:
        """Return the identities that a scrape shows of a container."""
        self.page = self._running.scrape()
        now = set(self.page.samples("netns_info", container_id=container_id))
        self.seen |= now
        return now

    def until_shown(self, container_id: str) -> Exposition:
        wait_until(lambda: self.scrape(container_id))
        return self.page


@pytest.fixture
def watch(running: Exporter) -> Watch:
    return Watch(running)


def test_a_container_is_shown_by_its_name_and_by_nothing_else_before(
    docker: Docker, watch: Watch
) -> None:
    one = docker.run("--name", "web")

    page = watch.until_shown(one)

    assert len(watch.seen) == 1
    info = {"container": "web", "runtime": "docker", "kind": "container"}
    assert page.value("netns_info", evidence="docker_api", **info) == 1
    assert page.value("netns_sysctl_value", container="web", sysctl=SOMAXCONN)


def test_the_users_flag_and_what_docker_adds_are_told_apart(
    docker: Docker, watch: Watch
) -> None:
    started = "net.ipv4.ip_unprivileged_port_start"
    one = docker.run("--name", "tuned", "--sysctl", SETTING)

    page = watch.until_shown(one)

    said = {"container": "tuned", "sysctl": SOMAXCONN}
    assert page.value("netns_sysctl_declared_value", source="container", **said) == 777
    assert page.value("netns_sysctl_value", **said) == 777
    assert page.value("netns_sysctl_drift", **said) == 777 - HOST
    added = {"container": "tuned", "sysctl": started, "source": "runtime"}
    assert page.value("netns_sysctl_declared_value", **added) == 0


def test_what_the_user_asks_for_is_the_users_even_if_docker_would_add_it(
    docker: Docker, watch: Watch
) -> None:
    started = "net.ipv4.ip_unprivileged_port_start"
    one = docker.run("--name", "ports", "--sysctl", f"{started}=0")

    page = watch.until_shown(one)

    said = page.samples(
        "netns_sysctl_declared_value", container="ports", sysctl=started
    )
    assert [dict(labels)["source"] for labels in said] == ["container"]


def test_a_container_on_the_hosts_network_is_the_host(
    docker: Docker, watch: Watch
) -> None:
    one = docker.run("--name", "hosted", "--network", "host")

    other = docker.run("--name", "alone", "--network", "none")
    page = watch.until_shown(other)

    assert not watch.scrape(one)
    assert page.value("netns_info", container="alone") == 1
    assert not page.samples("netns_info", container="hosted")
    assert page.value("netns_info", kind="host") == 1


def test_a_container_that_joined_and_rewrote_a_value_is_named(
    docker: Docker, watch: Watch
) -> None:
    first = docker.run("--name", "first", "--sysctl", SETTING)
    watch.until_shown(first)
    joining = ("--network", "container:first", "--sysctl", f"{SOMAXCONN}=999")

    second = docker.run("--name", "second", *joining)

    def told() -> bool:
        page = watch.until_shown(first)
        said = {"container": "first", "sysctl": SOMAXCONN}
        declared = page.value("netns_sysctl_declared_value", by="second", **said)
        return declared == page.value("netns_sysctl_value", **said) == 999

    wait_until(told)
    assert not watch.scrape(second)


def test_two_networks_are_one_namespace(docker: Docker, watch: Watch) -> None:
    docker.command("network", "create", "one")
    docker.command("network", "create", "two")
    container = docker.run("--name", "both", "--network", "one")
    docker.command("network", "connect", "two", container)

    watch.until_shown(container)

    assert len(watch.scrape(container)) == 1


def test_a_restarted_container_keeps_its_labels(docker: Docker, watch: Watch) -> None:
    one = docker.run("--name", "again", "--sysctl", SETTING)
    watch.until_shown(one)
    (before,) = watch.seen

    docker.command("restart", "--time", "0", one)
    page = watch.until_shown(one)

    def without_cookie(labels: Labels) -> Labels:
        return frozenset(pair for pair in labels if pair[0] != "cookie")

    assert {without_cookie(labels) for labels in watch.seen} == {without_cookie(before)}
    said = {"container": "again", "sysctl": SOMAXCONN}
    assert page.value("netns_sysctl_declared_value", **said) == 777


def test_a_renamed_container_has_its_new_name(docker: Docker, watch: Watch) -> None:
    one = docker.run("--name", "old")
    watch.until_shown(one)

    docker.command("rename", "old", "new")

    wait_until(lambda: watch.until_shown(one).value("netns_info", container="new"))
    assert watch.page.value("netns_info", container="old") is None
    values = watch.page.samples("netns_sysctl_value", sysctl=SOMAXCONN, container="new")
    assert len(values) == 1


def test_a_compose_project_and_its_service_are_in_the_info(
    docker: Docker, watch: Watch
) -> None:
    labels = ("com.docker.compose.project=shop", "com.docker.compose.service=web")
    flags = [word for label in labels for word in ("--label", label)]
    one = docker.run("--name", "shop-web-1", *flags)

    page = watch.until_shown(one)

    names = {"compose_project": "shop", "compose_service": "web"}
    assert page.value("netns_info", container="shop-web-1", **names) == 1


def test_cri_dockerds_containers_are_their_pod(docker: Docker, watch: Watch) -> None:
    uid = "5f1c9d9e-0000-4000-8000-00000000c1d0"
    names = {"name": "web-0", "namespace": "shop", "uid": uid}
    pod = [f"io.kubernetes.pod.{key}={value}" for key, value in names.items()]
    sandbox = [*pod, "io.kubernetes.docker.type=podsandbox"]
    app = [*pod, "io.kubernetes.docker.type=container"]
    flags = [word for label in sandbox for word in ("--label", label)]
    name = f"k8s_POD_web-0_shop_{uid}_0"
    below = f"--cgroup-parent=/kubepods/besteffort/pod{uid}"
    one = docker.run("--name", name, "--sysctl", SETTING, below, *flags)
    flags = [word for label in app for word in ("--label", label)]
    docker.run("--network", f"container:{one}", below, *flags)

    page = watch.until_shown(one)

    owner = {"namespace": "shop", "pod": "web-0", "uid": uid}
    assert page.value("netns_info", kind="pod", **owner) == 1
    assert not page.samples("netns_info", uid=uid, container=name)
    said = {**owner, "sysctl": SOMAXCONN}
    assert page.value("netns_sysctl_declared_value", source="pod", **said) == 777


def test_labels_cannot_name_a_pod(docker: Docker, watch: Watch) -> None:
    """Whoever builds an image chooses its labels."""
    uid = "5f1c9d9e-0000-4000-8000-00000000c1d1"
    pod = {"name": "coredns", "namespace": "kube-system", "uid": uid}
    labels = [f"io.kubernetes.pod.{key}={value}" for key, value in pod.items()]
    flags = [word for label in labels for word in ("--label", label)]
    one = docker.run("--name", "harmless", *flags)

    page = watch.until_shown(one)

    info = {"container": "harmless", "kind": "container"}
    assert page.value("netns_info", container_id=one, **info) == 1
    assert not page.samples("netns_info", pod="coredns")


def test_a_storm_of_short_containers_leaves_nothing_behind(
    docker: Docker, running: Exporter, watch: Watch
) -> None:
    watch.until_shown(docker.run("--name", "short-of-none"))
    before = running.count_fds()
    namespaces = len(watch.page.samples("netns_info"))

    def short(number: int) -> None:
        docker.command("run", "--rm", "--name", f"short{number}", IMAGE, "true")

    with ThreadPoolExecutor(4) as pool:
        done = pool.map(short, range(100))
        for _ in range(20):
            page = running.scrape()
            names = {
                dict(labels)["container"]
                for labels in page.samples("netns_info", runtime="docker")
            }
            assert all(name.startswith("short") for name in names), names
        list(done)

    wait_until(lambda: len(running.scrape().samples("netns_info")) == namespaces)
    assert running.count_fds() == before


def cpu_seconds(running: Exporter, scrapes: int) -> float:
    """Return the CPU time of both processes for some scrapes."""
    processes = [
        psutil.Process(pid) for pid in (running.process.pid, running.server_pid)
    ]
    before = sum(sum(one.cpu_times()[:2]) for one in processes)
    for _ in range(scrapes):
        running.scrape()
    return sum(sum(one.cpu_times()[:2]) for one in processes) - before


def test_a_docker_that_hangs_costs_the_scrapes_nothing(
    docker: Docker, watch: Watch
) -> None:
    one = docker.run("--name", "kept", "--sysctl", SETTING)
    watch.until_shown(one)
    running = watch._running
    wait_until(lambda: "netns_runtime_last_answer" in running.scrape().text)
    usual = cpu_seconds(running, 50)
    said = {"container": "kept", "sysctl": SOMAXCONN}

    docker.suspend()
    try:
        docker_is_said_to_be_silent(running)
        hung = cpu_seconds(running, 50)
        page = running.scrape()
    finally:
        docker.resume()

    assert hung < 2 * usual + 0.2
    assert page.value("netns_sysctl_value", **said) == 777
    assert page.value("netns_sysctl_declared_value", **said) == 777
    wait_until(
        lambda: running.scrape().value("netns_collector_problem", **SILENT) is None
    )
    other = docker.run("--name", "after")
    assert watch.until_shown(other).value("netns_info", container="after") == 1


def docker_is_said_to_be_silent(running: Exporter) -> None:
    """Wait for that; a container that only Docker could name has it asked at once."""
    with new_namespaces() as (one,), cgroup(f"docker/{'c0' * 32}", one.pid):
        wait_until(
            lambda: running.scrape().samples("netns_collector_problem", **SILENT)
        )


def test_a_docker_that_starts_again_is_asked_again(
    docker: Docker, watch: Watch
) -> None:
    one = docker.run("--name", "through")
    watch.until_shown(one)

    docker.restart_daemon()
    other = docker.run("--name", "later")

    assert watch.until_shown(other).value("netns_info", container="later") == 1
    assert watch.until_shown(one).value("netns_info", container="through") == 1


def test_without_the_socket_a_container_has_its_id(
    docker: Docker, tmp_path: Path
) -> None:
    one = docker.run("--name", "nobody-says", "--sysctl", SETTING)

    with run_exporter(tmp_path, "--runtimes.docker", "") as running:
        page = running.scrape()

    info = {"container": one[:12], "evidence": "oci_bundle"}
    assert page.value("netns_info", container_id=one, **info) == 1
    said = {"container": one[:12], "sysctl": SOMAXCONN, "source": "container"}
    assert page.value("netns_sysctl_declared_value", **said) == 777


def test_docker_may_start_after_the_exporter(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with run_exporter(tmp_path, "--runtimes.docker", f"unix://{socket}") as running:
        watch = Watch(running)
        running.scrape()
        with run_docker(tmp_path) as late:
            os.symlink(late.socket, socket)
            one = late.run("--name", "late")
            page = watch.until_shown(one)
            late.remove_all()

    assert page.value("netns_info", container="late") == 1


def test_the_process_that_asks_has_no_capability_and_ends_with_the_exporter(
    docker: Docker, tmp_path: Path
) -> None:
    one = docker.run("--name", "asked")
    address = f"unix://{docker.socket}"
    with run_exporter(tmp_path, "--runtimes.docker", address) as running:
        Watch(running).until_shown(one)
        asking = psutil.Process(running.child_pid("--runtime-poller-role"))
        status = Path(f"/proc/{asking.pid}/status").read_text()
        fds = [os.readlink(p) for p in Path(f"/proc/{asking.pid}/fd").iterdir()]

    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert not [fd for fd in fds if fd.startswith(("/proc", "net:"))]
    psutil.wait_procs([asking], timeout=10)
    assert not asking.is_running()


def test_snapshot_names_docker_containers_too(docker: Docker) -> None:
    docker.run("--name", "once")
    command = (*COMMAND, "snapshot", "--format", "prom")

    text = subprocess.run(
        [*command, "--runtimes.docker", f"unix://{docker.socket}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert Exposition(text).value("netns_info", container="once") == 1
