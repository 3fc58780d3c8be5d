"""`python -m mixin`: files with other settings, and invalid settings."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from mixin.__main__ import main
from tests.mixin.support.rule_files import rules_by_name

SETTINGS = """
job: sysctls
runbooks: https://wiki.example/netns/
window: 10s
gap: 5s
accept_queue: 0.5
labels: {team: "net'work"}
alerts:
  NetnsListenerNearlyFull: {for: 1s, keep_firing_for: 0s, severity: critical}
  NetnsListenerStale: {enabled: false}
"""


def test_the_settings_apply_to_the_rules(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    output = tmp_path / "made/here"
    settings = f"--settings={tmp_path / 'settings.yaml'}"

    assert main([settings, f"--output={output}"]) == 0

    rules = rules_by_name((output / "rules.yaml").read_text())
    alert = rules["NetnsListenerNearlyFull"]
    assert (alert["for"], alert.get("keep_firing_for")) == ("1s", None)
    assert alert["labels"] == {"team": "net'work", "severity": "critical"}
    assert "[5s]" in str(alert["expr"])
    assert str(alert["expr"]).endswith("> 0.5\n)")
    assert "https://wiki.example/netns/NetnsListenerNearlyFull.md" in (
        msgspec.json.encode(alert["annotations"]).decode()
    )
    assert "[10s]" in str(rules["NetnsListenOverflows"]["expr"])
    assert rules["NetnsSysctlExporterDown"]["expr"] == 'up{job="sysctls"} == 0'
    assert "NetnsListenerStale" not in rules
    subprocess.run(["promtool", "check", "rules", output / "rules.yaml"], check=True)


@pytest.mark.parametrize(
    ("settings", "message"),
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
def test_invalid_settings_are_reported_with_the_file_and_the_cause(
    settings: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(settings)

    assert main([f"--settings={file}", f"--output={tmp_path / 'made'}"]) == 2

    output = capsys.readouterr().err
    assert message in output
    assert str(file) in output
    assert "Traceback" not in output
    assert not (tmp_path / "made").exists()


def test_a_missing_settings_file_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--settings={tmp_path / 'no'}", f"--output={tmp_path}"]) == 2

    assert str(tmp_path / "no") in capsys.readouterr().err
