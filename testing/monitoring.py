"""Real Prometheus, Alertmanager and a webhook receiver, for tests and benchmarks."""

import contextlib
import json
import queue
import re
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

JOB = "netns-sysctl-exporter"
RULES = Path(__file__).parents[1] / "dashboards/rules.yaml"

_DURATION = re.compile(r"((?:for: |\[)\d+)([mh])\b")
_SHORTER = {"m": "s", "h": "m"}

_PROMETHEUS = """
global: {{scrape_interval: {interval}, scrape_timeout: {interval}, \
evaluation_interval: {interval}}}
scrape_configs:
  - job_name: {job}
    honor_labels: true
    static_configs: [{{targets: {targets}}}]
{settings}
rule_files: {rules}
alerting: {{alertmanagers: [{{static_configs: [{{targets: {alertmanagers}}}]}}]}}
"""

_ALERTMANAGER = """
route:
  receiver: webhook
  group_by: [alertname, instance, namespace, pod, container, netns]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: webhook
    webhook_configs: [{{url: "{url}", send_resolved: true}}]
"""


class Prometheus(NamedTuple):
    """A running Prometheus."""

    port: int

    def api(self, path: str, **parameters: str) -> Any:  # noqa: ANN401
        """Return the data of a response; raise OSError (HTTPError) if there is none."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}{query}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the series of an instant vector; none while it does not respond."""
        try:
            return list(self.api("query", query=expression)["result"])
        except OSError:
            return []

    def number(self, expression: str) -> float | None:
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    def alerts(self) -> list[Any]:
        """Return the alerts that are pending or firing."""
        return list(self.api("alerts")["alerts"])


class Alertmanager(NamedTuple):
    """A running Alertmanager."""

    port: int


class Notification(NamedTuple):
    """An alert of a notification."""

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class WebhookReceiver(NamedTuple):
    """A webhook that queues the notifications it receives."""

    port: int
    notifications: "queue.SimpleQueue[Notification]"

    def receive(self, seconds: float = 0.1) -> Iterator[Notification]:
        """Yield the notifications since the last call, waiting for the first."""
        with contextlib.suppress(queue.Empty):
            yield self.notifications.get(timeout=seconds)
            while True:
                yield self.notifications.get_nowait()


def shorten_durations(rules: str) -> str:
    """
    Return rules with durations in seconds instead of minutes, minutes instead of hours.

    >>> text = "[for: 1h, keep_firing_for: 10m, expr: 'rate(x:rate5m[5m]) > 5']"
    >>> shorten_durations(text)
    "[for: 1m, keep_firing_for: 10s, expr: 'rate(x:rate5m[5s]) > 5']"
    """
    return _DURATION.sub(lambda match: match[1] + _SHORTER[match[2]], rules)


@contextlib.contextmanager
def run_prometheus(
    tmp_path: Path,
    *targets: int,
    settings: str = "",
    rules: Sequence[Path] = (),
    alertmanager: Alertmanager | None = None,
    interval: str = "1s",
) -> Iterator[Prometheus]:
    """
    Run a Prometheus that scrapes ports of the loopback address.

    settings: lines of the scrape configuration's job; rules: files.
    """
    config = tmp_path / "prometheus.yml"
    alertmanagers = [f"127.0.0.1:{alertmanager.port}"] if alertmanager else []
    config.write_text(
        _PROMETHEUS.format(
            interval=interval,
            job=JOB,
            targets=json.dumps([f"127.0.0.1:{port}" for port in targets]),
            settings=settings,
            rules=json.dumps([str(file) for file in rules]),
            alertmanagers=json.dumps(alertmanagers),
        )
    )
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with run_process(command):
        yield Prometheus(port)


@contextlib.contextmanager
def run_alertmanager(
    tmp_path: Path, receiver: WebhookReceiver
) -> Iterator[Alertmanager]:
    """Run an Alertmanager that notifies *receiver* without delay."""
    config = tmp_path / "alertmanager.yml"
    config.write_text(_ALERTMANAGER.format(url=f"http://127.0.0.1:{receiver.port}/"))
    port = free_port()
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={tmp_path / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
    ]
    with run_process(command):
        yield Alertmanager(port)


@contextlib.contextmanager
def webhook_receiver() -> Iterator[WebhookReceiver]:
    """Listen for notifications until the block ends."""
    notifications: queue.SimpleQueue[Notification] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for alert in json.loads(body)["alerts"]:
                notifications.put(
                    Notification(alert["status"], alert["labels"], alert["annotations"])
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serve_http(Handler) as port:
        yield WebhookReceiver(port, notifications)


@contextlib.contextmanager
def serve_http(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve HTTP on a port of the loopback address until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def run_process(command: Sequence[str]) -> Iterator[None]:
    """Run a command until the block ends."""
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
