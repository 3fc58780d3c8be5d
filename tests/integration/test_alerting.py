"""From an overflowing accept queue to a notification, and to its resolution."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from testing import isolation
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
OLD_DEFAULT = "128"
"""somaxconn of a new namespace before Linux 5.4."""
NAMESPACE = f"shop-{os.getpid()}"
UID = "1f7d8a3c-0000-4000-8000-0000000000f"

SECONDS = 60
LARGE_BACKLOG = 65535
SMALL_BACKLOG = 3
EXTRA_CLIENTS = 10

CRITICAL = "NetnsSomaxconnDriftOverflows"

OWNER_LABELS = {"namespace", "pod", "container", "netns"}
WITHOUT_OWNER = {"NetnsSomaxconnDrift", "NetnsPolicyViolation"}
"""Alerts without owner labels, which namespaces of other tests may raise."""

TEST_MACHINE_PROBLEMS = {
    isolation.PROBLEM: "a PID namespace of the tests",
    "host_netns_guessed": "a sandbox that hides pid 1's network namespace from root",
}
"""Problems that a test machine may have, unlike a node."""


ALL_LISTENERS = "--signals.max-listeners=100000"
"""Other programs of a test machine may listen on more ports than the default."""


class Pod(NamedTuple):
    """A pod of Kubernetes, with the namespace of its sandbox."""

    name: str
    uid: str
    netns: ProcessNetns

    @property
    def labels(self) -> dict[str, str]:
        return {"namespace": NAMESPACE, "pod": self.name, "uid": self.uid}

    def try_connect(self) -> None:
        """Start a connection without waiting for it."""
        with contextlib.ExitStack() as opened:
            start_connections(self.netns, opened)


class Scene(NamedTuple):
    """Three pods of a node, with its monitoring."""

    slow: Pod
    small: Pod
    quiet: Pod
    server: Prometheus
    pager: WebhookReceiver
    notifications: list[Notification]

    def until(self, condition: Callable[[], object]) -> None:
        """Keep connecting to the two overloaded pods until *condition* holds."""

        def holds() -> object:
            self.slow.try_connect()
            self.small.try_connect()
            self.notifications.extend(self.pager.receive())
            return condition()

        wait_until(holds, SECONDS)

    def wait_for(self, status: str, name: str, pod: Pod) -> Notification:
        """Wait for the notification of an alert; it must be the only one."""
        self.until(lambda: self.received(status, name, pod))
        (notification,) = self.received(status, name, pod)
        return notification

    def received(self, status: str, name: str, pod: Pod) -> list[Notification]:
        return [
            notification
            for notification in self.notifications
            if notification.status == status
            and notification.labels["alertname"] == name
            and pod.labels.items() <= notification.labels.items()
        ]

    def alert_names(self, pod: Pod) -> set[str]:
        """Return the names of all alerts received for a pod."""
        return {
            notification.labels["alertname"]
            for notification in self.notifications
            if pod.labels.items() <= notification.labels.items()
        }


@pytest.fixture(scope="module")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with run_containerd(tmp_path_factory.mktemp("containerd")) as daemon:
        yield daemon


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
        run_exporter(directory, ALL_LISTENERS) as exporter,
        webhook_receiver() as pager,
        run_alertmanager(directory, pager) as manager,
        run_prometheus(
            directory, exporter.port, rules=[rules], alertmanager=manager
        ) as server,
    ):
        yield Scene(slow, small, quiet, server, pager, [])


def a_pod(containerd: Containerd, name: str, uid: str) -> Pod:
    sandbox = containerd.pod(NAMESPACE, name, uid)
    return Pod(name, uid, ProcessNetns(containerd.container_pid(sandbox)))


@pytest.fixture(scope="module")
def listener(scene: Scene) -> Iterator[socket.socket]:
    """
    Make two pods drop connections; yield the listener of the slow one.

    The namespace of the slow one has the somaxconn of an old kernel; the program in the
    small one listens with a small backlog.
    """
    with contextlib.ExitStack() as opened:
        scene.slow.netns.write(SOMAXCONN, OLD_DEFAULT)
        server = open_listener(scene.slow.netns, opened, backlog=LARGE_BACKLOG)
        open_listener(scene.small.netns, opened, backlog=SMALL_BACKLOG)
        fill(scene.slow, opened, int(OLD_DEFAULT))
        fill(scene.small, opened, SMALL_BACKLOG)
        yield server


def fill(pod: Pod, opened: contextlib.ExitStack, limit: int) -> None:
    """Fill an accept queue and start more connections."""
    start_connections(pod.netns, opened, count=limit + EXTRA_CLIENTS)


def evaluated(server: Prometheus, since: datetime) -> bool:
    """Return whether all rules were evaluated after *since*, without errors."""
    groups = server.api("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert not [rule for rule in rules if rule["health"] == "err"], rules
    return all(datetime.fromisoformat(rule["lastEvaluation"]) > since for rule in rules)


def is_unrelated(alert: dict[str, Any]) -> bool:
    """Return whether an alert is from another test or from this machine."""
    labels = alert["labels"]
    if labels.get("namespace") == NAMESPACE:
        return False
    if labels.keys() & OWNER_LABELS or labels["alertname"] in WITHOUT_OWNER:
        return True  # a namespace of another test
    return labels.get("problem") in TEST_MACHINE_PROBLEMS


def test_on_a_healthy_node_no_alert_is_firing_or_pending(scene: Scene) -> None:
    pods = f'count(netns_info{{namespace="{NAMESPACE}"}})'
    wait_until(lambda: scene.server.number(pods) == 3)
    settled = datetime.now(UTC) + timedelta(seconds=3)  # a rate needs two samples

    wait_until(lambda: evaluated(scene.server, settled), SECONDS)

    alerts = scene.server.alerts()
    assert not [alert for alert in alerts if not is_unrelated(alert)]


@pytest.mark.usefixtures("listener")
def test_a_drift_with_overflows_notifies_with_the_pod_and_its_values(
    scene: Scene,
) -> None:
    firing = scene.wait_for("firing", CRITICAL, scene.slow)

    assert firing.labels["severity"] == "critical"
    assert firing.labels["instance"].startswith("127.0.0.1:")
    description = firing.annotations["description"]
    assert f'pod "{NAMESPACE}/slow"' in description
    assert f"{SOMAXCONN} is {OLD_DEFAULT}, the host's is {HOST}," in description
    assert f"queue {int(OLD_DEFAULT) + 1}, limit {OLD_DEFAULT}." in description


def test_the_alert_resolves_once_the_program_listens_with_a_larger_limit(
    scene: Scene, listener: socket.socket
) -> None:
    firing = scene.wait_for("firing", CRITICAL, scene.slow)

    scene.slow.netns.write(SOMAXCONN, HOST)
    listener.listen(LARGE_BACKLOG)
    listener.settimeout(0)

    def resolved() -> bool:
        accept_all(listener)
        return bool(scene.received("resolved", CRITICAL, scene.slow))

    scene.until(resolved)

    assert scene.wait_for("resolved", CRITICAL, scene.slow).labels == firing.labels
    assert scene.alert_names(scene.slow) == {CRITICAL, "NetnsListenerNearlyFull"}


@pytest.mark.usefixtures("listener")
def test_pods_without_drift_have_no_drift_alert(scene: Scene) -> None:
    """One drops as many connections, the other has no connections."""
    scene.wait_for("firing", CRITICAL, scene.slow)
    scene.wait_for("firing", "NetnsListenOverflows", scene.small)

    names = {"NetnsListenOverflows", "NetnsListenerNearlyFull"}
    assert scene.alert_names(scene.small) == names
    assert scene.alert_names(scene.quiet) == set()


def accept_all(server: socket.socket) -> None:
    """Accept the connections in the queue."""
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
