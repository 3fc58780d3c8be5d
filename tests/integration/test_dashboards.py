"""The expressions of the dashboards, evaluated by a real Prometheus."""

import contextlib
import os
import time
import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.exposition.metrics import NETNS_INFO
from mixin.dashboards.queries import (
    EVERYTHING_ELSE,
    KUBERNETES_PODS,
    with_owner,
)
from testing.lab import LabNetns, ProcessNetns, named_netns, wait_until
from testing.monitoring import Prometheus, free_port, run_prometheus
from testing.running import Exporter, run_exporter
from tests.mixin.support.grafana import (
    ALL,
    DIRECTORY,
    NAMES,
    Expression,
    QueryVariable,
    dashboard,
    expressions,
    interpolate,
    query_variables,
)
from tests.support.httpserver import ok_response, run_scripted_server
from tests.support.runtimes.oci import run_oci_container
from tests.support.sockets import PORT, open_listener, start_connections

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
UID = "0d3a9f0e-5d3c-4d38-a4e5-6b1f0a2c9b11"
POD_ID, CONTAINER_ID = "a" * 64, "dash-plain"
BACKLOG = 3

CONFIG = """
policy:
  - {name: floor, sysctl: net.core.somaxconn, min: 1024, severity: critical}
"""

Values = Mapping[str, str | list[str]]


class Scene(NamedTuple):
    """
    A pod with overflows, a container, a named namespace, and their Prometheus.

    Attributes:
        server: The Prometheus.
        node: The `instance` label of the exporter.
        name: Name of the named namespace.
    """

    server: Prometheus
    node: str
    name: str

    def has_data(self, expression: Expression, values: Values) -> bool:
        """Return whether an expression returns a series."""
        now = time.time()
        # the 0 that replaces a missing series would hide that it is missing
        text = interpolate(expression.text, values).replace(" or vector(0)", "")
        try:
            if expression.instant:
                return bool(self.server.api("query", query=text)["result"])
            span = {"start": f"{now - 30}", "end": f"{now}", "step": "1"}
            return bool(self.server.api("query_range", query=text, **span)["result"])
        except urllib.error.HTTPError as error:
            pytest.fail(f"{expression.panel}: {text}\n{error.read()!r}")

    def options(self, variable: QueryVariable, values: Values) -> list[str]:
        """Return the values of a variable, in order."""
        selector = {"match[]": interpolate(variable.selector, values)}
        return sorted(self.server.api(f"label/{variable.label}/values", **selector))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    tmp_path = tmp_path_factory.mktemp("scene")
    (tmp_path / "config.yaml").write_text(CONFIG)
    name = f"exdash-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        pod = ProcessNetns(enter(_pod(tmp_path)))
        enter(_container(tmp_path))
        by_name = enter(named_netns(name))
        kubelet = enter(
            run_scripted_server(lambda _path, _web: ok_response(b'{"items": []}'))
        )
        running = enter(
            run_exporter(
                tmp_path,
                "--config.file=config.yaml",
                "--signals.max-listeners=6",
                f"--runtimes.kubelet={kubelet.url.replace('tcp', 'http')}",
            )
        )
        silent = free_port()
        rules = [DIRECTORY / "rules.yaml"]
        server = enter(run_prometheus(tmp_path, running.port, silent, rules=rules))
        wait_until(lambda: server.number("sum(up)") == 1)
        _cause_events(running, pod, by_name, stack)
        yield Scene(server, f"127.0.0.1:{running.port}", name)


def _pod(tmp_path: Path) -> contextlib.AbstractContextManager[int]:
    cri = "io.kubernetes.cri"
    return run_oci_container(
        "runc",
        tmp_path,
        POD_ID,
        cgroups_path=f"/kubepods/besteffort/pod{UID}/{POD_ID}",
        sysctls={SOMAXCONN: "10"},
        annotations={
            f"{cri}.container-type": "sandbox",
            f"{cri}.sandbox-id": POD_ID,
            f"{cri}.sandbox-name": "web-0",
            f"{cri}.sandbox-namespace": "shop",
            f"{cri}.sandbox-uid": UID,
        },
        default_root=True,
    )


def _container(tmp_path: Path) -> contextlib.AbstractContextManager[int]:
    return run_oci_container(
        "runc",
        tmp_path,
        CONTAINER_ID,
        cgroups_path=f"/{CONTAINER_ID}",
        sysctls={SOMAXCONN: "333"},
        default_root=True,
    )


def _cause_events(
    running: Exporter, pod: ProcessNetns, by_name: LabNetns, stack: contextlib.ExitStack
) -> None:
    """Overflow the pod's accept queue, and change sysctls between scrapes."""
    pod.run("ip", "link", "set", "lo", "up")
    rule = ("-A", "INPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")
    pod.run("iptables", "-w", *rule)

    for port in range(PORT, PORT + 8):
        open_listener(pod, stack, backlog=BACKLOG, port=port, reuse_port=True)
    for port, backlog in ((PORT, BACKLOG), (PORT + 1, 100)):
        open_listener(pod, stack, backlog=backlog, port=port, reuse_port=True)
    running.scrape()
    pod.write(SOMAXCONN, "50")
    pod.write("net.ipv4.tcp_congestion_control", "reno")
    start_connections(pod, stack, count=20)
    by_name.write(SOMAXCONN, "128")


def default_values(scene: Scene) -> dict[str, str | list[str]]:
    """Return the default values of the variables, and Grafana's built-in ones."""
    return {
        "cluster": ".*",
        "job": ["netns-sysctl-exporter"],
        "instance": scene.node,
        "sysctl": SOMAXCONN,
        "__rate_interval": "10s",
        "__range": "60s",
    }


_HEALTHY = "no such problem occurs here"

EMPTY = {
    "node.json": {
        "Namespaces C": _HEALTHY,
        "Failures B": _HEALTHY,
        "Unreadable values A": "each namespace of this kernel has all sysctls",
    },
    "fleet.json": {
        "Firing alerts A": "alerts are pending for minutes",
        "Nodes C": _HEALTHY,
        "Nodes D": _HEALTHY,
    },
}
"""By dashboard: the expressions without data here, and why."""

_NO_LISTENERS = dict.fromkeys(
    (
        *(f"Listeners {letter}" for letter in "ABCDEF"),
        *(f"Queue and limit {letter}" for letter in "AB"),
    ),
    "no program listens there",
)
_NO_CHANGES = dict.fromkeys(("Changes A", "Last change A"), "no sysctl was changed")
_NO_OMITTED = {"Summary D": "all its listeners are exported"}

OWNERS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "pod": ({"namespace": "shop", "pod": "web-0"}, {}),
    "container": (
        {"container": CONTAINER_ID},
        {**_NO_LISTENERS, **_NO_CHANGES, **_NO_OMITTED},
    ),
    "named": (
        {"netns": "named/{name}"},
        {
            **_NO_LISTENERS,
            **_NO_OMITTED,
            "All sysctls E": "a named namespace has no declared values",
        },
    ),
    "host": (
        {"netns": "host"},
        {
            **_NO_CHANGES,
            **_NO_OMITTED,
            "Listeners F": "it may have no port with two listeners",
            **dict.fromkeys(
                ("Summary A", "Summary B", "Policy A"),
                "it has no drift, and rules exclude it",
            ),
            **dict.fromkeys(
                ("All sysctls B", "Overflows and drift of $sysctl B"),
                "the drift of others is relative to its values",
            ),
            "All sysctls E": "the host has no declared values",
        },
    ),
}
"""By kind of owner: labels for the Pod dashboard, expressions without data and why."""


@pytest.mark.parametrize("name", ["node.json", "fleet.json"])
def test_every_expression_has_data(scene: Scene, name: str) -> None:
    assert _missing(scene, name, default_values(scene), EMPTY[name]) <= set(EMPTY[name])


@pytest.mark.parametrize("kind", OWNERS)
def test_every_expression_of_the_pod_dashboard_has_data_for_each_kind_of_owner(
    scene: Scene, kind: str
) -> None:
    own, empty = OWNERS[kind]
    labels = {name: text.format(name=scene.name) for name, text in own.items()}
    unset = {"namespace": "", "pod": "", "container": "", "netns": ""}
    values = {**default_values(scene), **unset, **labels}

    assert _missing(scene, "pod.json", values, empty) <= set(empty)


def _missing(
    scene: Scene, name: str, values: Values, expected: Mapping[str, str]
) -> set[str]:
    """Return the expressions without data; wait for those not in *expected*."""
    empty = {f"{e.panel} {e.letter}": e for e in expressions(dashboard(name))}

    def only_expected() -> bool:
        for key, expression in list(empty.items()):
            if scene.has_data(expression, values):
                del empty[key]
        return empty.keys() <= expected.keys()

    with contextlib.suppress(AssertionError):
        wait_until(only_expected)
    return set(empty)


def test_rows_have_the_owners_name_and_the_choice_that_leads_to_its_dashboard(
    scene: Scene,
) -> None:
    choices = {
        series["metric"]["owner"]: series["metric"]["owners"]
        for series in scene.server.query(with_owner(NETNS_INFO.name))
    }
    options = [
        option["value"]
        for variable in dashboard("pod.json")["templating"]["list"]
        if variable["name"] == "owners"
        for option in variable["options"]
    ]

    pods, others = options
    assert choices["shop/web-0"] == pods
    for other in (CONTAINER_ID, f"named/{scene.name}", "host"):
        assert choices[other] == others


def test_the_variables_lead_to_each_owner(scene: Scene) -> None:
    """As in Grafana: the options of each depend on the choices before it."""
    chosen = {"shop", "web-0", scene.node}
    pods = _options(scene, {"owners": KUBERNETES_PODS}, chosen)
    assert (pods["namespace"], pods["pod"]) == (["shop"], ["web-0"])
    assert (pods["instance"], pods["container"]) == ([scene.node], [])

    others = _options(scene, {"owners": EVERYTHING_ELSE}, chosen)
    assert (others["namespace"], others["pod"]) == ([], [])
    assert others["instance"] == [scene.node]
    assert CONTAINER_ID in others["container"]
    assert {"host", f"named/{scene.name}"} <= set(others["netns"])
    assert others["cluster"] == []
    assert SOMAXCONN in others["sysctl"]


def _options(scene: Scene, values: Values, preferred: set[str]) -> dict[str, list[str]]:
    """Return the options of the variables; choose *preferred* ones, or all, in turn."""
    chosen = dict(values)
    found = {}
    for variable in query_variables(dashboard("pod.json")):
        options = scene.options(variable, chosen)
        found[variable.name] = options
        first = next((option for option in options if option in preferred), "")
        chosen[variable.name] = variable.all_value or first
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_an_option(scene: Scene, name: str) -> None:
    for variable in query_variables(dashboard(name)):
        if variable.default not in {None, ALL}:
            values = {**default_values(scene), "owners": EVERYTHING_ELSE}
            assert variable.default in scene.options(variable, values)
