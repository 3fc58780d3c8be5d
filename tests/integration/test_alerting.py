"""From a queue that overflows to a pager that rings, and to the end of it."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from testing.lab import ProcessNetns, wait_until
from testing.monitoring import (
    RULES,
    Notification,
    Prometheus,
    WebhookReceiver,
    run_alertmanager,
    run_prometheus,
    shorten_durations,
    webhook_receiver,
)
from testing.running import run_exporter
from tests.support.runtimes.containerd import Containerd, run_containerd
from tests.support.sockets import open_listener, start_connections

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
HOST = Path("/proc/sys", SOMAXCONN.replace(".", "/")).read_text().strip()
OLD = "128"
NAMESPACE = f"shop-{os.getpid()}"
UID = "1f7d8a3c-0000-4000-8000-0000000000f"

SECONDS = 60
MUCH = 65535
BACKLOG = 3
CLIENTS = 10

CRITICAL = "NetnsSomaxconnDriftOverflows"

OWNER = {"namespace", "pod", "container", "netns"}
OF_ALL = {"NetnsSomaxconnDrift", "NetnsPolicyViolation"}
"""Alerts that count what has no Kubernetes namespace, such as other tests' pods."""

OF_THIS_MACHINE = {
    "host_netns_guessed": "a sandbox that hides pid 1's network namespace from root",
}
"""Problems that a machine for tests may have and a node has not."""


class Pod(NamedTuple):
    """A pod of Kubernetes, by its sandbox's process."""

    name: str
    uid: str
    netns: ProcessNetns

    @property
    def labels(self) -> dict[str, str]:
        return {"namespace": NAMESPACE, "pod": self.name, "uid": self.uid}

    def knock(self) -> None:
        """Begin a connection, and don't wait for it."""
        with contextlib.ExitStack() as opened:
            start_connections(self.netns, opened)


class Scene(NamedTuple):
    """Three pods of one node, and all that looks at them."""

    slow: Pod
    small: Pod
    quiet: Pod
    server: Prometheus
    pager: WebhookReceiver
    heard: list[Notification]

    def until(self, condition: Callable[[], object]) -> None:
        """Have visitors come to the two that get any, until *condition* holds."""

        def holds() -> object:
            self.slow.knock()
            self.small.knock()
            self.heard.extend(self.pager.receive())
            return condition()

        wait_until(holds, SECONDS)

    def once(self, status: str, name: str, pod: Pod) -> Notification:
        """Return the one notification of an alert, once it is there."""
        self.until(lambda: self.told(status, name, pod))
        (one,) = self.told(status, name, pod)
        return one

    def told(self, status: str, name: str, pod: Pod) -> list[Notification]:
        return [
            one
            for one in self.heard
            if (one.status, one.labels["alertname"]) == (status, name)
            and pod.labels.items() <= one.labels.items()
        ]

    def names(self, pod: Pod) -> set[str]:
        """Return the alerts that there were of a pod."""
        return {
            one.labels["alertname"]
            for one in self.heard
            if pod.labels.items() <= one.labels.items()
        }


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with run_containerd(tmp_path_factory.mktemp("containerd")) as one:
        yield one


@pytest.fixture(scope="module")
def scene(
    containerd: Containerd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("scene")
    rules = directory / "rules.yaml"
    rules.write_text(shorten_durations(RULES.read_text()))
    slow, small, quiet = (
        a_pod(containerd, name, f"{UID}{number}")
        for number, name in enumerate(("slow", "small", "quiet"))
    )
    with (
        run_exporter(directory) as one,
        webhook_receiver() as pager,
        run_alertmanager(directory, pager) as manager,
        run_prometheus(
            directory, one.port, rules=[rules], alertmanager=manager
        ) as server,
    ):
        yield Scene(slow, small, quiet, server, pager, [])


def a_pod(containerd: Containerd, name: str, uid: str) -> Pod:
    sandbox = containerd.pod(NAMESPACE, name, uid)
    return Pod(name, uid, ProcessNetns(containerd.container_pid(sandbox)))


@pytest.fixture(scope="module")
def listener(scene: Scene) -> Iterator[socket.socket]:
    """
    Break two pods; yield the listener of the slow one.

    Both drop connections, one since its namespace has an old kernel's somaxconn, the
    other since its program asks for no more than a few.
    """
    with contextlib.ExitStack() as opened:
        scene.slow.netns.write(SOMAXCONN, OLD)
        server = open_listener(scene.slow.netns, opened, backlog=MUCH)
        open_listener(scene.small.netns, opened, backlog=BACKLOG)
        fill(scene.slow, opened, int(OLD))
        fill(scene.small, opened, BACKLOG)
        yield server


def fill(pod: Pod, opened: contextlib.ExitStack, limit: int) -> None:
    """Fill an accept queue, and more."""
    start_connections(pod.netns, opened, count=limit + CLIENTS)


def evaluated(server: Prometheus, since: datetime) -> bool:
    """Tell whether every rule was evaluated after that, without an error."""
    groups = server.api("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert not [rule for rule in rules if rule["health"] == "err"], rules
    return all(datetime.fromisoformat(rule["lastEvaluation"]) > since for rule in rules)


def excused(alert: dict[str, Any]) -> bool:
    labels = alert["labels"]
    if labels.get("namespace") == NAMESPACE:
        return False
    if labels.keys() & OWNER or labels["alertname"] in OF_ALL:
        return True  # another test's, at the same time
    return labels.get("problem") in OF_THIS_MACHINE


def test_on_a_healthy_node_nothing_fires_or_is_about_to(scene: Scene) -> None:
    pods = f'count(netns_info{{namespace="{NAMESPACE}"}})'
    wait_until(lambda: scene.server.number(pods) == 3)
    settled = datetime.now(UTC) + timedelta(seconds=3)  # a rate takes two samples

    wait_until(lambda: evaluated(scene.server, settled), SECONDS)

    alerts = scene.server.alerts()
    assert not [one for one in alerts if not excused(one)]


@pytest.mark.usefixtures("listener")
def test_a_drift_that_drops_connections_pages_with_the_pod_and_its_numbers(
    scene: Scene,
) -> None:
    firing = scene.once("firing", CRITICAL, scene.slow)

    assert firing.labels["severity"] == "critical"
    assert firing.labels["instance"].startswith("127.0.0.1:")
    said = firing.annotations["description"]
    assert f'pod "{NAMESPACE}/slow"' in said
    assert f"{SOMAXCONN} is {OLD}, the host's is {HOST}," in said
    assert f"queue {int(OLD) + 1}, limit {OLD}." in said


def test_it_is_over_once_the_program_listens_with_more(
    scene: Scene, listener: socket.socket
) -> None:
    firing = scene.once("firing", CRITICAL, scene.slow)

    scene.slow.netns.write(SOMAXCONN, HOST)
    listener.listen(MUCH)
    listener.settimeout(0)

    def over() -> bool:
        accept(listener)
        return bool(scene.told("resolved", CRITICAL, scene.slow))

    scene.until(over)

    assert scene.once("resolved", CRITICAL, scene.slow).labels == firing.labels
    assert scene.names(scene.slow) == {CRITICAL, "NetnsListenerNearlyFull"}


@pytest.mark.usefixtures("listener")
def test_neighbours_without_drift_are_not_taken_for_it(scene: Scene) -> None:
    """One drops as many connections, one is well."""
    scene.once("firing", CRITICAL, scene.slow)
    scene.once("firing", "NetnsListenOverflows", scene.small)

    names = {"NetnsListenOverflows", "NetnsListenerNearlyFull"}
    assert scene.names(scene.small) == names
    assert scene.names(scene.quiet) == set()


def accept(server: socket.socket) -> None:
    """Accept all who wait."""
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
