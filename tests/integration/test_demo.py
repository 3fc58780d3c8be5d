"""The demo: its compose file on a real Engine, and its scenario."""

import itertools
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from testing.lab import wait_until
from testing.monitoring import Prometheus, free_port, shorten_durations
from testing.running import Exposition
from tests.mixin.support.grafana import (
    NAMES,
    dashboard,
    expressions,
    interpolate,
    panels,
)
from tests.support.runtimes.exporter_image import PROJECT, Engine

DEMO = Path("deploy/demo")
COMPOSE = "compose.yaml"
FIXED = "fixed.yaml"
DASHBOARDS = "/var/lib/grafana/dashboards"
EXPORTER = "netns-sysctl-exporter"
NOT_STARTED = {"grafana"}
"""Services whose program has no Debian package to build a substitute image from."""

EMPTY = {
    "node.json": {"Problems", "Unreadable values"},
    "pod.json": {"Changes", "Last change"},
    "fleet.json": {
        "Nodes down",
        "Problems",
        "Kubernetes namespaces with overflows now",
    },
}
"""Panels without data in the demo, which show a text instead."""

VALUES = {
    "cluster": "demo",
    "job": "netns-sysctl-exporter",
    "instance": "this-machine",
    "owners": "^$",
    "namespace": "",
    "pod": "",
    "container": "web-default",
    "netns": ".*",
    "sysctl": "net.core.somaxconn",
    "__rate_interval": "10s",
    "__range": "60s",
}
"""Values of the dashboards' variables, and Grafana's built-in ones."""

SOMAXCONN = "net.core.somaxconn"
CRITICAL = "NetnsSomaxconnDriftOverflows"
SECONDS = 60


def read(file: str, directory: Path = DEMO) -> Any:  # noqa: ANN401
    return msgspec.yaml.decode((PROJECT / directory / file).read_text())


def services(file: str = COMPOSE) -> dict[str, Any]:
    return dict(read(file)["services"])


class Demo(NamedTuple):
    """The running demo; files: directory of the compose file and what it mounts."""

    engine: Engine
    files: Path

    def compose(self, *arguments: str, and_file: str = "") -> str:
        names = [COMPOSE, and_file] if and_file else [COMPOSE]
        flags = [f"--file={self.files / name}" for name in names]
        return self.engine.compose(*flags, *arguments)

    def port(self, service: str, inside: int) -> int:
        return int(self.compose("port", service, str(inside)).strip().split(":")[1])

    def scrape(self) -> Exposition:
        address = f"http://127.0.0.1:{self.port(EXPORTER, 10128)}/metrics"
        with urllib.request.urlopen(address, timeout=30) as response:
            return Exposition(response.read().decode())

    def server(self) -> Prometheus:
        return Prometheus(self.port("prometheus", 9090))

    def pager_lines(self, status: str, container: str = "web-default") -> list[str]:
        """Return the lines of the pager about the critical alert of a container."""
        lines = self.compose("logs", "--no-color", "pager").splitlines()
        ours = f'{status} critical {CRITICAL}: Accept queues of container "{container}"'
        return [line for line in lines if ours in line]


@pytest.fixture(scope="module")
def demo(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run the demo without Grafana, with seconds for minutes, on free ports."""
    directory = tmp_path_factory.mktemp("demo")
    files = prepare_files(directory)
    images = {name: service["image"] for name, service in services().items()}
    engine.build_substitute(directory, images["prometheus"], "prometheus")
    engine.build_substitute(
        directory,
        images["alertmanager"],
        "prometheus-alertmanager",
        "/usr/share/prometheus/alertmanager",
    )
    demo = Demo(engine, files)
    demo.compose("up", "--detach", *(images.keys() - NOT_STARTED))
    try:
        wait_until(lambda: demo.server().number("up") == 1)
    finally:
        logs = demo.compose("logs", "--no-color", "--tail=20")
        print(logs)  # noqa: T201 # shown if the test fails
    yield demo
    demo.compose("down", "--volumes", "--timeout=1")


def prepare_files(directory: Path) -> Path:
    """Copy what the compose file mounts, with short intervals; return its directory."""
    shutil.copytree(PROJECT / DEMO, directory / DEMO)
    shutil.copytree(PROJECT / "dashboards", directory / "dashboards")
    files = directory / DEMO
    substitute(
        directory / "dashboards/rules.yaml",
        r"[\s\S]+",
        lambda match: shorten_durations(match[0]),
    )
    for name in ("prometheus.yml", "alertmanager.yml"):
        substitute(files / name, r"(_interval|_timeout): \d+s", r"\1: 1s")
    substitute(files / "crowd.py", r"^SECONDS_A_ROUND = .*", "SECONDS_A_ROUND = 1.0")
    substitute(
        files / COMPOSE, r"127\.0\.0\.1:\d+:", lambda _: f"127.0.0.1:{free_port()}:"
    )
    return files


def substitute(
    path: Path, pattern: str, new: "str | Callable[[re.Match[str]], str]"
) -> None:
    text, changes = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
    assert changes, f"{path.name}: {pattern}"
    path.write_text(text)


@pytest.mark.root
class TestDemo:
    def test_the_containers_have_names_values_and_origins(self, demo: Demo) -> None:
        def values_shown() -> bool:
            metrics = demo.scrape()
            values = {
                name: metrics.value(
                    "netns_sysctl_value", container=name, sysctl=SOMAXCONN
                )
                for name in ("web-default", "web-tuned")
            }
            return values == {"web-default": 128, "web-tuned": 8192}

        wait_until(values_shown)
        metrics = demo.scrape()
        drift = "netns_sysctl_drift"
        for name, origin in (("web-default", "modified"), ("web-tuned", "declared")):
            assert metrics.samples(
                drift, container=name, sysctl=SOMAXCONN, origin=origin
            )
        violation = "netns_sysctl_policy_violation"
        assert metrics.value(violation, container="web-default") == 1
        assert metrics.value(violation, container="web-tuned") == 0

    @pytest.mark.parametrize("name", NAMES)
    def test_only_panels_with_a_text_for_it_are_empty(
        self, demo: Demo, name: str
    ) -> None:
        server = demo.server()
        found = sorted(expressions(dashboard(name)))
        groups = itertools.groupby(found, lambda expression: expression.panel)
        empty = {panel: list(targets) for panel, targets in groups}

        def others_have_data() -> bool:
            for panel, targets in list(empty.items()):
                if any(server.query(interpolate(t.text, VALUES)) for t in targets):
                    del empty[panel]
            return empty.keys() <= EMPTY[name]

        wait_until(others_have_data, SECONDS)

    def test_the_alert_of_the_untuned_container_is_resolved_by_the_fix(
        self, demo: Demo
    ) -> None:
        wait_until(lambda: demo.pager_lines("FIRING"), SECONDS)
        (firing,) = demo.pager_lines("FIRING")
        assert f"{SOMAXCONN} is 128, the host's " in firing

        demo.compose("up", "--detach", "--no-deps", "web-default", and_file=FIXED)

        wait_until(lambda: demo.pager_lines("RESOLVED"), SECONDS)
        assert len(demo.pager_lines("FIRING")) == len(demo.pager_lines("RESOLVED")) == 1
        assert not demo.pager_lines("FIRING", "web-tuned")


def test_every_port_is_bound_to_loopback() -> None:
    for name, service in services().items():
        assert "network_mode" not in service, name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_every_image_has_a_version_or_is_built_here() -> None:
    for name, service in services().items():
        built_here = service["image"] == EXPORTER
        assert built_here or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_the_exporter_has_the_privileges_of_the_docker_installation() -> None:
    elsewhere = read(COMPOSE, Path("deploy/docker"))["services"][EXPORTER]
    here = services()[EXPORTER]
    privileges = ("build", "pid", "read_only", "cap_drop", "cap_add", "security_opt")

    assert [here[key] for key in privileges] == [elsewhere[key] for key in privileges]
    assert here["volumes"][0] == elsewhere["volumes"][0]
    assert here.keys() - privileges == {"image", "volumes", "command", "ports"}


def test_the_other_programs_have_no_privileges() -> None:
    for name in ("web-default", "web-tuned", "crowd", "pager"):
        service = services()[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "no-new-privileges" in service["security_opt"]
        assert not service.keys() & {"privileged", "cap_add", "pid"}


def test_the_sources_of_mounts_exist() -> None:
    for service in services().values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            if source.startswith("."):
                assert (PROJECT / DEMO / source).exists(), source


def test_the_fix_changes_only_somaxconn_and_the_backlog() -> None:
    fixed = services(FIXED)

    assert fixed.keys() == {"web-default"}
    assert fixed["web-default"] == {
        "sysctls": [f"{SOMAXCONN}=4096"],
        "command": services()["web-tuned"]["command"],
    }


def test_grafana_finds_its_data_source_and_the_dashboards() -> None:
    """Checks only that the files agree, without a Grafana that reads them."""
    grafana = services()["grafana"]
    places = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    provisioning = "/etc/grafana/provisioning"
    assert set(places.values()) == {
        f"{provisioning}/datasources/demo.yaml",
        f"{provisioning}/dashboards/demo.yaml",
        DASHBOARDS,
    }

    (source,) = read("grafana/datasource.yaml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["url"] == "http://prometheus:9090"
    scrapes = read("prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrapes

    (provider,) = read("grafana/dashboards.yaml")["providers"]
    assert (provider["type"], provider["options"]["path"]) == ("file", DASHBOARDS)
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(DASHBOARDS)
    assert (PROJECT / "dashboards" / Path(home).name).exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_panel_that_may_be_empty_has_a_text_for_it(name: str) -> None:
    by_title = {panel["title"]: panel for panel in panels(dashboard(name))}

    for title in EMPTY[name]:
        assert by_title[title]["fieldConfig"]["defaults"]["noValue"]


def test_files_ports_and_services_in_the_document_exist() -> None:
    text = (PROJECT / "docs/demo.md").read_text()

    for file in re.findall(r"deploy/demo/[\w./]*\w", text):
        assert (PROJECT / file).exists(), file
    ports = {
        port for service in services().values() for port in service.get("ports", ())
    }
    for port in re.findall(r"http://127.0.0.1:(\d+)", text):
        assert f"127.0.0.1:{port}:{port}" in ports
    commands = re.findall(r"(?:logs|exec|--no-deps) ([a-z-]+)\b", text)
    assert {"crowd", "pager", "web-default", EXPORTER} == set(commands)
