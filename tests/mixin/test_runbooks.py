"""The runbooks: one for each alert, of commands, settings and words that exist."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from exporter import catalog, problems
from exporter.cli import parser
from exporter.config import Config
from exporter.runtimes.container import Failure
from exporter.words import LIMIT_FROM
from mixin import alerts
from mixin.alerts.exporter import CANNOT_ENTER
from mixin.rules import Alert
from mixin.settings import ALERTS, Settings, Tuning
from tests.mixin.support.problem_names import PARTS, PROBLEMS

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
OF_ALERTS = [page for page in PAGES if page.stem != "README"]

COMMAND = "netns-sysctl-exporter"

_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


def blocks(text: str, language: str = "") -> list[str]:
    """Return what is fenced in a language."""
    return [body for kind, body in _FENCED.findall(text) if kind == language]


def spans(text: str) -> list[str]:
    """Return what stands between backticks, wherever a line breaks."""
    return [
        re.sub(r"\s*\n\s*", " ", span) for span in _SPAN.findall(_FENCED.sub("", text))
    ]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each of our commands, also run in a container."""
    lines = [line for body in blocks(text) for line in body.splitlines()]
    for line in [*lines, *spans(text)]:
        words = shlex.split(line.partition(" |")[0]) if COMMAND in line else []
        for at, word in enumerate(words[:-1]):
            before = words[at - 1] if at else "--"
            if word == COMMAND and before in {"--", COMMAND}:
                yield words[at + 1 :]


def of_alerts() -> dict[str, Alert]:
    return {
        one.name: one
        for group in alerts.groups(Settings())
        for one in group.rules
        if isinstance(one, Alert)
    }


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {page.stem for page in OF_ALERTS} == set(ALERTS)


def test_the_index_has_each_with_its_severity_and_its_time() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (.*?) \| (\w+) \|",
        (RUNBOOKS / "README.md").read_text(),
        re.MULTILINE,
    )

    assert sorted(row[0] for row in rows) == sorted(ALERTS)
    for name, page, severity, after in rows:
        alert = of_alerts()[name]
        assert page == name
        assert after == alert.wait
        assert severity == alert.severity or (severity, alert.severity) == (
            "the rule's",
            "{{ $labels.severity }}",
        )


@pytest.mark.parametrize("page", OF_ALERTS, ids=lambda page: page.stem)
def test_a_runbook_has_its_parts_in_order(page: Path) -> None:
    text = page.read_text()
    parts = re.findall(r"^## (.*)$", text, re.MULTILINE)

    assert text.startswith(f"# {page.stem}\n\n")
    wanted = ["Impact", "Diagnosis", "Fix", "No action needed", "Tuning"]
    assert [part for part in wanted if part in parts] == parts
    assert {"Impact", "Diagnosis", "Fix", "Tuning"} <= set(parts)


@pytest.mark.parametrize("page", OF_ALERTS, ids=lambda page: page.stem)
def test_a_runbook_has_a_command_of_ours_and_a_query(page: Path) -> None:
    text = page.read_text()

    assert [*commands(text)]
    assert blocks(text, "promql")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_can_be_parsed(page: Path) -> None:
    root, _ = parser()
    for words in commands(page.read_text()):
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            try:
                given = vars(root.parse_args(words))
            except SystemExit:
                pytest.fail(f"{words}: {told.getvalue()}")
        if given.get("sysctl") not in {None, "SYSCTL"}:
            assert given["sysctl"] in {one.name for one in catalog.load()}


def test_what_is_no_command_is_noticed() -> None:
    root, _ = parser()
    text = "`kubectl exec a -- netns-sysctl-exporter explain a b --nope`"
    block = "```\nnetns-sysctl-exporter explains a\n```\n"
    found = [*commands(text), *commands(block)]

    assert found == [["explain", "a", "b", "--nope"], ["explains", "a"]]
    for words in found:
        with pytest.raises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            root.parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_sysctl_and_every_key_exists(page: Path) -> None:
    sysctls = {one.name for one in catalog.load()}
    sections = {one.encode_name: one.type for one in msgspec.structs.fields(Config)}
    for span in spans(page.read_text()):
        for name in re.findall(r"\bnet\.(?:core|ipv4|ipv6|netfilter)\.[\w.]*\w", span):
            assert name in sysctls
        if found := re.fullmatch(r"([a-z]+)\.([a-z_]+)", span):
            section, key = found.groups()
            if section in sections:
                assert key in sections[section].__struct_fields__, span


@pytest.mark.parametrize("page", OF_ALERTS, ids=lambda page: page.stem)
def test_every_setting_exists(page: Path) -> None:
    keys = {
        key.encode_name
        for kind in (Settings, Tuning)
        for key in msgspec.structs.fields(kind)
    }
    _, _, tune = page.read_text().partition("\n## Tuning\n")
    before, _, _ = tune.partition("in the\n[settings]")
    before, _, _ = before.partition("in the [settings]")

    named = spans(before)
    assert named
    assert set(named) <= keys


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "dashboards/README.md"],
    ids=lambda page: f"{page.parent.name}/{page.stem}",
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in _anchors(there.read_text()), target


def _anchors(text: str) -> set[str]:
    """Return what a heading is called in an address."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


# --- the exporter's own words ------------------------------------------------


def _first_column(page: str) -> set[str]:
    text = (RUNBOOKS / f"{page}.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_problem_is_explained_and_every_explained_problem_exists() -> None:
    table = _first_column("NetnsSysctlExporterProblem")

    assert table == PROBLEMS - set(CANNOT_ENTER)
    assert set(CANNOT_ENTER) <= PROBLEMS


def test_the_problems_of_a_runtime_are_what_an_answer_may_lack() -> None:
    assert set(problems._ERRORS) == set(get_args(Failure)) - {"absent"}


def test_every_reason_for_being_blind_is_explained() -> None:
    assert _first_column("NetnsSysctlExporterBlind") == set(problems._REMEDIES)


def test_every_part_of_a_pass_is_explained() -> None:
    assert _first_column("NetnsSysctlExporterStageFailed") == PARTS
    assert len(PARTS) == 4


def test_what_explain_says_of_a_limit_is_what_it_says() -> None:
    said = {words for words in LIMIT_FROM.values() if "stale" not in words}
    table = _first_column("NetnsListenOverflows") - {"stale"}

    assert table == said
