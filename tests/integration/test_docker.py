"""Docker containers: a real Engine and a real exporter."""

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
    with run_docker(tmp_path_factory.mktemp("docker"), "--live-restore") as engine:
        yield engine


@pytest.fixture(scope="module")
def exporter(
    docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    home = tmp_path_factory.mktemp("exporter")
    with run_exporter(home, "--runtimes.docker", f"unix://{docker.socket}") as running:
        yield running


@pytest.fixture(autouse=True)
def cleared(docker: Docker) -> Iterator[None]:
    yield
    docker.remove_all()


class Watcher:
    """Scrapes, and records all label sets that a container was exported with."""

    def __init__(self, exporter: Exporter) -> None:
        self.exporter = exporter
        self.metrics = Exposition("")
        self.seen: set[Labels] = set()

    def scrape(self, container_id: str) -> set[Labels]:
        """Scrape; return the label sets of netns_info of a container."""
        self.metrics = self.exporter.scrape()
        current = set(self.metrics.samples("netns_info", container_id=container_id))
        self.seen |= current
        return current

    def until_exported(self, container_id: str) -> Exposition:
        wait_until(lambda: self.scrape(container_id))
        return self.metrics


@pytest.fixture
def watcher(exporter: Exporter) -> Watcher:
    return Watcher(exporter)


def test_a_container_is_exported_only_under_its_name(
    docker: Docker, watcher: Watcher
) -> None:
    container_id = docker.run("--name", "web")

    metrics = watcher.until_exported(container_id)

    assert len(watcher.seen) == 1
    info = {"container": "web", "runtime": "docker", "kind": "container"}
    assert metrics.value("netns_info", evidence="docker_api", **info) == 1
    assert metrics.value("netns_sysctl_value", container="web", sysctl=SOMAXCONN)


def test_sysctls_of_the_user_and_of_docker_have_different_sources(
    docker: Docker, watcher: Watcher
) -> None:
    started = "net.ipv4.ip_unprivileged_port_start"
    container_id = docker.run("--name", "tuned", "--sysctl", SETTING)

    metrics = watcher.until_exported(container_id)

    series = {"container": "tuned", "sysctl": SOMAXCONN}
    assert (
        metrics.value("netns_sysctl_declared_value", source="container", **series)
        == 777
    )
    assert metrics.value("netns_sysctl_value", **series) == 777
    assert metrics.value("netns_sysctl_drift", **series) == 777 - HOST
    added = {"container": "tuned", "sysctl": started, "source": "runtime"}
    assert metrics.value("netns_sysctl_declared_value", **added) == 0


def test_a_flag_equal_to_dockers_default_has_the_user_as_source(
    docker: Docker, watcher: Watcher
) -> None:
    started = "net.ipv4.ip_unprivileged_port_start"
    container_id = docker.run("--name", "ports", "--sysctl", f"{started}=0")

    metrics = watcher.until_exported(container_id)

    series = metrics.samples(
        "netns_sysctl_declared_value", container="ports", sysctl=started
    )
    assert [dict(labels)["source"] for labels in series] == ["container"]


def test_a_container_with_host_network_is_not_a_series_of_its_own(
    docker: Docker, watcher: Watcher
) -> None:
    container_id = docker.run("--name", "hosted", "--network", "host")

    other_id = docker.run("--name", "alone", "--network", "none")
    metrics = watcher.until_exported(other_id)

    assert not watcher.scrape(container_id)
    assert metrics.value("netns_info", container="alone") == 1
    assert not metrics.samples("netns_info", container="hosted")
    assert metrics.value("netns_info", kind="host") == 1


def test_a_joined_container_that_overrides_a_value_is_named(
    docker: Docker, watcher: Watcher
) -> None:
    first = docker.run("--name", "first", "--sysctl", SETTING)
    watcher.until_exported(first)
    joining = ("--network", "container:first", "--sysctl", f"{SOMAXCONN}=999")

    second = docker.run("--name", "second", *joining)

    def overridden() -> bool:
        metrics = watcher.until_exported(first)
        series = {"container": "first", "sysctl": SOMAXCONN}
        declared = metrics.value("netns_sysctl_declared_value", by="second", **series)
        return declared == metrics.value("netns_sysctl_value", **series) == 999

    wait_until(overridden)
    assert not watcher.scrape(second)


def test_a_container_with_two_networks_is_one_series(
    docker: Docker, watcher: Watcher
) -> None:
    docker.command("network", "create", "one")
    docker.command("network", "create", "two")
    container = docker.run("--name", "both", "--network", "one")
    docker.command("network", "connect", "two", container)

    watcher.until_exported(container)

    assert len(watcher.scrape(container)) == 1


def test_a_restarted_container_keeps_its_labels(
    docker: Docker, watcher: Watcher
) -> None:
    container_id = docker.run("--name", "again", "--sysctl", SETTING)
    watcher.until_exported(container_id)
    (before,) = watcher.seen

    docker.command("restart", "--time", "0", container_id)
    metrics = watcher.until_exported(container_id)

    def without_cookie(labels: Labels) -> Labels:
        return frozenset(pair for pair in labels if pair[0] != "cookie")

    assert {without_cookie(labels) for labels in watcher.seen} == {
        without_cookie(before)
    }
    series = {"container": "again", "sysctl": SOMAXCONN}
    assert metrics.value("netns_sysctl_declared_value", **series) == 777


def test_a_renamed_container_has_its_new_name(docker: Docker, watcher: Watcher) -> None:
    container_id = docker.run("--name", "old")
    watcher.until_exported(container_id)

    docker.command("rename", "old", "new")

    wait_until(
        lambda: watcher.until_exported(container_id).value(
            "netns_info", container="new"
        )
    )
    assert watcher.metrics.value("netns_info", container="old") is None
    values = watcher.metrics.samples(
        "netns_sysctl_value", sysctl=SOMAXCONN, container="new"
    )
    assert len(values) == 1


def test_the_compose_project_and_service_are_labels(
    docker: Docker, watcher: Watcher
) -> None:
    labels = ("com.docker.compose.project=shop", "com.docker.compose.service=web")
    flags = [word for label in labels for word in ("--label", label)]
    container_id = docker.run("--name", "shop-web-1", *flags)

    metrics = watcher.until_exported(container_id)

    names = {"compose_project": "shop", "compose_service": "web"}
    assert metrics.value("netns_info", container="shop-web-1", **names) == 1


def test_containers_of_cri_dockerd_are_named_as_their_pod(
    docker: Docker, watcher: Watcher
) -> None:
    uid = "5f1c9d9e-0000-4000-8000-00000000c1d0"
    names = {"name": "web-0", "namespace": "shop", "uid": uid}
    pod = [f"io.kubernetes.pod.{key}={value}" for key, value in names.items()]
    sandbox = [*pod, "io.kubernetes.docker.type=podsandbox"]
    app = [*pod, "io.kubernetes.docker.type=container"]
    flags = [word for label in sandbox for word in ("--label", label)]
    name = f"k8s_POD_web-0_shop_{uid}_0"
    below = f"--cgroup-parent=/kubepods/besteffort/pod{uid}"
    container_id = docker.run("--name", name, "--sysctl", SETTING, below, *flags)
    flags = [word for label in app for word in ("--label", label)]
    docker.run("--network", f"container:{container_id}", below, *flags)

    metrics = watcher.until_exported(container_id)

    owner = {"namespace": "shop", "pod": "web-0", "uid": uid}
    assert metrics.value("netns_info", kind="pod", **owner) == 1
    assert not metrics.samples("netns_info", uid=uid, container=name)
    series = {**owner, "sysctl": SOMAXCONN}
    assert metrics.value("netns_sysctl_declared_value", source="pod", **series) == 777


def test_labels_without_a_matching_cgroup_do_not_name_a_pod(
    docker: Docker, watcher: Watcher
) -> None:
    """Labels come from the image as well."""
    uid = "5f1c9d9e-0000-4000-8000-00000000c1d1"
    pod = {"name": "coredns", "namespace": "kube-system", "uid": uid}
    labels = [f"io.kubernetes.pod.{key}={value}" for key, value in pod.items()]
    flags = [word for label in labels for word in ("--label", label)]
    container_id = docker.run("--name", "harmless", *flags)

    metrics = watcher.until_exported(container_id)

    info = {"container": "harmless", "kind": "container"}
    assert metrics.value("netns_info", container_id=container_id, **info) == 1
    assert not metrics.samples("netns_info", pod="coredns")


def test_fifty_short_containers_leave_no_series_and_no_file(
    docker: Docker, exporter: Exporter, watcher: Watcher
) -> None:
    watcher.until_exported(docker.run("--name", "short-none"))
    before = exporter.count_fds()
    namespaces = len(watcher.metrics.samples("netns_info"))

    def run_briefly(number: int) -> None:
        docker.command("run", "--rm", "--name", f"short{number}", IMAGE, "true")

    with ThreadPoolExecutor(4) as pool:
        done = pool.map(run_briefly, range(50))
        for _ in range(20):
            metrics = exporter.scrape()
            names = {
                dict(labels)["container"]
                for labels in metrics.samples("netns_info", runtime="docker")
            }
            assert all(name.startswith("short") for name in names), names
        list(done)

    wait_until(lambda: len(exporter.scrape().samples("netns_info")) == namespaces)
    assert exporter.count_fds() == before


def cpu_seconds(exporter: Exporter, scrapes: int) -> float:
    """Return the CPU time of collector and server for a number of scrapes."""
    processes = [
        psutil.Process(pid) for pid in (exporter.process.pid, exporter.server_pid)
    ]
    before = sum(sum(process.cpu_times()[:2]) for process in processes)
    for _ in range(scrapes):
        exporter.scrape()
    return sum(sum(process.cpu_times()[:2]) for process in processes) - before


def test_scrapes_are_not_affected_by_a_docker_that_hangs(
    docker: Docker, exporter: Exporter, watcher: Watcher
) -> None:
    container_id = docker.run("--name", "kept", "--sysctl", SETTING)
    watcher.until_exported(container_id)
    wait_until(lambda: "netns_runtime_last_answer" in exporter.scrape().text)
    usual = cpu_seconds(exporter, 50)
    series = {"container": "kept", "sysctl": SOMAXCONN}

    docker.suspend()
    try:
        wait_for_docker_silent(exporter)
        hung = cpu_seconds(exporter, 50)
        metrics = exporter.scrape()
    finally:
        docker.resume()

    assert hung < 2 * usual + 0.2
    assert metrics.value("netns_sysctl_value", **series) == 777
    assert metrics.value("netns_sysctl_declared_value", **series) == 777
    wait_until(
        lambda: exporter.scrape().value("netns_collector_problem", **SILENT) is None
    )
    other_id = docker.run("--name", "after")
    assert watcher.until_exported(other_id).value("netns_info", container="after") == 1


def wait_for_docker_silent(exporter: Exporter) -> None:
    """Wait for the problem; a container without a name makes the exporter poll."""
    with new_namespaces() as (netns,), cgroup(f"docker/{'c0' * 32}", netns.pid):
        wait_until(
            lambda: exporter.scrape().samples("netns_collector_problem", **SILENT)
        )


def test_a_restarted_docker_is_polled_again(docker: Docker, watcher: Watcher) -> None:
    container_id = docker.run("--name", "through")
    watcher.until_exported(container_id)

    docker.restart_daemon()
    other_id = docker.run("--name", "later")

    assert watcher.until_exported(other_id).value("netns_info", container="later") == 1
    assert (
        watcher.until_exported(container_id).value("netns_info", container="through")
        == 1
    )


def test_without_the_socket_the_name_of_a_container_is_its_id(
    docker: Docker, tmp_path: Path
) -> None:
    container_id = docker.run("--name", "unnamed", "--sysctl", SETTING)

    with run_exporter(tmp_path, "--runtimes.docker", "") as exporter:
        metrics = exporter.scrape()

    info = {"container": container_id[:12], "evidence": "oci_bundle"}
    assert metrics.value("netns_info", container_id=container_id, **info) == 1
    series = {
        "container": container_id[:12],
        "sysctl": SOMAXCONN,
        "source": "container",
    }
    assert metrics.value("netns_sysctl_declared_value", **series) == 777


def test_docker_may_start_after_the_exporter(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with run_exporter(tmp_path, "--runtimes.docker", f"unix://{socket}") as exporter:
        watcher = Watcher(exporter)
        exporter.scrape()
        with run_docker(tmp_path) as late:
            os.symlink(late.socket, socket)
            container_id = late.run("--name", "late")
            metrics = watcher.until_exported(container_id)
            late.remove_all()

    assert metrics.value("netns_info", container="late") == 1


def test_the_poller_has_no_capability_and_ends_with_the_exporter(
    docker: Docker, tmp_path: Path
) -> None:
    container_id = docker.run("--name", "polled")
    address = f"unix://{docker.socket}"
    with run_exporter(tmp_path, "--runtimes.docker", address) as exporter:
        Watcher(exporter).until_exported(container_id)
        poller = psutil.Process(exporter.child_pid("--runtime-poller-role"))
        status = Path(f"/proc/{poller.pid}/status").read_text()
        fds = [os.readlink(p) for p in Path(f"/proc/{poller.pid}/fd").iterdir()]

    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert not [fd for fd in fds if fd.startswith(("/proc", "net:"))]
    psutil.wait_procs([poller], timeout=10)
    assert not poller.is_running()


def test_snapshot_names_docker_containers(docker: Docker) -> None:
    docker.run("--name", "once")
    command = (*COMMAND, "snapshot", "--format", "prom")

    text = subprocess.run(
        [*command, "--runtimes.docker", f"unix://{docker.socket}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert Exposition(text).value("netns_info", container="once") == 1
