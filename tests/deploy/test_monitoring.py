"""What a real Prometheus makes of a node that it scrapes as the PodMonitor says."""

import json
import re
from pathlib import Path

import pytest

from testing.lab import new_namespaces, wait_until
from testing.monitoring import run_prometheus
from testing.running import run_exporter
from tests.deploy.manifests import kustomized, one

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
OF_THE_OPERATOR = {
    "namespace": "netns-sysctl-exporter",
    "pod": "netns-sysctl-exporter-x7k2p",
    "container": "netns-sysctl-exporter",
    "endpoint": "metrics",
    "__meta_kubernetes_pod_node_name": "node-1",
}
"""What its scrape configuration, and Kubernetes, call a target before relabelling."""


def _snake(key: str) -> str:
    """
    Return a key of the PodMonitor as Prometheus's own configuration has it.

    >>> _snake("sourceLabels")
    'source_labels'
    """
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower()


def _job(port: int) -> str:
    """Return the job that the operator writes of the PodMonitor."""
    monitor = one("PodMonitor", kustomized("overlays/prometheus-operator"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    job = {
        "job_name": "as-installed",
        "honor_labels": endpoint["honorLabels"],
        "metrics_path": endpoint["path"],
        "relabel_configs": [
            {_snake(key): value for key, value in step.items()}
            for step in endpoint["relabelings"]
        ],
        "static_configs": [
            {"targets": [f"127.0.0.1:{port}"], "labels": OF_THE_OPERATOR}
        ],
    }
    return f"  - {json.dumps(job)}"


def test_no_series_is_called_after_the_exporters_own_pod(tmp_path: Path) -> None:
    with (
        new_namespaces(1),
        run_exporter(tmp_path) as one_of_them,
        run_prometheus(
            tmp_path, one_of_them.port, settings=_job(one_of_them.port)
        ) as server,
    ):
        wait_until(lambda: server.number('up{job="as-installed"}') == 1)

        (host,) = server.query(
            f'netns_sysctl_host_value{{job="as-installed",sysctl="{SOMAXCONN}"}}'
        )
        assert host["metric"] == {
            "__name__": "netns_sysctl_host_value",
            "job": "as-installed",
            "instance": "node-1",
            "node": "node-1",
            "sysctl": SOMAXCONN,
        }
        for label in ("namespace", "pod", "container"):
            theirs = f'{{job="as-installed",{label}="{OF_THE_OPERATOR[label]}"}}'
            assert not server.query(theirs)
