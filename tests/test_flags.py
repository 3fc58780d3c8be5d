"""Every command-line flag that a message or a document names exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from exporter.cli.arguments import PROG, build_parser
from exporter.config.settings import Config

ROOT = Path(__file__).parents[1]
PARSER, COMMANDS = build_parser()
SECTIONS = {field.name for field in msgspec.structs.fields(Config)}

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9._-]*[a-z0-9]")

COMMAND = re.compile(
    # Its name and a command; or a line with its name and flags, which is `serve`.
    rf"{PROG}[ ]+({'|'.join(COMMANDS)})\b([^|;&`#\n]*)"
    rf"|^[ ]*(?:\S+/)?{PROG}[ ]+(--[^|;&`#\n]*)"
    r"|make run ARGS=\"([^\"]*)\"",
    re.MULTILINE,
)

INTERNAL = {"--file-reader-role", "--runtime-poller-role", "--server-role"}
"""Of the exporter's own processes, which main() takes before it parses a command."""

OTHER_TOOLS = {  # a tool, and its flags that are named anywhere
    "alertmanager": {"--cluster.listen-address", "--storage.path"},
    "conmon": {"--bundle"},
    "curl": {"--unix-socket"},
    "debootstrap": {"--include", "--variant"},
    "demo/web.py": {"--as-an-old-kernel"},
    "docker compose": {"--build", "--detach", "--no-deps", "--volumes"},
    "docker": {
        *("--build-arg", "--cap-add", "--cap-drop", "--cgroup-parent", "--detach"),
        *(
            "--name",
            "--network",
            "--pid",
            "--publish",
            "--read-only",
            "--restart",
            "--security-opt",
        ),
        *("--sysctl", "--user", "--userns", "--volume"),
    },
    "helm": {"--namespace", "--set"},
    "kubelet": {"--cgroup-root"},
    "kubectl": {"--from-file", "--previous", "--raw"},
    "make bench": {"--check", "--fleet", "--write"},
    "make mixin": {"--settings"},
    "make soak": {"--attacks"},
    "mimirtool": {"--address", "--id"},
    "nsenter": {"--net", "--target"},
    "pip": {
        *("--force-reinstall", "--no-build-isolation", "--no-deps", "--only-binary"),
        *("--python-version", "--quiet", "--require-hashes"),
    },
    "podman": {"--cgroups", "--hostname", "--runtime", "--sysctl"},
    "prometheus": {"--storage.tsdb.path"},
    "pytest": {"--update-docs"},
    "systemctl": {"--now"},
    "thanos": {"--query", "--rule-file"},
}
OF_OTHERS = set().union(*OTHER_TOOLS.values())


def string_literals(path: Path) -> str:
    return "\n".join(
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file that may name a flag."""
    for path in ROOT.glob("exporter/**/*.py"):
        yield str(path.relative_to(ROOT)), string_literals(path)
    documents = [
        *ROOT.glob("*.md"),
        *ROOT.glob("dashboards/*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/**/*"),
        *ROOT.glob("exporter/catalog.yaml"),
        *ROOT.glob("exporter/pages/templates/*.html"),
    ]
    for path in documents:
        if path.is_file():
            joined = path.read_text().replace("\\\n", " ")
            yield str(path.relative_to(ROOT)), joined


TEXTS = dict(texts())


def flags_of(command: str) -> set[str]:
    return {flag for act in COMMANDS[command]._actions for flag in act.option_strings}


OWN = {
    *PARSER._option_string_actions,
    *(f for name in COMMANDS for f in flags_of(name)),
}


def unknown_flags(text: str) -> set[str]:
    """Return the flags that no program has, or that a command of ours lacks."""
    unknown = set(FLAG.findall(text)) - OWN - INTERNAL - OF_OTHERS
    for command, rest, serve, run in COMMAND.findall(text):
        named = set(FLAG.findall(rest or serve or run))
        unknown |= named - flags_of(command or "serve")
    return unknown


@pytest.mark.parametrize("name", TEXTS)
def test_every_flag_that_is_named_exists(name: str) -> None:
    assert unknown_flags(TEXTS[name]) == set()


def test_flags_are_found_in_each_kind_of_file() -> None:
    found = {name for name, text in TEXTS.items() if FLAG.search(text)}

    assert {
        *("README.md", "docs/configuration.md", "dashboards/README.md"),
        *("deploy/kubernetes/base/daemonset.yaml", "exporter/problems.py"),
    } <= found


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("leave it out of --runtimes", {"--runtimes"}),
        ("see `--runtimes.docker_socket`", {"--runtimes.docker_socket"}),
        (f"{PROG} report --max-series 3", {"--max-series"}),
        (f"run `{PROG} completion bash --config.file c`", {"--config.file"}),
        (f"{PROG} --network=host", {"--network"}),
        ('make run ARGS="--log.levels debug"', {"--log.levels"}),
    ],
)
def test_an_invented_flag_is_found(text: str, flags: set[str]) -> None:
    assert unknown_flags(text) == flags


@pytest.mark.parametrize(
    "text",
    [
        f"docker run --name {PROG} --restart=always IMAGE --path.rootfs=/host",
        f"{PROG} --path.rootfs=/host | grep -- --cap-add",
        f"{PROG} check --config.file policy.yaml; docker run --pid=host",
        'make run ARGS="--log.level debug"',
        "on--the--way, ---, -- and a--b",
    ],
)
def test_a_flag_that_exists_is_not(text: str) -> None:
    assert unknown_flags(text) == set()


def test_the_list_of_other_tools_has_no_flag_that_could_be_ours() -> None:
    assert {flag for flag in OF_OTHERS if flag[2:].split(".")[0] in SECTIONS} == set()


def test_the_list_of_other_tools_has_no_flag_that_is_not_named() -> None:
    named = {flag for text in TEXTS.values() for flag in FLAG.findall(text)}

    assert named >= OF_OTHERS | INTERNAL
