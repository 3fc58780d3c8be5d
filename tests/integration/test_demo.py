"""The demo: its story, told by its own compose file on a real Engine."""

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
NOT_HERE = {"grafana"}
"""Services whose image nobody has packaged, so that nothing can stand in for it."""

EMPTY = {
    "node.json": {"Problems", "Unreadable values"},
    "pod.json": {"Changes", "Last change"},
    "fleet.json": {
        "Nodes down",
        "Problems",
        "Kubernetes namespaces with overflows now",
    },
}
"""Panels of each dashboard that have words for it: all is well, or no Kubernetes."""

CHOSEN = {
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
"""What somebody chooses on the dashboards' top, and what Grafana adds."""

SOMAXCONN = "net.core.somaxconn"
CRITICAL = "NetnsSomaxconnDriftOverflows"
SECONDS = 60


def read(file: str, directory: Path = DEMO) -> Any:  # noqa: ANN401
    return msgspec.yaml.decode((PROJECT / directory / file).read_text())


def services(file: str = COMPOSE) -> dict[str, Any]:
    return dict(read(file)["services"])


class Demo(NamedTuple):
    """The demo as it runs; files: the compose file and what it mounts."""

    engine: Engine
    files: Path

    def compose(self, *arguments: str, and_file: str = "") -> str:
        names = [COMPOSE, and_file] if and_file else [COMPOSE]
        flags = [f"--file={self.files / name}" for name in names]
        return self.engine.compose(*flags, *arguments)

    def port(self, service: str, inside: int) -> int:
        return int(self.compose("port", service, str(inside)).strip().split(":")[1])

    def page(self) -> Exposition:
        address = f"http://127.0.0.1:{self.port(EXPORTER, 10128)}/metrics"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return Exposition(answer.read().decode())

    def server(self) -> Prometheus:
        return Prometheus(self.port("prometheus", 9090))

    def paged(self, status: str, container: str = "web-default") -> list[str]:
        """Return what the pager printed of a container's critical alert."""
        lines = self.compose("logs", "--no-color", "pager").splitlines()
        ours = f'{status} critical {CRITICAL}: Accept queues of container "{container}"'
        return [one for one in lines if ours in one]


@pytest.fixture(scope="module")
def demo(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run all of it but Grafana, with seconds for minutes, on ports of our own."""
    directory = tmp_path_factory.mktemp("demo")
    files = copied(directory)
    every = services()
    engine.build_substitute(directory, every["prometheus"]["image"], "prometheus")
    engine.build_substitute(
        directory,
        every["alertmanager"]["image"],
        "prometheus-alertmanager",
        "/usr/share/prometheus/alertmanager",
    )
    one = Demo(engine, files)
    one.compose("up", "--detach", *(every.keys() - NOT_HERE))
    try:
        wait_until(lambda: one.server().number("up") == 1)
    finally:
        logs = one.compose("logs", "--no-color", "--tail=20")
        print(logs)  # noqa: T201 # pytest shows it of a failure
    yield one
    one.compose("down", "--volumes", "--timeout=1")


def copied(directory: Path) -> Path:
    """Copy what the compose file mounts, in a hurry; return where the demo is."""
    shutil.copytree(PROJECT / DEMO, directory / DEMO)
    shutil.copytree(PROJECT / "dashboards", directory / "dashboards")
    files = directory / DEMO
    change(
        directory / "dashboards/rules.yaml",
        r"[\s\S]+",
        lambda all_: shorten_durations(all_[0]),
    )
    for name in ("prometheus.yml", "alertmanager.yml"):
        change(files / name, r"(_interval|_timeout): \d+s", r"\1: 1s")
    change(files / "crowd.py", r"^SECONDS_A_ROUND = .*", "SECONDS_A_ROUND = 1.0")
    change(files / COMPOSE, r"127\.0\.0\.1:\d+:", lambda _: f"127.0.0.1:{free_port()}:")
    return files


def change(
    path: Path, pattern: str, new: "str | Callable[[re.Match[str]], str]"
) -> None:
    text, changes = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
    assert changes, f"{path.name}: {pattern}"
    path.write_text(text)


@pytest.mark.root
class TestDemo:
    def test_the_exporter_names_the_containers_and_says_what_they_have(
        self, demo: Demo
    ) -> None:
        def shown() -> bool:
            page = demo.page()
            told = {
                name: page.value("netns_sysctl_value", container=name, sysctl=SOMAXCONN)
                for name in ("web-default", "web-tuned")
            }
            return told == {"web-default": 128, "web-tuned": 8192}

        wait_until(shown)
        page = demo.page()
        drift = "netns_sysctl_drift"
        for name, origin in (("web-default", "modified"), ("web-tuned", "declared")):
            assert page.samples(drift, container=name, sysctl=SOMAXCONN, origin=origin)
        violation = "netns_sysctl_policy_violation"
        assert page.value(violation, container="web-default") == 1
        assert page.value(violation, container="web-tuned") == 0

    @pytest.mark.parametrize("name", NAMES)
    def test_no_panel_is_empty_but_those_that_are_well_so(
        self, demo: Demo, name: str
    ) -> None:
        server = demo.server()
        asked = sorted(expressions(dashboard(name)))
        groups = itertools.groupby(asked, lambda one: one.panel)
        left = {panel: list(targets) for panel, targets in groups}

        def shown() -> bool:
            for panel, targets in list(left.items()):
                if any(server.query(interpolate(one.text, CHOSEN)) for one in targets):
                    del left[panel]
            return left.keys() <= EMPTY[name]

        wait_until(shown, SECONDS)

    def test_one_of_two_pages_and_is_fixed_by_asking_for_more(self, demo: Demo) -> None:
        wait_until(lambda: demo.paged("FIRING"), SECONDS)
        (firing,) = demo.paged("FIRING")
        assert f"{SOMAXCONN} is 128, the host's " in firing

        demo.compose("up", "--detach", "--no-deps", "web-default", and_file=FIXED)

        wait_until(lambda: demo.paged("RESOLVED"), SECONDS)
        assert len(demo.paged("FIRING")) == len(demo.paged("RESOLVED")) == 1
        assert not demo.paged("FIRING", "web-tuned")


def test_no_port_is_open_to_others() -> None:
    for name, service in services().items():
        assert "network_mode" not in service, name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_every_image_has_a_version_or_is_made_here() -> None:
    for name, service in services().items():
        made_here = service["image"] == EXPORTER
        assert made_here or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_the_exporter_has_the_rights_that_it_has_elsewhere() -> None:
    elsewhere = read(COMPOSE, Path("deploy/docker"))["services"][EXPORTER]
    here = services()[EXPORTER]
    rights = ("build", "pid", "read_only", "cap_drop", "cap_add", "security_opt")

    assert [here[key] for key in rights] == [elsewhere[key] for key in rights]
    assert here["volumes"][0] == elsewhere["volumes"][0]
    assert here.keys() - rights == {"image", "volumes", "command", "ports"}


def test_programs_of_the_story_have_no_rights() -> None:
    for name in ("web-default", "web-tuned", "crowd", "pager"):
        service = services()[name]
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
        assert "no-new-privileges" in service["security_opt"]
        assert not service.keys() & {"privileged", "cap_add", "pid"}


def test_what_is_mounted_is_there() -> None:
    for service in services().values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", ())):
            if source.startswith("."):
                assert (PROJECT / DEMO / source).exists(), source


def test_the_fix_asks_for_what_the_host_has_and_no_more_is_played() -> None:
    fixed = services(FIXED)

    assert fixed.keys() == {"web-default"}
    assert fixed["web-default"] == {
        "sysctls": [f"{SOMAXCONN}=4096"],
        "command": services()["web-tuned"]["command"],
    }


def test_grafana_finds_its_data_source_and_the_dashboards() -> None:
    """Only that the files say the same: no Grafana is here to read them."""
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
def test_a_panel_that_is_empty_says_so_in_words(name: str) -> None:
    known = {one["title"]: one for one in panels(dashboard(name))}

    for title in EMPTY[name]:
        assert known[title]["fieldConfig"]["defaults"]["noValue"]


def test_the_document_names_what_is_there() -> None:
    text = (PROJECT / "docs/demo.md").read_text()

    for file in re.findall(r"deploy/demo/[\w./]*\w", text):
        assert (PROJECT / file).exists(), file
    ports = {port for one in services().values() for port in one.get("ports", ())}
    for port in re.findall(r"http://127.0.0.1:(\d+)", text):
        assert f"127.0.0.1:{port}:{port}" in ports
    commands = re.findall(r"(?:logs|exec|--no-deps) ([a-z-]+)\b", text)
    assert {"crowd", "pager", "web-default", EXPORTER} == set(commands)
