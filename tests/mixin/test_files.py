"""What `python -m mixin` writes: the committed files, and those of other settings."""

import re
import subprocess
from pathlib import Path

import msgspec
import pytest
import yaml  # type: ignore[import-untyped]

from mixin import files
from mixin import recording_rules as records
from mixin.__main__ import main
from mixin.settings import ALERTS, Settings, SettingsError, Tuning, parse
from tests.mixin.support.promtool import Labels, Series, failures, node, of, pod

ROOT = Path(__file__).parents[2]

COMMITTED = {
    **{f"dashboards/{name}": text for name, text in files.files(Settings()).items()},
    **files.deployments(),
}


@pytest.mark.parametrize("path", COMMITTED)
def test_a_committed_file_is_current(path: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-docs"):
        (ROOT / path).write_text(COMMITTED[path])

    assert (ROOT / path).read_text() == COMMITTED[path], "run `make docs`"


def written(tmp_path: Path, settings: str) -> Path:
    (tmp_path / "settings.yaml").write_text(settings)
    output = tmp_path / "made/here"
    arguments = [f"--settings={tmp_path / 'settings.yaml'}", f"--output={output}"]
    assert main(arguments) == 0
    return output


def rules_of(text: str) -> dict[str, dict[str, object]]:
    groups = yaml.safe_load(text)["groups"]
    return {
        rule.get("alert", rule.get("record")): rule
        for group in groups
        for rule in group["rules"]
    }


def test_settings_change_what_is_written(tmp_path: Path) -> None:
    output = written(
        tmp_path,
        """
        job: sysctls
        runbooks: https://wiki.example/netns/
        window: 10s
        gap: 5s
        accept_queue: 0.5
        labels: {team: "net'work"}
        alerts:
          NetnsListenerNearlyFull: {for: 1s, keep_firing_for: 0s, severity: critical}
          NetnsListenerStale: {enabled: false}
        """,
    )

    rules = rules_of((output / "rules.yaml").read_text())
    full = rules["NetnsListenerNearlyFull"]
    assert (full["for"], full.get("keep_firing_for")) == ("1s", None)
    assert full["labels"] == {"team": "net'work", "severity": "critical"}
    assert "[5s]" in str(full["expr"])
    assert str(full["expr"]).endswith("> 0.5\n)")
    assert '"runbook_url": "https://wiki.example/netns/NetnsListenerNearlyFull.md"' in (
        msgspec.json.encode(full).decode().replace('":"', '": "')
    )
    assert "[10s]" in str(rules["NetnsListenOverflows"]["expr"])
    assert rules["NetnsSysctlExporterDown"]["expr"] == 'up{job="sysctls"} == 0'
    assert "NetnsListenerStale" not in rules
    subprocess.run(["promtool", "check", "rules", output / "rules.yaml"], check=True)


def test_both_forms_have_the_same_rules(tmp_path: Path) -> None:
    output = written(tmp_path, "{}")

    rules = yaml.safe_load((output / "rules.yaml").read_text())
    resource = yaml.safe_load((output / "prometheusrule.yaml").read_text())
    assert resource["spec"] == rules


def test_every_alert_is_there() -> None:
    rules = rules_of(COMMITTED["dashboards/rules.yaml"])

    assert {name for name, rule in rules.items() if "alert" in rule} == set(ALERTS)
    assert {name for name, rule in rules.items() if "record" in rule} == records.names()


def test_promtool_has_nothing_against_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(COMMITTED["dashboards/rules.yaml"])

    subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", file], check=True
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("jobs: a", "unknown field `jobs`; did you mean 'job'?"),
        ("alerts: {NetnsListenOverflow: {}}", "did you mean 'NetnsListenOverflows'?"),
        ("alerts: {NetnsListenOverflows: {fro: 5m}}", "did you mean 'for'?"),
        ("accept_queue: 80", "$.accept_queue"),
        ("window: 5 minutes", "$.window"),
        ("window: ''", "$.window"),
        ("labels: {'a-b': c}", "$.labels"),
        ("[", "settings.yaml"),
        ("!!bool x", "not YAML"),
    ],
)
def test_settings_that_cannot_be_used_are_told(
    settings: str,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(settings)

    assert main([f"--settings={file}", f"--output={tmp_path / 'made'}"]) == 2

    told = capsys.readouterr().err
    assert said in told
    assert str(file) in told
    assert "Traceback" not in told
    assert not (tmp_path / "made").exists()


def test_a_file_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--settings={tmp_path / 'no'}", f"--output={tmp_path}"]) == 2

    assert str(tmp_path / "no") in capsys.readouterr().err


def test_an_empty_file_is_the_defaults() -> None:
    assert parse(b"", "a") == Settings()
    with pytest.raises(SettingsError, match=r"^a: "):
        parse(b"[]", "a")


def test_every_setting_is_documented_and_the_example_can_be_used() -> None:
    text = (ROOT / "dashboards/README.md").read_text()
    (example,) = re.findall(r"```yaml\n(job: .*?)```", text, re.DOTALL)

    assert parse(example.encode(), "README.md") != Settings()
    for kind in (Settings, Tuning):
        for key in msgspec.structs.fields(kind):
            assert re.search(
                rf"^\| `(alerts\.NAME\.)?{key.encode_name}` \|", text, re.MULTILINE
            )


def test_the_inhibitions_are_right_and_of_alerts_that_exist(tmp_path: Path) -> None:
    text = (ROOT / "dashboards/README.md").read_text()
    (example,) = re.findall(r"```yaml\n(inhibit_rules:.*?)```", text, re.DOTALL)
    file = tmp_path / "alertmanager.yml"
    file.write_text(f"route: {{receiver: a}}\nreceivers: [{{name: a}}]\n{example}")

    subprocess.run(["amtool", "check-config", file], check=True)

    named = set(re.findall(r"Netns\w+", example))
    assert named <= set(ALERTS)


# --- recording rules ---------------------------------------------------------


EU = node(cluster="eu")


def twice(name: str, value: int, on: Labels, **labels: str) -> tuple[Series, Series]:
    """Return a series as two jobs scrape it."""
    other = {**on, "job": "other"}
    return (
        of(on, name, f"{value}x20", **labels),
        of(other, name, f"{value}x20", **labels),
    )


@pytest.mark.parametrize(
    ("record", "series", "samples"),
    [
        (
            "instance:netns_tcpext_listen_overflows:rate5m",
            (
                of(pod(), "netns_tcpext_listen_overflows_total", "0+60x20"),
                of(
                    pod(on=node(job="other")),
                    "netns_tcpext_listen_overflows_total",
                    "0+60x20",
                ),
                of(pod("web-1"), "netns_tcpext_listen_overflows_total", "0+120x20"),
            ),
            {'{instance="node-1"}': 3},
        ),
        (
            "cluster_namespace:netns_tcpext_listen_overflows:rate5m",
            (
                of(pod(), "netns_tcpext_listen_overflows_total", "0+60x20"),
                of(pod(on=EU), "netns_tcpext_listen_overflows_total", "0+120x20"),
                of(pod("a", on=EU), "netns_tcpext_listen_overflows_total", "0+60x20"),
            ),
            {'{namespace="shop"}': 1, '{cluster="eu",namespace="shop"}': 3},
        ),
        (
            "instance_resource:netns_fill_ratio:max",
            (
                *twice("netns_fill_ratio", 1, pod(), resource="ports"),
                *twice("netns_fill_ratio", 3, pod("web-1"), resource="ports"),
            ),
            {'{instance="node-1",resource="ports"}': 3},
        ),
        (
            "cluster_sysctl_origin:netns_sysctl_drifting_namespaces:sum",
            (
                *twice(
                    "netns_sysctl_drifting_namespaces", 3, EU, sysctl="a", origin="b"
                ),
                *twice(
                    "netns_sysctl_drifting_namespaces",
                    4,
                    node("node-2", cluster="eu"),
                    sysctl="a",
                    origin="b",
                ),
            ),
            {'{cluster="eu",sysctl="a",origin="b"}': 7},
        ),
        (
            "cluster_sysctl_field:netns_sysctl_lowest_value:min",
            (
                *twice("netns_sysctl_lowest_value", 3, node(), sysctl="a", field="b"),
                *twice(
                    "netns_sysctl_lowest_value", 4, node("b"), sysctl="a", field="b"
                ),
            ),
            {'{sysctl="a",field="b"}': 3},
        ),
        (
            "cluster_sysctl_field:netns_sysctl_highest_value:max",
            (
                *twice("netns_sysctl_highest_value", 3, node(), sysctl="a"),
                *twice("netns_sysctl_highest_value", 4, node("b"), sysctl="a"),
            ),
            {'{sysctl="a"}': 4},
        ),
        (
            "cluster:netns_namespaces:sum",
            (
                *twice("netns_namespaces", 9, node(), state="read"),
                *twice("netns_namespaces", 1, node(), state="unreadable", reason="a"),
                *twice("netns_namespaces", 2, node(), state="unreadable", reason="b"),
                *twice("netns_namespaces", 9, node("node-2"), state="read"),
            ),
            {'{state="read"}': 18, '{state="unreadable"}': 3},
        ),
        (
            "cluster_sysctl_rule:netns_sysctl_policy_violation:sum",
            (
                *twice(
                    "netns_sysctl_policy_violation",
                    1,
                    pod(),
                    sysctl="a",
                    rule="b",
                    severity="info",
                ),
                *twice(
                    "netns_sysctl_policy_violation",
                    1,
                    pod("web-1"),
                    sysctl="a",
                    rule="b",
                    severity="info",
                ),
            ),
            {'{sysctl="a",rule="b",severity="info"}': 2},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_recording_rule(
    record: str, series: tuple[Series, ...], samples: dict[str, float], tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(COMMITTED["dashboards/rules.yaml"])
    wanted = {
        "expr": record,
        "eval_time": "15m",
        "exp_samples": [
            {"labels": f"{record}{labels}", "value": value}
            for labels, value in samples.items()
        ],
    }

    assert not failures(file, tmp_path, series, {"promql_expr_test": [wanted]})


@pytest.mark.parametrize("name", sorted(records.names()))
def test_a_recorded_name_says_its_labels_and_its_operation(name: str) -> None:
    table = (ROOT / "dashboards/README.md").read_text()
    level, metric, operation = name.split(":")
    (rule,) = [rule for rule in records.rules() if rule.record == name]

    first = re.match(r"(\w+) by \((.*?)\)", rule.expr)
    assert first
    kept = set(first[2].split(", "))
    assert set(level.split("_")) <= kept
    assert metric in rule.expr
    labels = ", ".join(f"`{label}`" for label in first[2].split(", "))
    assert f"| `{name}` | {labels} |" in table
    assert first[1] == operation or operation == "rate5m"
