"""The kustomizations and the chart: valid, alike, and what the documents say."""

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
from tests.deploy.crds import CRDS
from tests.deploy.manifests import (
    CHART,
    KUBERNETES,
    KUSTOMIZATIONS,
    NAME,
    ROOT,
    Document,
    charted,
    container_of,
    kustomized,
    one,
    pod_of,
)

PAGE = ROOT / "docs/install/kubernetes.md"

VERSIONS = ("1.30", "1.35", "1.36", "1.37")
"""The oldest that knows appArmorProfile, and the last three that there are."""

ADDED_BY_KUBERNETES = {"Namespace", "Role", "RoleBinding"}
"""What only the kustomizations have: Helm's user makes the namespace."""

EVERYTHING: Document = {
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
OTHER_WAY: Document = {
    "kubelet": {"enabled": True, "insecure": True, "nodesProxy": True}
}

CHARTS = {
    "chart": {},
    "chart, everything": EVERYTHING,
    "chart, nodes/proxy": OTHER_WAY,
}


def rendered(way: str) -> list[Document]:
    return charted(CHARTS[way]) if way in CHARTS else kustomized(way)


@pytest.fixture(params=[*KUSTOMIZATIONS, *CHARTS])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """Every way to install it, one after another."""
    return rendered(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_it(documents: list[Document], version: str) -> None:
    for document in documents:
        if document["kind"] in CRDS:
            jsonschema.validate(document, CRDS[document["kind"]])
        else:
            kubernetes_validate.validate(document, version, strict=True)


def test_what_kubernetes_does_not_take_is_noticed() -> None:
    wrong = one("DaemonSet", kustomized("base"))
    wrong["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)

    monitor = one("PodMonitor", kustomized("overlays/prometheus-operator"))
    monitor["spec"]["podMetricsEndpoints"][0]["honorLabel"] = True
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(monitor, CRDS["PodMonitor"])


# --- what it may do ----------------------------------------------------------


def test_it_has_no_more_rights_than_the_processes_ask_for(
    documents: list[Document],
) -> None:
    """SECURITY.md: three to collect; three more so that the server becomes nobody."""
    assert container_of(documents)["securityContext"] == {
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
    pod = pod_of(documents)
    assert (pod["hostPID"], pod["hostNetwork"]) == (True, True)
    assert "hostIPC" not in pod


def test_its_rights_are_explained(documents: list[Document]) -> None:
    context = container_of(documents)["securityContext"]

    for capability in context["capabilities"]["add"]:
        assert re.search(rf"^\|.*`{capability}`", PAGE.read_text(), re.MULTILINE)


def test_it_sees_of_the_node_only_what_is_documented(documents: list[Document]) -> None:
    page = PAGE.read_text()
    volumes = pod_of(documents)["volumes"]
    mounts = {m["name"]: m for m in container_of(documents)["volumeMounts"]}

    assert len(mounts) == len(volumes)
    assert all(mount["readOnly"] for mount in mounts.values())
    for volume in volumes:
        if "hostPath" in volume:
            path = volume["hostPath"]["path"]
            assert f"| `{path}` |" in page
            assert mounts[volume["name"]]["mountPath"] == f"/host{path}"


def test_it_has_a_token_only_for_the_kubelet(documents: list[Document]) -> None:
    account = one("ServiceAccount", documents)
    asks = any(d["kind"] == "ClusterRole" for d in documents)

    assert account["automountServiceAccountToken"] is False
    assert pod_of(documents)["automountServiceAccountToken"] is asks
    assert pod_of(documents)["serviceAccountName"] == account["metadata"]["name"]


@pytest.mark.parametrize(
    ("values", "resource"), [(EVERYTHING, "nodes/pods"), (OTHER_WAY, "nodes/proxy")]
)
def test_the_kubelets_role_is_one_verb_on_one_thing(
    values: Document, resource: str
) -> None:
    documents = charted(values)

    rules = [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]
    assert one("ClusterRole", documents)["rules"] == rules
    binding = one("ClusterRoleBinding", documents)
    assert (
        binding["roleRef"]["name"] == one("ClusterRole", documents)["metadata"]["name"]
    )
    account = one("ServiceAccount", documents)["metadata"]
    assert [(s["name"], s["namespace"]) for s in binding["subjects"]] == [
        (account["name"], account["namespace"])
    ]


# --- what it runs ------------------------------------------------------------


def test_its_arguments_and_its_configuration_are_taken(
    documents: list[Document], tmp_path: Path
) -> None:
    arguments = build_parser()[0].parse_args(
        ["serve", *container_of(documents)["args"]]
    )
    flags = overrides(vars(arguments))
    text = one("ConfigMap", documents)["data"]
    (tmp_path / "config.yaml").write_text(text["config.yaml"])

    settings = load(str(tmp_path / "config.yaml"), flags)

    assert settings.path.rootfs == "/host"
    port = container_of(documents)["ports"][0]["containerPort"]
    assert settings.web.addresses == (f":{port}",)
    mounted = {m["mountPath"] for m in container_of(documents)["volumeMounts"]}
    assert str(Path(vars(arguments)["config.file"]).parent) in mounted
    if settings.web.config_file:
        assert str(Path(settings.web.config_file).parent) in mounted


@pytest.mark.parametrize("path", [*KUSTOMIZATIONS, "chart"])
def test_its_image_and_its_labels_have_this_version(path: str) -> None:
    documents = rendered(path)

    assert container_of(documents)["image"] == f"{NAME}:{__version__}"
    for document in documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == __version__
        assert labels["app.kubernetes.io/name"] == NAME


def test_the_chart_has_this_version() -> None:
    chart = msgspec.yaml.decode((CHART / "Chart.yaml").read_bytes())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_selector_finds_the_pods_and_keeps_when_versions_change(
    documents: list[Document],
) -> None:
    spec = one("DaemonSet", documents)["spec"]
    selector = spec["selector"]["matchLabels"]

    assert selector.items() <= spec["template"]["metadata"]["labels"].items()
    assert set(selector) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    for document in documents:
        if document["kind"] == "PodMonitor":
            assert document["spec"]["selector"]["matchLabels"] == selector


def test_volumes_and_ports_are_called_by_their_names(documents: list[Document]) -> None:
    container = container_of(documents)
    volumes = {volume["name"]: volume for volume in pod_of(documents)["volumes"]}

    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    settings = one("ConfigMap", documents)["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == settings
    (port,) = container["ports"]
    for probe in (container["livenessProbe"], container["readinessProbe"]):
        (action,) = (probe[key] for key in ("httpGet", "tcpSocket") if key in probe)
        assert action["port"] == port["name"]


def test_the_annotations_say_port_and_path() -> None:
    documents = kustomized("overlays/plain")
    template = one("DaemonSet", documents)["spec"]["template"]

    assert template["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(container_of(documents)["ports"][0]["containerPort"]),
        "prometheus.io/path": "/metrics",
    }


# --- the chart and the kustomizations ----------------------------------------


def _comparable(documents: list[Document]) -> dict[str, Document]:
    """Return them by kind, without what is Helm's or kustomize's own."""
    found = {d["kind"]: d for d in documents if d["kind"] not in ADDED_BY_KUBERNETES}
    for document in found.values():
        _without_helm(document["metadata"])
        _without_hash(document["metadata"])
    settings = found["ConfigMap"]["data"]
    settings["config.yaml"] = msgspec.yaml.decode(settings["config.yaml"])
    template = found["DaemonSet"]["spec"]["template"]
    _without_helm(template["metadata"])
    _without_hash(template["spec"]["volumes"][0]["configMap"])
    return found


def _without_helm(metadata: Document) -> None:
    metadata["labels"].pop("helm.sh/chart", None)
    metadata["labels"].pop("app.kubernetes.io/managed-by", None)
    annotations = metadata.pop("annotations", {})
    assert not set(annotations) - {"checksum/config"}


def _without_hash(metadata: Document) -> None:
    metadata["name"] = re.sub(r"-[a-z0-9]{10}$", "", metadata["name"])


def test_the_charts_defaults_are_the_base() -> None:
    assert _comparable(charted()) == _comparable(kustomized("base"))


def test_the_charts_monitoring_is_that_of_kube_prometheus() -> None:
    labels = {"prometheus": "k8s", "role": "alert-rules"}
    values = {
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True, "labels": labels},
    }

    overlay = _comparable(kustomized("overlays/kube-prometheus"))
    assert _comparable(charted(values)) == overlay


@pytest.mark.parametrize(
    ("release", "name"),
    [(NAME, NAME), ("eu", f"eu-{NAME}"), (f"{NAME}-2", f"{NAME}-2")],
)
def test_the_charts_objects_are_called_after_the_release(
    release: str, name: str
) -> None:
    names = {
        d["metadata"]["name"]
        for d in charted(EVERYTHING | {"fullnameOverride": ""}, release=release)
    }

    assert names == {name}


def _schema() -> Any:  # noqa: ANN401
    return json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("values", [{}, EVERYTHING, OTHER_WAY], ids=str)
def test_the_schema_takes_values(values: Document) -> None:
    jsonschema.validate(values, _schema())


def test_the_schema_knows_every_value_and_no_other() -> None:
    defaults = msgspec.yaml.decode((CHART / "values.yaml").read_bytes())

    jsonschema.validate(defaults, _schema())
    assert set(_schema()["properties"]) - {"global"} == set(defaults)
    assert set(EVERYTHING) | {"resources"} == set(defaults), "try each"
    wrong: Document
    for wrong in ({"imag": {}}, {"port": "x"}, {"hostPaths": [{"path": "run"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, _schema())


# --- rules -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["overlays/kube-prometheus", "chart, everything"])
def test_the_rules_are_those_of_the_mixin_and_right(path: str, tmp_path: Path) -> None:
    document = one("PrometheusRule", rendered(path))
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(document["spec"]))

    subprocess.run(["promtool", "check", "rules", file], check=True)

    assert document["spec"] == msgspec.yaml.decode(rules_yaml(Settings()))


def test_the_rules_are_about_the_job_that_the_pod_monitor_makes(
    documents: list[Document],
) -> None:
    pod = one("DaemonSet", documents)["spec"]["template"]["metadata"]
    for document in documents:
        if document["kind"] == "PodMonitor":
            assert pod["labels"][document["spec"]["jobLabel"]] == Settings().job


# --- the page ----------------------------------------------------------------


def _example(beginning: str) -> str:
    """Return the page's only YAML that begins so."""
    blocks = re.findall(
        r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    (found,) = [block for block in blocks if block.startswith(beginning)]
    assert isinstance(found, str)
    return found


def test_the_pages_kustomization_changes_image_and_configuration(
    tmp_path: Path,
) -> None:
    shutil.copytree(KUBERNETES, tmp_path / NAME / "deploy/kubernetes")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.yaml").write_text("log: {level: debug}\n")
    text = _example("apiVersion: kustomize")
    old = text.replace("resources:", "bases:")  # which every kubectl takes
    (mine / "kustomization.yaml").write_text(old)

    documents = kustomized(str(mine))

    image = f"registry.example/{NAME}:{__version__}"
    assert container_of(documents)["image"] == image
    data = one("ConfigMap", documents)["data"]
    assert data == {"config.yaml": "log: {level: debug}\n"}


def test_the_pages_scrape_configuration_is_prometheuss(tmp_path: Path) -> None:
    file = tmp_path / "prometheus.yml"
    text = _example("scrape_configs:")
    # Debian's Prometheus is built without Kubernetes, and cannot judge that part.
    discovery = re.search(r"    kubernetes_sd_configs:\n(      .*\n)+", text)
    assert discovery
    file.write_text(text.replace(discovery[0], "    file_sd_configs: []\n"))

    subprocess.run(["promtool", "check", "config", file], check=True)


def test_the_page_has_every_value_of_the_chart() -> None:
    (table,) = re.findall(
        r"^\| value \| meaning \|\n(.*?)\n\n",
        PAGE.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    listed = {name.split(".")[0] for name in re.findall(r"`(\w+[\w.]*)`", table)}

    assert set(_schema()["properties"]) - {"global"} <= listed
