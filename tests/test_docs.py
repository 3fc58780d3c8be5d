"""Generated documents are current (`make docs` updates them), others complete."""

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from exporter import catalog
from exporter.cli.arguments import build_parser
from exporter.config.settings import Config, load
from exporter.counters import COUNTERS, RESOURCES
from exporter.exposition.metrics import COUNTER_METRICS, FILL, METRICS
from exporter.model import Evidence, Match, Rule

ROOT = Path(__file__).parents[1]

METRICS_HEAD = """# Metrics

Generated from the METRICS table of `exporter/exposition/metrics.py` by `make docs`.

Empty labels are left out, which is the same to Prometheus. `namespace`, `pod` and
`uid` are those of kube-state-metrics; `container` is a container outside Kubernetes;
`netns` is empty for the main namespace of an owner, else a name: `host`, `named/…` (a
bind mount that only the node's root can make), `unit/…` (a unit of the system),
`within/…` (a container, unit or mount whose name another party could choose, with that
party's name: a container in a kind node, `within/user@1000.service/unit/nginx.service`,
`within/uid:1000/named/blue`; [runtimes](runtimes.md#how-owners-are-identified)),
`cookie/…` (nothing better is known; unique since boot), `seen/…` (the same without a
cookie: before Linux 5.14, or not readable).

`evidence` of `netns_info` is where the names of the owner come from:

- `host`: it is the namespace of the host;
- `docker_api`: the API of Docker;
- `oci_bundle`: the bundle that an OCI runtime keeps of the container;
- `cgroup+kubelet`, `cgroup+log_directory`: the pod's UID in the cgroup of a process,
  and its name from the kubelet or from the directory of its logs below `/var/log/pods`;
- `cgroup`: the cgroup alone, which has identifiers but no names;
- `mount`, `sandbox_mount`: the file name of a bind mount, in the second case one that a
  container runtime made for a container it was about to start;
- `unit`: the systemd unit in the cgroup of a process;
- `comm`: the name of a process, and nothing else. Without any process or mount the
  label is empty.

*from*: the least `metrics.detail` that exports the metric: `summary`, `drift` or `full`
([configuration](configuration.md#how-much-to-export)).

"""

COUNTERS_HEAD = """
## Counters

Counters of the kernel, from /proc/PID/net/netstat, snmp, snmp6 and stat/nf_conntrack,
since the namespace was created, with the owner's five labels. *lost*: an increase means
that something was lost or refused because a limit was reached or memory ran short.
Those on request need `signals.counters_include` ([configuration](configuration.md)).
"""

SYSCTLS_HEAD = """# Sysctls

Generated from `exporter/catalog.yaml` by `make docs`. Secrets and write-only files are
not in the catalog. Only three other numbers are read below /proc/sys:
`net.netfilter.nf_conntrack_count` of each namespace, and `net.ipv4.tcp_max_orphans` and
`net.ipv4.tcp_mem` of the host.

- **class**, the value of a new network namespace: `constant`, the kernel's built-in
  value, independent of the host; `derived`, computed from the size of a hash table;
  `inherited`, a copy of the host's value at creation; `devconf`, depends on the host's
  `net.core.devconf_inherit_init_net`; `shared`, one value for the whole machine, which
  is exported once, for the host.
- **set by**: `pod`, the pod spec (on the kubelet's safe list); `pod-unsafe`, the pod
  spec if the kubelet's `allowedUnsafeSysctls` permits it; `node`, only the host;
  `none`, read-only. The `--sysctl` flag of Docker and podman and the CNI plug-in
  `tuning` can set both `pod` and `pod-unsafe`.
- **shows in**: the [metrics](metrics.md) in which a wrong value shows, the most
  specific first. Some have other causes as well, which their descriptions name.
  Counters that are not exported by default are read with
  `--signals.counters-include`.

"""


def metrics_md() -> str:
    counter_names = {spec.name for spec in COUNTER_METRICS.values()}
    rows = [
        f"| `{spec.name}` | {spec.type} | {', '.join(f'`{n}`' for n in spec.labels)} "
        f"| {spec.detail} | {spec.help} |"
        for spec in METRICS
        if spec.name not in counter_names
    ]
    table = [
        "| metric | type | labels | from | meaning |",
        "|---|---|---|---|---|",
        *rows,
    ]
    counters = [
        COUNTERS_HEAD,
        "| metric | kernel's name | exported | from | lost | meaning |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{counter.metric}` | `{counter.name}` | "
            f"{'always' if counter.default else 'on request'} | "
            f"{COUNTER_METRICS[counter.name].detail} | "
            f"{'yes' if counter.lost else ''} | {counter.help} |"
            for counter in COUNTERS
        ),
    ]
    table += counters
    tail = (
        "\nThe server process adds the usual `process_*` metrics of its own; the "
        "collector's are the\n`netns_collector_*` above.\n"
    )
    return METRICS_HEAD + "\n".join(table) + "\n" + tail


def sysctls_md() -> str:
    entries = catalog.load()
    default = [e for e in entries if e.profile == "default"]
    others = sorted(
        (e for e in entries if e.profile != "default"), key=lambda e: e.name
    )
    titles = ("sysctl", "fields", "class", "set by", "why", "shows in")
    head = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]

    def rows(entries: list[catalog.Entry]) -> list[str]:
        return [
            f"| `{e.name}` | {', '.join(e.fields)} | {e.class_} | {e.settable_by} "
            f"| {e.why.replace('|', chr(92) + '|')} | {', '.join(shows_in(e))} |"
            for e in entries
        ]

    parts = [
        f"## The default profile ({len(default)})\n",
        "Most important first: if file descriptors run short, the last ones are read",
        "without open files first.\n",
        *head,
        *rows(default),
        f"\n## Read on request ({len(others)})\n",
        "`--sysctls.profile=all`, or `--sysctls.include=GLOB`.\n",
        *head,
        *rows(others),
    ]
    return SYSCTLS_HEAD + "\n".join(parts) + "\n"


def shows_in(entry: catalog.Entry) -> Iterator[str]:
    for signal in entry.harm:
        if signal in RESOURCES:
            yield f"`{FILL.name}` of `{signal}`"
        else:
            yield f"`{COUNTER_METRICS[signal].name}`"


COMMANDS_HEAD = """# Commands

Generated from the parser of the command line by `make docs`. The default command is
`serve`.

`report`, `explain` and `diff` read the live node, as `snapshot` does, without a daemon
and with the same rights and [flags](configuration.md); or a file that `snapshot` wrote,
without any rights and on any machine. Only a running exporter has recorded the host's
earlier values, when a value changed, and the somaxconn at each listen(2): for a node
that is read once, `inherited_stale`, changes and stale listeners are not reported.

Tables have the width of the terminal (`COLUMNS`, else 80). Colors are used only on a
terminal, unless `NO_COLOR` is set. Names chosen by containers are escaped.
`--format json` has the same data and more.

Exit codes: 0 for success, and for `diff` if nothing differs. 1: `serve` or `snapshot`
failed; `explain` found no namespace, or more than one; `diff` found differences;
`check` found violations. 2: wrong usage; of all but `serve` and `snapshot`, any
failure. A result that cannot be written (standard output is closed, or on a full disk)
is a failure, with a line on standard error; a reader that closes the pipe
(`… | head`) is none.

"""


def commands_md() -> str:
    _, commands = build_parser()
    return COMMANDS_HEAD + "\n".join(
        line
        for name, command in commands.items()
        for line in command_lines(name, command)
    )


def command_lines(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {name}\n\n{command.description}\n"
    configuration = {key.replace("_", "-") for key in config_keys()}
    arguments = [
        action
        for action in command._actions
        if not any(flag[2:] in configuration for flag in action.option_strings)
        and action.dest not in {"help", "config.file"}
    ]
    if arguments:
        yield "| argument | meaning |\n|---|---|"
        yield from (f"| {usage(action)} | {action.help} |" for action in arguments)
        yield ""
    if any(action.dest == "config.file" for action in command._actions):
        yield "And the flags of the [configuration](configuration.md).\n"


def usage(action: argparse.Action) -> str:
    metavar = action.metavar or "\\|".join(action.choices or ())
    if not action.option_strings:
        return f"`{metavar}`"
    value = "" if action.nargs == 0 else f" {metavar}"
    return ", ".join(f"`{flag}{value}`" for flag in action.option_strings)


@pytest.mark.parametrize(
    ("name", "generate"),
    [
        ("metrics.md", metrics_md),
        ("sysctls.md", sysctls_md),
        ("commands.md", commands_md),
    ],
)
def test_a_generated_document_is_current(
    name: str, generate: Callable[[], str], request: pytest.FixtureRequest
) -> None:
    path = ROOT / "docs" / name
    if request.config.getoption("--update-docs"):
        path.write_text(generate())

    assert path.read_text() == generate(), "run `make docs`"


def test_every_value_of_evidence_is_documented() -> None:
    text = (ROOT / "docs/metrics.md").read_text()

    assert not [v for v in get_args(Evidence) if v and f"`{v}`" not in text]


def config_keys() -> list[str]:
    sections = msgspec.structs.fields(Config)
    return [
        f"{section.encode_name}.{key.encode_name}"
        for section in sections
        if section.name != "policy"
        for key in msgspec.structs.fields(section.type)
    ]


def rule_keys() -> list[str]:
    return [
        *(key.name for key in msgspec.structs.fields(Rule)),
        *(f"match.{key.name}" for key in msgspec.structs.fields(Match)),
    ]


@pytest.mark.parametrize("key", config_keys())
def test_every_configuration_key_is_documented_and_has_its_flag(key: str) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    # the name of this flag in all exporters of Prometheus
    other = {"web.config_file": "--web.config.file"}
    flag = other.get(key, f"--{key.replace('_', '-')}")

    assert f"`{key}`" in text
    assert f"`{flag}`" in text
    root, _ = build_parser()
    assert key in vars(root.parse_args(["serve"]))


@pytest.mark.parametrize("key", rule_keys())
def test_every_key_of_a_rule_is_documented(key: str) -> None:
    text = (ROOT / "docs/configuration.md").read_text()

    assert f"| `{key}` |" in text.partition("## Policy")[2]


def test_the_example_policy_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    match = re.search(r"```yaml\n(policy:.*?)```", text, re.DOTALL)
    assert match
    file = tmp_path / "config.yaml"
    file.write_text(match[1])

    assert len(load(str(file), {}).policy) == match[1].count("- name:")


def test_the_example_configuration_has_the_defaults() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    match = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert match

    assert msgspec.yaml.decode(match[1], type=Config) == Config()


def test_the_readme_has_the_two_commands_and_the_port() -> None:
    text = (ROOT / "README.md").read_text()

    assert "make run" in text
    assert "make test" in text
    assert "10128" in text


def test_every_metric_in_prose_exists() -> None:
    names = {spec.name for spec in METRICS}
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]:
        for name in re.findall(r"\bnetns_[a-z_]+[a-z]\b(?!\*|…|_)", path.read_text()):
            assert name in names, f"{path.name}: {name}"


DOCUMENTS_OF_PROMISES = ("SECURITY.md", "docs/reliability.md")


@pytest.mark.parametrize("document", DOCUMENTS_OF_PROMISES)
def test_every_test_that_a_promise_names_exists(document: str) -> None:
    named = re.findall(
        r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / document).read_text()
    )

    assert named
    for path, name in named:
        assert f"def {name}" in (ROOT / path).read_text(), (path, name)


@pytest.mark.parametrize("document", DOCUMENTS_OF_PROMISES)
def test_every_promise_names_its_test(document: str) -> None:
    text = (ROOT / document).read_text()
    tables = re.findall(r"^\|.*\| test \|\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)

    assert tables
    for row in "".join(tables).splitlines():
        assert re.search(r"\| `tests/.*\.py\S*` \|$", row), row


def test_every_test_of_an_attack_is_named_by_a_promise() -> None:
    text = "".join((ROOT / path).read_text() for path in DOCUMENTS_OF_PROMISES)
    attacks = sorted((ROOT / "tests/adversary").glob("test_*.py"))

    assert attacks
    for path in attacks:
        assert f"`tests/adversary/{path.name}" in text
