"""Every expression of the dashboards, on a real Prometheus of a real exporter."""

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
POD_ID, PLAIN_ID = "a" * 64, "dash-plain"
BACKLOG = 3

CONFIG = """
policy:
  - {name: floor, sysctl: net.core.somaxconn, min: 1024, severity: critical}
"""

Values = Mapping[str, str | list[str]]


class Scene(NamedTuple):
    """A pod that overflows, a container, a named namespace; and who watches them."""

    server: Prometheus
    node: str
    name: str
    started: float

    def data(self, expression: Expression, values: Values) -> bool:
        """Return whether an expression has a series."""
        now = time.time()
        # a 0 that stands for nothing would hide that there is nothing
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
        enter(_plain(tmp_path))
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
        _happen(running, pod, by_name, stack)
        yield Scene(server, f"127.0.0.1:{running.port}", name, time.time())


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


def _plain(tmp_path: Path) -> contextlib.AbstractContextManager[int]:
    return run_oci_container(
        "runc",
        tmp_path,
        PLAIN_ID,
        cgroups_path=f"/{PLAIN_ID}",
        sysctls={SOMAXCONN: "333"},
        default_root=True,
    )


def _happen(
    running: Exporter, pod: ProcessNetns, by_name: LabNetns, stack: contextlib.ExitStack
) -> None:
    """Overflow the pod's queue, and write what the exporter sees being written."""
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


def of_node(scene: Scene) -> dict[str, str | list[str]]:
    """Return what the variables are at first, and Grafana's own."""
    return {
        "cluster": ".*",
        "job": ["netns-sysctl-exporter"],
        "instance": scene.node,
        "sysctl": SOMAXCONN,
        "__rate_interval": "10s",
        "__range": "60s",
    }


_WELL = "nothing of the kind goes wrong here"

EMPTY = {
    "node.json": {
        "Namespaces C": _WELL,
        "Failures B": _WELL,
        "Unreadable values A": "a kernel of which no namespace lacks a sysctl",
    },
    "fleet.json": {
        "Firing alerts A": "each alert waits for minutes",
        "Nodes C": _WELL,
        "Nodes D": _WELL,
    },
}
"""Of each dashboard the expressions that find nothing in this scene, and why."""

_UNHEARD = dict.fromkeys(
    (
        *(f"Listeners {letter}" for letter in "ABCDEF"),
        *(f"Queue and limit {letter}" for letter in "AB"),
    ),
    "nobody listens there",
)
_UNWRITTEN = dict.fromkeys(("Changes A", "Last change A"), "nothing was written")
_ALL_SHOWN = {"Summary D": "it has fewer listeners than are shown"}

OWNERS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "pod": ({"namespace": "shop", "pod": "web-0"}, {}),
    "container": (
        {"container": PLAIN_ID},
        {**_UNHEARD, **_UNWRITTEN, **_ALL_SHOWN},
    ),
    "named": (
        {"netns": "named/{name}"},
        {
            **_UNHEARD,
            **_ALL_SHOWN,
            "All sysctls E": "nobody declares a sysctl of a named namespace",
        },
    ),
    "host": (
        {"netns": "host"},
        {
            **_UNWRITTEN,
            **_ALL_SHOWN,
            "Listeners F": "every port may have one listener only",
            **dict.fromkeys(
                ("Summary A", "Summary B", "Policy A"),
                "it is not held against itself, and rules leave it out",
            ),
            **dict.fromkeys(
                ("All sysctls B", "Overflows and drift of $sysctl B"),
                "its values are what others differ from",
            ),
            "All sysctls E": "nobody declares the host's",
        },
    ),
}
"""Whose the Pod dashboard may be; and what finds nothing then, and why."""


@pytest.mark.parametrize("name", ["node.json", "fleet.json"])
def test_every_expression_has_data(scene: Scene, name: str) -> None:
    assert _missing(scene, name, of_node(scene), EMPTY[name]) <= set(EMPTY[name])


@pytest.mark.parametrize("kind", OWNERS)
def test_every_expression_of_a_pod_has_data_whatever_it_is(
    scene: Scene, kind: str
) -> None:
    own, empty = OWNERS[kind]
    labels = {name: one.format(name=scene.name) for name, one in own.items()}
    nobody = {"namespace": "", "pod": "", "container": "", "netns": ""}
    values = {**of_node(scene), **nobody, **labels}

    assert _missing(scene, "pod.json", values, empty) <= set(empty)


def _missing(
    scene: Scene, name: str, values: Values, known: Mapping[str, str]
) -> set[str]:
    """Return the expressions without data, once those that are known to be are left."""
    left = {f"{one.panel} {one.letter}": one for one in expressions(dashboard(name))}

    def none_is_left() -> bool:
        for key, one in list(left.items()):
            if scene.data(one, values):
                del left[key]
        return left.keys() <= known.keys()

    with contextlib.suppress(AssertionError):
        wait_until(none_is_left)
    return set(left)


def test_rows_have_an_owners_name_and_what_leads_to_its_dashboard(
    scene: Scene,
) -> None:
    told = {
        one["metric"]["owner"]: one["metric"]["owners"]
        for one in scene.server.query(with_owner(NETNS_INFO.name))
    }
    options = [
        option["value"]
        for variable in dashboard("pod.json")["templating"]["list"]
        if variable["name"] == "owners"
        for option in variable["options"]
    ]

    pods, others = options
    assert told["shop/web-0"] == pods
    for other in (PLAIN_ID, f"named/{scene.name}", "host"):
        assert told[other] == others


def test_the_variables_lead_to_each_owner(scene: Scene) -> None:
    """As Grafana asks them: each with what was chosen of those before it."""
    chosen = {"shop", "web-0", scene.node}
    pods = _chosen(scene, {"owners": KUBERNETES_PODS}, chosen)
    assert (pods["namespace"], pods["pod"]) == (["shop"], ["web-0"])
    assert (pods["instance"], pods["container"]) == ([scene.node], [])

    others = _chosen(scene, {"owners": EVERYTHING_ELSE}, chosen)
    assert (others["namespace"], others["pod"]) == ([], [])
    assert others["instance"] == [scene.node]
    assert PLAIN_ID in others["container"]
    assert {"host", f"named/{scene.name}"} <= set(others["netns"])
    assert others["cluster"] == []
    assert SOMAXCONN in others["sysctl"]


def _chosen(scene: Scene, values: Values, likes: set[str]) -> dict[str, list[str]]:
    """Return the options of the variables, where one of *likes* is taken or all."""
    now = dict(values)
    found = {}
    for variable in query_variables(dashboard("pod.json")):
        options = scene.options(variable, now)
        found[variable.name] = options
        first = next((one for one in options if one in likes), "")
        now[variable.name] = variable.all_value or first
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_an_option(scene: Scene, name: str) -> None:
    for variable in query_variables(dashboard(name)):
        if variable.default not in {None, ALL}:
            values = {**of_node(scene), "owners": EVERYTHING_ELSE}
            assert variable.default in scene.options(variable, values)
