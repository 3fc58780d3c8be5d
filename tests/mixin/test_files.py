"""The generated files: those that are committed, and their two forms."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from mixin.files import deployment_files, generated_files
from mixin.recording_rules import recorded_names
from mixin.settings import ALERT_NAMES, Settings
from tests.mixin.support.rule_files import rules_by_name

ROOT = Path(__file__).parents[2]

COMMITTED = {
    **{
        f"dashboards/{name}": text for name, text in generated_files(Settings()).items()
    },
    **deployment_files(),
}


@pytest.mark.parametrize("path", COMMITTED)
def test_a_committed_file_is_current(path: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-docs"):
        (ROOT / path).write_text(COMMITTED[path])

    assert (ROOT / path).read_text() == COMMITTED[path], "run `make docs`"


def test_the_rule_file_and_the_prometheusrule_have_the_same_rules() -> None:
    rules = yaml.safe_load(COMMITTED["dashboards/rules.yaml"])
    resource = yaml.safe_load(COMMITTED["dashboards/prometheusrule.yaml"])

    assert resource["spec"] == rules


def test_every_alert_and_every_recording_rule_is_in_the_rule_file() -> None:
    rules = rules_by_name(COMMITTED["dashboards/rules.yaml"])

    alerts = {name for name, rule in rules.items() if "alert" in rule}
    assert alerts == set(ALERT_NAMES)
    assert rules.keys() - alerts == recorded_names()


def test_promtool_accepts_the_rules_without_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(COMMITTED["dashboards/rules.yaml"])

    subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", file], check=True
    )


def test_the_documented_inhibitions_are_valid_and_name_existing_alerts(
    tmp_path: Path,
) -> None:
    text = (ROOT / "dashboards/README.md").read_text()
    (example,) = re.findall(r"```yaml\n(inhibit_rules:.*?)```", text, re.DOTALL)
    file = tmp_path / "alertmanager.yml"
    file.write_text(f"route: {{receiver: a}}\nreceivers: [{{name: a}}]\n{example}")

    subprocess.run(["amtool", "check-config", file], check=True)

    assert set(re.findall(r"Netns\w+", example)) <= set(ALERT_NAMES)
