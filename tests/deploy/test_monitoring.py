"""Series of a real Prometheus that scrapes as configured by the PodMonitor."""

import json
import re
from pathlib import Path

import pytest

from testing.lab import new_namespaces, wait_until
from testing.monitoring import run_prometheus
from testing.running import run_exporter
from tests.support.deploy.manifests import document_of_kind, kustomize

pytestmark = pytest.mark.root

SOMAXCONN = "net.core.somaxconn"
TARGET_LABELS = {
    "namespace": "netns-sysctl-exporter",
    "pod": "netns-sysctl-exporter-x7k2p",
    "container": "netns-sysctl-exporter",
    "endpoint": "metrics",
    "__meta_kubernetes_pod_node_name": "node-1",
}
"""Labels of a target before relabeling, from the operator and from Kubernetes."""


def _snake(key: str) -> str:
    """
    Return a key of the PodMonitor in the form of the Prometheus configuration.

    >>> _snake("sourceLabels")
    'source_labels'
    """
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", key).lower()


def _job(port: int) -> str:
    """Return the scrape job that the operator generates from the PodMonitor."""
    monitor = document_of_kind("PodMonitor", kustomize("overlays/prometheus-operator"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    job = {
        "job_name": "as-installed",
        "honor_labels": endpoint["honorLabels"],
        "metrics_path": endpoint["path"],
        "relabel_configs": [
            {_snake(key): value for key, value in step.items()}
            for step in endpoint["relabelings"]
        ],
        "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": TARGET_LABELS}],
    }
    return f"  - {json.dumps(job)}"


def test_no_series_has_the_labels_of_the_exporters_pod(tmp_path: Path) -> None:
    with (
        new_namespaces(1),
        run_exporter(tmp_path) as exporter,
        run_prometheus(tmp_path, exporter.port, settings=_job(exporter.port)) as server,
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
            series = f'{{job="as-installed",{label}="{TARGET_LABELS[label]}"}}'
            assert not server.query(series)
