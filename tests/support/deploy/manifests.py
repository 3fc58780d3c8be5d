"""The documents of the deployments, rendered by the real kubectl."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tests.support.deploy.helm_template import Chart

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
CHART = ROOT / "deploy/helm/netns-sysctl-exporter"
NAME = "netns-sysctl-exporter"

KUSTOMIZATIONS = (
    "base",
    "overlays/plain",
    "overlays/prometheus-operator",
    "overlays/kube-prometheus",
)

Document = dict[str, Any]
_SEPARATOR = re.compile(r"^---$", re.MULTILINE)


@cache
def _kustomized(path: str) -> str:
    command = ["kubectl", "kustomize", str(KUBERNETES / path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kustomize(path: str) -> list[Document]:
    """Return the documents of the base or an overlay."""
    return _documents(_kustomized(path))


def render_chart(values: Document | None = None, release: str = "") -> list[Document]:
    """Return the documents of the chart."""
    rendered = Chart(CHART).render(values or {}, release=release)
    return [
        document
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for document in _documents(text)
    ]


def document_of_kind(kind: str, documents: list[Document]) -> Document:
    """Return the only document of a kind."""
    (document,) = [candidate for candidate in documents if candidate["kind"] == kind]
    return document


def pod_spec(documents: list[Document]) -> Document:
    pod = document_of_kind("DaemonSet", documents)["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def container_spec(documents: list[Document]) -> Document:
    (container,) = pod_spec(documents)["containers"]
    assert isinstance(container, dict)
    return container


def _documents(text: str) -> list[Document]:
    parts = (msgspec.yaml.decode(part) for part in _SEPARATOR.split(text))
    return [part for part in parts if part]
