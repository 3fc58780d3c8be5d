"""The runbooks: one per alert, with existing commands, settings and names only."""

import contextlib
import io
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from exporter import catalog, problems
from exporter.cli.arguments import build_parser
from exporter.config.settings import Config
from exporter.reports.messages import LIMIT_FROM
from exporter.runtimes.records import PollError
from mixin.alerts.exporter import ENTRY_PROBLEMS
from mixin.settings import ALERT_NAMES, AlertOverride, Settings
from tests.mixin.support.known_metrics import all_alerts
from tests.mixin.support.markdown import code_blocks, code_spans, exporter_commands
from tests.mixin.support.problem_names import PROBLEMS, STAGES

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
ALERT_RUNBOOKS = [page for page in PAGES if page.stem != "README"]


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {page.stem for page in ALERT_RUNBOOKS} == set(ALERT_NAMES)


def test_the_index_lists_each_alert_with_its_severity_and_its_for() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (.*?) \| (\w+) \|",
        (RUNBOOKS / "README.md").read_text(),
        re.MULTILINE,
    )

    alerts = {alert.name: alert for alert in all_alerts()}
    assert sorted(row[0] for row in rows) == sorted(ALERT_NAMES)
    for name, page, severity, after in rows:
        alert = alerts[name]
        assert page == name
        assert after == alert.pending_for
        assert severity == alert.severity or (severity, alert.severity) == (
            "the rule's",
            "{{ $labels.severity }}",
        )


@pytest.mark.parametrize("page", ALERT_RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_has_its_sections_in_order(page: Path) -> None:
    text = page.read_text()
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)

    assert text.startswith(f"# {page.stem}\n\n")
    order = ["Impact", "Diagnosis", "Fix", "No action needed", "Tuning"]
    assert [section for section in order if section in sections] == sections
    assert {"Impact", "Diagnosis", "Fix", "Tuning"} <= set(sections)


@pytest.mark.parametrize("page", ALERT_RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_has_an_exporter_command_and_a_query(page: Path) -> None:
    text = page.read_text()

    assert [*exporter_commands(text)]
    assert code_blocks(text, "promql")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_can_be_parsed(page: Path) -> None:
    root, _ = build_parser()
    for words in exporter_commands(page.read_text()):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            try:
                options = vars(root.parse_args(words))
            except SystemExit:
                pytest.fail(f"{words}: {errors.getvalue()}")
        if options.get("sysctl") not in {None, "SYSCTL"}:
            assert options["sysctl"] in {sysctl.name for sysctl in catalog.load()}


def test_an_invalid_command_is_found() -> None:
    root, _ = build_parser()
    text = "`kubectl exec a -- netns-sysctl-exporter explain a b --nope`"
    block = "```\nnetns-sysctl-exporter explains a\n```\n"
    commands = [*exporter_commands(text), *exporter_commands(block)]

    assert commands == [["explain", "a", "b", "--nope"], ["explains", "a"]]
    for words in commands:
        with pytest.raises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            root.parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_sysctl_and_every_key_exists(page: Path) -> None:
    sysctls = {sysctl.name for sysctl in catalog.load()}
    sections = {
        field.encode_name: field.type for field in msgspec.structs.fields(Config)
    }
    for span in code_spans(page.read_text()):
        for name in re.findall(r"\bnet\.(?:core|ipv4|ipv6|netfilter)\.[\w.]*\w", span):
            assert name in sysctls
        if found := re.fullmatch(r"([a-z]+)\.([a-z_]+)", span):
            section, key = found.groups()
            if section in sections:
                assert key in sections[section].__struct_fields__, span


@pytest.mark.parametrize("page", ALERT_RUNBOOKS, ids=lambda page: page.stem)
def test_every_setting_exists(page: Path) -> None:
    keys = {
        field.encode_name
        for struct in (Settings, AlertOverride)
        for field in msgspec.structs.fields(struct)
    }
    _, _, tune = page.read_text().partition("\n## Tuning\n")
    before, _, _ = tune.partition("in the\n[settings]")
    before, _, _ = before.partition("in the [settings]")

    named = code_spans(before)
    assert named
    assert set(named) <= keys


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "dashboards/README.md"],
    ids=lambda page: f"{page.parent.name}/{page.stem}",
)
def test_links_have_existing_targets(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file.read_text()), target


def _anchors(text: str) -> set[str]:
    """Return the anchors of the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


# --- names of the exporter ----------------------------------------------------


def _first_column(page: str) -> set[str]:
    text = (RUNBOOKS / f"{page}.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_the_runbook_explains_every_problem_and_no_other() -> None:
    table = _first_column("NetnsSysctlExporterProblem")

    assert table == PROBLEMS - set(ENTRY_PROBLEMS)
    assert set(ENTRY_PROBLEMS) <= PROBLEMS


def test_the_problems_of_a_runtime_are_the_errors_of_a_poll() -> None:
    assert set(problems._POLL_ERRORS) == set(get_args(PollError)) - {"absent"}


def test_the_runbook_explains_every_reason_for_unreadable_namespaces() -> None:
    assert _first_column("NetnsSysctlExporterBlind") == set(problems._REMEDIES)


def test_the_runbook_explains_every_collection_stage() -> None:
    assert _first_column("NetnsSysctlExporterStageFailed") == STAGES
    assert len(STAGES) == 4


def test_the_runbook_has_the_limit_sources_of_explain() -> None:
    sources = {text for text in LIMIT_FROM.values() if "stale" not in text}
    table = _first_column("NetnsListenOverflows") - {"stale"}

    assert table == sources
