"""Each origin, produced on this node, in /metrics, `explain` and `report`."""

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter.collector.collector import Collector
from exporter.config.settings import Config
from testing.lab import ProcessNetns, named_netns, new_namespaces, wait_until
from testing.running import COMMAND, Exporter, Exposition, run_exporter
from tests.support.runtimes.docker import Docker, run_docker

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
RMEM = "net.ipv4.tcp_rmem"
FIELDS = ("min", "default", "max")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with run_exporter(tmp_path_factory.mktemp("running")) as exporter:
        yield exporter


@contextlib.contextmanager
def on_the_host(sysctl: str, value: str) -> Iterator[None]:
    """Change the host's value until the block ends."""
    file = Path("/proc/sys", sysctl.replace(".", "/"))
    before = file.read_text()
    file.write_text(value)
    try:
        yield
    finally:
        file.write_text(before)


def origins(metrics: Exposition, sysctl: str, **owner: str) -> set[str]:
    drift = metrics.samples("netns_sysctl_drift", sysctl=sysctl, **owner)
    return {dict(labels)["origin"] for labels in drift}


def fresh(metrics: Exposition, sysctl: str) -> list[int]:
    values = metrics.samples("netns_sysctl_fresh_value", sysctl=sysctl)
    by_field = {dict(labels)["field"]: int(value) for labels, value in values.items()}
    return [by_field[field] for field in FIELDS]


def output(*arguments: str) -> str:
    """Return the output of a command, with single spaces instead of line ends."""
    done = subprocess.run(
        [*COMMAND, *arguments], check=True, capture_output=True, text=True
    )
    return " ".join(done.stdout.split())


def test_a_value_that_was_not_set_is_fresh_default(running: Exporter) -> None:
    """The host is tuned and the namespace is not: the purpose of the project."""
    kernels = Path("/proc/sys/net/core/somaxconn").read_text().strip()
    with on_the_host(SOMAXCONN, "2048"), named_netns("untuned"):
        metrics = running.scrape()
        explained = output("explain", "untuned", "somaxconn")
        reported = output("report")

    owner = {"netns": "named/untuned", "sysctl": SOMAXCONN}
    assert origins(metrics, **owner) == {"fresh_default"}
    value = metrics.value("netns_sysctl_value", **owner)
    assert value == metrics.value("netns_sysctl_fresh_value", sysctl=SOMAXCONN)
    assert metrics.value("netns_sysctl_host_value", sysctl=SOMAXCONN) == 2048
    assert "host 2048" in explained
    assert f"new namespace {kernels} the kernel's built-in value" in explained
    assert f"current value {kernels} fresh_default" in explained
    assert "No value was declared" in explained
    assert "sysctl -w net.core.somaxconn=2048" in explained
    assert f"{SOMAXCONN} host: 2048" in reported
    assert "fresh_default" in reported


def test_an_inherited_value_is_stale_while_the_host_has_another(
    running: Exporter,
) -> None:
    before = Path("/proc/sys/net/ipv4/tcp_rmem").read_text().split()
    with named_netns("old"):
        assert origins(running.scrape(), RMEM, netns="named/old") == {"inherited"}

        with on_the_host(RMEM, "4096 99999 7777777"), named_netns("new"):
            metrics = running.scrape()

        assert origins(metrics, RMEM, netns="named/old") == {"inherited_stale"}
        assert origins(metrics, RMEM, netns="named/new") == {"inherited"}
        assert fresh(metrics, RMEM) == [4096, 99999, 7777777]
        metrics = running.scrape()
        assert origins(metrics, RMEM, netns="named/old") == {"inherited"}
        assert [str(number) for number in fresh(metrics, RMEM)] == before


def test_a_snapshot_with_the_former_host_value_explains_a_stale_value(
    tmp_path: Path,
) -> None:
    collector = Collector(Config(), grace=0)
    with named_netns("old"):
        collector.collect()
        with on_the_host(RMEM, "4096 99999 7777777"):
            encoded = collector.collect()
    collector.close()
    file = tmp_path / "snapshot.json"
    file.write_bytes(msgspec.json.encode(encoded))

    explained = output("explain", "old", "tcp_rmem", "--from", str(file))
    reported = output("report", "--from", str(file))

    assert "inherited_stale" in explained
    assert "4096 99999 7777777" in explained
    assert "Recreating the namespace sets it to 4096 99999 7777777" in explained
    assert "inherited_stale" in reported


def test_a_value_written_at_runtime_is_modified_and_its_changes_are_counted(
    running: Exporter,
) -> None:
    with named_netns("written") as netns:
        owner = {"netns": "named/written"}
        before = running.scrape()
        netns.write(SOMAXCONN, "129")
        once = running.scrape()
        netns.write(SOMAXCONN, "130")
        twice = running.scrape()
        explained = output("explain", "written")
        reported = output("report")

    assert "current value 130 modified" in explained
    assert "130 modified named/written" in reported
    assert before.value("netns_sysctl_changes_total", **owner) == 0
    assert origins(once, SOMAXCONN, **owner) == {"modified"}
    assert once.value("netns_sysctl_changes_total", **owner) == 1
    assert twice.value("netns_sysctl_changes_total", **owner) == 2
    changed = {**owner, "sysctl": SOMAXCONN}
    last = twice.value("netns_sysctl_last_change_timestamp_seconds", **changed)
    assert last
    assert not before.samples("netns_sysctl_last_change_timestamp_seconds", **owner)


def test_declared_and_overridden_values(tmp_path: Path) -> None:
    with (
        run_docker(tmp_path) as docker,
        run_exporter(
            tmp_path, "--runtimes.docker", f"unix://{docker.socket}"
        ) as running,
    ):
        declared = start_with_declared_value(docker, running)
        overridden = override_by_joining(docker, running)
        written = override_by_writing(docker, running)
        address = ("--runtimes.docker", f"unix://{docker.socket}")
        joined = output("explain", "first", *address)
        docker.run("--name", "fourth", "--sysctl", f"{SOMAXCONN}=444")
        fourth = output("explain", "fourth", *address)
        reported = output("report", *address)

    assert declared == {"declared"}
    assert overridden == {"overridden"}
    assert written == {"overridden"}
    assert "current value 999 overridden" in joined
    assert "second" in joined
    assert "current value 444 declared" in fourth
    assert "docker run --sysctl net.core.somaxconn=" in fourth
    assert "overridden" in reported


def start_with_declared_value(docker: Docker, running: Exporter) -> set[str]:
    docker.run("--name", "first", "--sysctl", f"{SOMAXCONN}=777")
    return origins_once_exported(running, "first", 777)


def override_by_joining(docker: Docker, running: Exporter) -> set[str]:
    joining = ("--network", "container:first", "--sysctl", f"{SOMAXCONN}=999")
    docker.run("--name", "second", *joining)
    return origins_once_exported(running, "first", 999)


def override_by_writing(docker: Docker, running: Exporter) -> set[str]:
    third = docker.run("--name", "third", "--sysctl", f"{SOMAXCONN}=777")
    ProcessNetns(docker.container_pid(third)).write(SOMAXCONN, "555")
    return origins_once_exported(running, "third", 555)


def origins_once_exported(running: Exporter, container: str, value: int) -> set[str]:
    owner = {"container": container, "sysctl": SOMAXCONN}
    metrics = Exposition("")

    def is_exported() -> bool:
        nonlocal metrics
        metrics = running.scrape()
        return metrics.value("netns_sysctl_value", **owner) == value

    wait_until(is_exported)
    return origins(metrics, **owner)


def test_the_kernel_release_is_exported(running: Exporter) -> None:
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()

    assert running.scrape().value("netns_kernel_info", release=release) == 1


def test_the_catalogs_classes_are_right_on_this_kernel(tmp_path: Path) -> None:
    with run_exporter(tmp_path, "--sysctls.profile", "all") as running:
        metrics = running.scrape()

    assert not metrics.samples("netns_collector_problem", problem="class_disagrees")


def test_a_shared_sysctl_is_only_fixed_on_the_host() -> None:
    with named_netns("sharing"):
        explained = output("explain", "sharing", "core.rmem_max")

    assert "shared" in explained
    assert "ip netns exec" not in explained
    assert "sysctl -w net.core.rmem_max=" in explained


def test_explain_with_200_namespaces_takes_less_than_a_second_of_cpu_time() -> None:
    with new_namespaces(200), named_netns("one-of-many"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        explained = output("explain", "one-of-many")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert "fresh_default" in explained
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 1
