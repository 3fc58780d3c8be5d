"""The kustomizations and the chart: valid, equal to each other, and as documented."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import kubernetes_validate  # type: ignore[import-untyped]
import msgspec
import pytest

from exporter import __version__
from exporter.cli.arguments import build_parser
from exporter.config.flags import overrides
from exporter.config.settings import load
from exporter.privsep.privileges import COLLECTOR_CAPABILITIES
from mixin.files import rules_yaml
from mixin.settings import Settings
from tests.support.deploy.manifests import (
    CHART,
    KUBERNETES,
    KUSTOMIZATIONS,
    NAME,
    ROOT,
    Document,
    container_spec,
    document_of_kind,
    kustomize,
    pod_spec,
    render_chart,
)
from tests.support.deploy.operator_schemas import OPERATOR_SCHEMAS

DOCUMENT = ROOT / "docs/install/kubernetes.md"

VERSIONS = ("1.30", "1.35", "1.36", "1.37")
"""The oldest version with appArmorProfile, and the latest three."""

ONLY_KUSTOMIZE = {"Namespace", "Role", "RoleBinding"}
"""Kinds that the chart does not have: users of Helm create the namespace."""

ALL_VALUES: Document = {
    "image": {"repository": "registry:5000/exporter", "tag": "1"},
    "imagePullSecrets": [{"name": "pull"}],
    "fullnameOverride": "sysctls",
    "config": {"policy": [{"name": "a", "sysctl": "net.core.somaxconn", "min": 1024}]},
    "extraArgs": ["--log.level=debug"],
    "port": 9999,
    "hostPaths": [{"path": "/run", "mountPropagation": "None"}],
    "kubelet": {"enabled": True},
    "webConfig": {"secret": "web"},
    "serviceAccount": {"annotations": {"a": "b"}},
    "priorityClassName": "system-node-critical",
    "nodeSelector": {"kubernetes.io/os": "linux", "a": "b"},
    "tolerations": [],
    "affinity": {"nodeAffinity": {}},
    "maxUnavailable": 1,
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "podMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "scheme": "https",
        "tlsConfig": {"insecureSkipVerify": True},
        "basicAuth": {"username": {"name": "web", "key": "user"}},
        "metricRelabelings": [{"action": "drop", "regex": "x"}],
    },
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
}
NODES_PROXY: Document = {
    "kubelet": {"enabled": True, "insecure": True, "nodesProxy": True}
}

CHARTS = {
    "chart": {},
    "chart, all values": ALL_VALUES,
    "chart, nodes/proxy": NODES_PROXY,
}


def render(method: str) -> list[Document]:
    return render_chart(CHARTS[method]) if method in CHARTS else kustomize(method)


@pytest.fixture(params=[*KUSTOMIZATIONS, *CHARTS])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """Return the documents of each method of installation."""
    return render(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_document(
    documents: list[Document], version: str
) -> None:
    for document in documents:
        if document["kind"] in OPERATOR_SCHEMAS:
            jsonschema.validate(document, OPERATOR_SCHEMAS[document["kind"]])
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelled_key_is_detected() -> None:
    daemonset = document_of_kind("DaemonSet", kustomize("base"))
    daemonset["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(daemonset, VERSIONS[-1], strict=True)

    monitor = document_of_kind("PodMonitor", kustomize("overlays/prometheus-operator"))
    monitor["spec"]["podMetricsEndpoints"][0]["honorLabel"] = True
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(monitor, OPERATOR_SCHEMAS["PodMonitor"])


# --- privileges --------------------------------------------------------------


def test_the_container_has_only_the_privileges_that_it_needs(
    documents: list[Document],
) -> None:
    """SECURITY.md: three capabilities to collect, three to drop privileges."""
    assert container_spec(documents)["securityContext"] == {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {
            "drop": ["ALL"],
            "add": [
                *("SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"),
                *("SETUID", "SETGID", "SETPCAP"),
            ],
        },
        "seccompProfile": {"type": "RuntimeDefault"},
        "appArmorProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"type": "spc_t"},
    }
    assert COLLECTOR_CAPABILITIES.bit_count() == 3
    pod = pod_spec(documents)
    assert (pod["hostPID"], pod["hostNetwork"]) == (True, True)
    assert "hostIPC" not in pod


def test_its_capabilities_are_documented(documents: list[Document]) -> None:
    context = container_spec(documents)["securityContext"]

    for capability in context["capabilities"]["add"]:
        assert re.search(rf"^\|.*`{capability}`", DOCUMENT.read_text(), re.MULTILINE)


def test_the_paths_of_the_node_it_mounts_are_documented(
    documents: list[Document],
) -> None:
    text = DOCUMENT.read_text()
    volumes = pod_spec(documents)["volumes"]
    mounts = {m["name"]: m for m in container_spec(documents)["volumeMounts"]}

    assert len(mounts) == len(volumes)
    assert all(mount["readOnly"] for mount in mounts.values())
    for volume in volumes:
        if "hostPath" in volume:
            path = volume["hostPath"]["path"]
            assert f"| `{path}` |" in text
            assert mounts[volume["name"]]["mountPath"] == f"/host{path}"


def test_it_has_a_token_only_to_poll_the_kubelet(documents: list[Document]) -> None:
    account = document_of_kind("ServiceAccount", documents)
    polls_kubelet = any(d["kind"] == "ClusterRole" for d in documents)

    assert account["automountServiceAccountToken"] is False
    assert pod_spec(documents)["automountServiceAccountToken"] is polls_kubelet
    assert pod_spec(documents)["serviceAccountName"] == account["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "resource"), [(ALL_VALUES, "nodes/pods"), (NODES_PROXY, "nodes/proxy")]
)
def test_the_role_to_poll_the_kubelet_has_one_verb_on_one_resource(
    values: Document, resource: str
) -> None:
    documents = render_chart(values)

    rules = [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]
    assert document_of_kind("ClusterRole", documents)["rules"] == rules
    binding = document_of_kind("ClusterRoleBinding", documents)
    assert (
        binding["roleRef"]["name"]
        == document_of_kind("ClusterRole", documents)["metadata"]["name"]
    )
    account = document_of_kind("ServiceAccount", documents)["metadata"]
    assert [(s["name"], s["namespace"]) for s in binding["subjects"]] == [
        (account["name"], account["namespace"])
    ]


# --- arguments and labels ----------------------------------------------------


def test_the_exporter_accepts_its_arguments_and_configuration(
    documents: list[Document], tmp_path: Path
) -> None:
    arguments = build_parser()[0].parse_args(
        ["serve", *container_spec(documents)["args"]]
    )
    flags = overrides(vars(arguments))
    text = document_of_kind("ConfigMap", documents)["data"]
    (tmp_path / "config.yaml").write_text(text["config.yaml"])

    settings = load(str(tmp_path / "config.yaml"), flags)

    assert settings.path.rootfs == "/host"
    port = container_spec(documents)["ports"][0]["containerPort"]
    assert settings.web.addresses == (f":{port}",)
    mounted = {m["mountPath"] for m in container_spec(documents)["volumeMounts"]}
    assert str(Path(vars(arguments)["config.file"]).parent) in mounted
    if settings.web.config_file:
        assert str(Path(settings.web.config_file).parent) in mounted


@pytest.mark.parametrize("path", [*KUSTOMIZATIONS, "chart"])
def test_its_image_and_its_labels_have_this_version(path: str) -> None:
    documents = render(path)

    assert container_spec(documents)["image"] == f"{NAME}:{__version__}"
    for document in documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["app.kubernetes.io/name"] == NAME


def test_the_chart_has_this_version() -> None:
    chart = msgspec.yaml.decode((CHART / "Chart.yaml").read_bytes())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_selector_matches_the_pods_of_every_version(
    documents: list[Document],
) -> None:
    spec = document_of_kind("DaemonSet", documents)["spec"]
    selector = spec["selector"]["matchLabels"]

    assert selector.items() <= spec["template"]["metadata"]["labels"].items()
    assert set(selector) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    for document in documents:
        if document["kind"] == "PodMonitor":
            assert document["spec"]["selector"]["matchLabels"] == selector


def test_references_to_volumes_and_ports_exist(documents: list[Document]) -> None:
    container = container_spec(documents)
    volumes = {volume["name"]: volume for volume in pod_spec(documents)["volumes"]}

    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    settings = document_of_kind("ConfigMap", documents)["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == settings
    (port,) = container["ports"]
    for probe in (container["livenessProbe"], container["readinessProbe"]):
        (action,) = (probe[key] for key in ("httpGet", "tcpSocket") if key in probe)
        assert action["port"] == port["name"]


def test_the_annotations_have_port_and_path() -> None:
    documents = kustomize("overlays/plain")
    template = document_of_kind("DaemonSet", documents)["spec"]["template"]

    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(
            container_spec(documents)["ports"][0]["containerPort"]
        ),
        "prometheus.io/path": "/metrics",
    }


# --- the chart and the kustomizations ----------------------------------------


def _comparable(documents: list[Document]) -> dict[str, Document]:
    """Return the documents by kind, without what only Helm or kustomize adds."""
    by_kind = {d["kind"]: d for d in documents if d["kind"] not in ONLY_KUSTOMIZE}
    for document in by_kind.values():
        _without_helm(document["metadata"])
        _without_hash(document["metadata"])
    settings = by_kind["ConfigMap"]["data"]
    settings["config.yaml"] = msgspec.yaml.decode(settings["config.yaml"])
    template = by_kind["DaemonSet"]["spec"]["template"]
    _without_helm(template["metadata"])
    _without_hash(template["spec"]["volumes"][0]["configMap"])
    return by_kind


def _without_helm(metadata: Document) -> None:
    metadata["labels"].pop("helm.sh/chart", None)
    metadata["labels"].pop("app.kubernetes.io/managed-by", None)
    annotations = metadata.pop("annotations", {})
    assert not set(annotations) - {"checksum/config"}


def _without_hash(metadata: Document) -> None:
    metadata["name"] = re.sub(r"-[a-z0-9]{10}$", "", metadata["name"])


def test_the_chart_renders_the_base_by_default() -> None:
    assert _comparable(render_chart()) == _comparable(kustomize("base"))


def test_the_chart_renders_the_overlay_of_kube_prometheus() -> None:
    labels = {"prometheus": "k8s", "role": "alert-rules"}
    values = {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "labels": labels},
    }

    overlay = _comparable(kustomize("overlays/kube-prometheus"))
    assert _comparable(render_chart(values)) == overlay


@pytest.mark.parametrize(
    ("release", "name"),
    [(NAME, NAME), ("eu", f"eu-{NAME}"), (f"{NAME}-2", f"{NAME}-2")],
)
def test_the_names_of_the_charts_objects_contain_the_release(
    release: str, name: str
) -> None:
    names = {
        d["metadata"]["name"]
        for d in render_chart(ALL_VALUES | {"fullnameOverride": ""}, release=release)
    }

    assert names == {name}


def _schema() -> Any:  # noqa: ANN401
    return json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("values", [{}, ALL_VALUES, NODES_PROXY], ids=str)
def test_the_schema_accepts_valid_values(values: Document) -> None:
    jsonschema.validate(values, _schema())


def test_the_schema_has_every_value_and_rejects_others() -> None:
    defaults = msgspec.yaml.decode((CHART / "values.yaml").read_bytes())

    jsonschema.validate(defaults, _schema())
    assert set(_schema()["properties"]) - {"global"} == set(defaults)
    assert set(ALL_VALUES) | {"resources"} == set(defaults), (
        "ALL_VALUES must have each value"
    )
    invalid: Document
    for invalid in ({"imag": {}}, {"port": "x"}, {"hostPaths": [{"path": "run"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(invalid, _schema())


# --- rules -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["overlays/kube-prometheus", "chart, all values"])
def test_the_rules_are_valid_and_those_of_the_mixin(path: str, tmp_path: Path) -> None:
    document = document_of_kind("PrometheusRule", render(path))
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(document["spec"]))

    subprocess.run(["promtool", "check", "rules", file], check=True)

    assert document["spec"] == msgspec.yaml.decode(rules_yaml(Settings()))


def test_the_rules_select_the_job_of_the_pod_monitor(
    documents: list[Document],
) -> None:
    pod = document_of_kind("DaemonSet", documents)["spec"]["template"]["metadata"]
    for document in documents:
        if document["kind"] == "PodMonitor":
            assert pod["labels"][document["spec"]["jobLabel"]] == Settings().job


# --- the document ------------------------------------------------------------


def _example(beginning: str) -> str:
    """Return the only YAML example in the document that starts with *beginning*."""
    blocks = re.findall(
        r"^```yaml\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE
    )
    (example,) = [block for block in blocks if block.startswith(beginning)]
    assert isinstance(example, str)
    return example


def test_the_documented_kustomization_changes_image_and_configuration(
    tmp_path: Path,
) -> None:
    shutil.copytree(KUBERNETES, tmp_path / NAME / "deploy/kubernetes")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.yaml").write_text("log: {level: debug}\n")
    text = _example("apiVersion: kustomize")
    old = text.replace("resources:", "bases:")  # which every version of kubectl accepts
    (mine / "kustomization.yaml").write_text(old)

    documents = kustomize(str(mine))

    image = f"registry.example/{NAME}:{__version__}"
    assert container_spec(documents)["image"] == image
    data = document_of_kind("ConfigMap", documents)["data"]
    assert data == {"config.yaml": "log: {level: debug}\n"}


def test_the_documented_scrape_configuration_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    text = _example("scrape_configs:")
    # Debian's Prometheus is built without Kubernetes and cannot check that part.
    discovery = re.search(r"    kubernetes_sd_configs:\n(      .*\n)+", text)
    assert discovery
    file.write_text(text.replace(discovery[0], "    file_sd_configs: []\n"))

    subprocess.run(["promtool", "check", "config", file], check=True)


def test_every_value_of_the_chart_is_documented() -> None:
    (table,) = re.findall(
        r"^\| value \| meaning \|\n(.*?)\n\n",
        DOCUMENT.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    listed = {name.split(".")[0] for name in re.findall(r"`(\w+[\w.]*)`", table)}

    assert set(_schema()["properties"]) - {"global"} <= listed
