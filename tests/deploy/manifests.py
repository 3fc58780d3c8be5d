"""What the deployments are made of, rendered by the real kubectl."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from tests.deploy.gotemplate import Chart

ROOT = Path(__file__).parents[2]
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


def kustomized(path: str) -> list[Document]:
    """Return the documents of a base or an overlay."""
    return _documents(_kustomized(path))


def charted(values: Document | None = None, release: str = "") -> list[Document]:
    """Return the documents of the chart."""
    rendered = Chart(CHART).render(values or {}, release=release)
    return [
        document
        for name, text in rendered.items()
        if name.endswith(".yaml")
        for document in _documents(text)
    ]


def one(kind: str, documents: list[Document]) -> Document:
    """Return the only document of its kind."""
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def pod_of(documents: list[Document]) -> Document:
    pod = one("DaemonSet", documents)["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def container_of(documents: list[Document]) -> Document:
    (container,) = pod_of(documents)["containers"]
    assert isinstance(container, dict)
    return container


def _documents(text: str) -> list[Document]:
    parts = (msgspec.yaml.decode(part) for part in _SEPARATOR.split(text))
    return [part for part in parts if part]
