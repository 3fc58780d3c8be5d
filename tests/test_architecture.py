"""The map of the code, enforced: layers, purity, and who may do what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter

ROOT = Path(exporter.__file__).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

LAYERS = [  # a module may import only from layers above its own
    {"__init__"},
    {"model", "globs", "chunks", "unchanged"},
    {"values", "problems", "plain", "output", "signals", "deflate"},
    {"catalog", "kernel"},
    {"runtimes"},
    {"ownership", "drift"},
    {"policy", "harm"},
    {"config", "queues", "webconfig", "auth", "gate", "notify", "wishes"},
    {
        "flags",
        "declared",
        "fresh",
        "logs",
        "metrics",
        "inventory",
        "sources",
        "privsep",
        "doors",
        "dumps",
        "machine",
        "privileges",
        "listen",
        "webform",
        "tls",
    },
    {"naming", "asking", "samples", "watch", "webfile", "reduced"},
    {"lines", "holdings"},
    {"signal_lines"},
    {"namespace_lines"},
    {"node_lines"},
    {"collect", "who", "exposition", "signs"},
    {"hurts"},
    {"recorded", "report", "advice", "live", "screen", "words", "tally"},
    {"explain", "compare", "telling", "connection", "daemon"},
    {"saying", "pictures", "addresses"},
    {"views"},
    {"glance", "inspection", "listing", "scraper"},
    {"pages"},
    {"tables", "application", "serving"},
    {"commands", "grammar", "server"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

PURE = {"model.py", "values.py", "ownership.py", "drift.py", "metrics.py"}
PURE |= {"samples.py", "exposition.py", "lines.py", "signal_lines.py"}
PURE |= {"namespace_lines.py", "node_lines.py", "reduced.py"}
PURE |= {"chunks.py", "unchanged.py", "deflate.py"}
PURE |= {"policy.py", "harm.py", "queues.py", "signals.py"}
PURE |= {"advice.py", "compare.py", "explain.py", "plain.py", "recorded.py"}
PURE |= {"report.py", "who.py", "words.py"}
PURE |= {"signs.py", "hurts.py", "telling.py", "saying.py"}
PURE |= {"addresses.py", "pictures.py", "views.py"}
PURE |= {"glance.py", "inspection.py", "listing.py"}
PURE |= {"webconfig.py", "webform.py", "wishes.py", "globs.py"}
PURE |= {"problems.py", "declared.py", "runtimes/cgroup.py"}
PURE |= {"runtimes/container.py", "runtimes/oci.py"}
IMPURE_MODULES = {
    "ctypes",
    "logging",
    "os",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
}

PRIVILEGED = (
    "asking.py",
    "collect.py",
    "daemon.py",
    "declared.py",
    "doors.py",
    "dumps.py",
    "fresh.py",
    "harm.py",
    "holdings.py",
    "inventory.py",
    "listen.py",
    "live.py",
    "machine.py",
    "naming.py",
    "notify.py",
    "privileges.py",
    "privsep.py",
    "queues.py",
    "signals.py",
    "watch.py",
    "webconfig.py",
    "webfile.py",
    "webform.py",
    "sources.py",
    "kernel/",
    "runtimes/",
    "catalog.py",
    "ownership.py",
)
PRIVILEGED_MAY_IMPORT = {"msgspec", "psutil", "pyroute2", "exporter"}
ASKING = {"runtimes/docker.py", "runtimes/fetch.py", "runtimes/kubelet.py"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "relative imports hide where a name is from"
            yield node.module
            if node.module == "exporter":
                yield from (f"exporter.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_upwards(path: Path) -> None:
    ours = {
        name.split(".")[1] for name in imports(path) if name.startswith("exporter.")
    }

    wrong = {
        name
        for name in ours - {part(path), "__version__"}
        if RANK[name] >= RANK[part(path)]
    }

    assert not wrong


def test_every_module_has_a_place() -> None:
    assert {part(path) for path in MODULES} == set(RANK)


@pytest.mark.parametrize("path", sorted(PURE))
def test_a_judgement_asks_nobody(path: str) -> None:
    assert not {name.split(".")[0] for name in imports(Path(path))} & IMPURE_MODULES


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_runs_a_command(path: Path) -> None:
    assert "subprocess" not in set(imports(path))
    source = (ROOT / path).read_text()
    assert not [name for name in ("os.system", "os.popen", "os.exec") if name in source]


def test_one_module_speaks_ctypes() -> None:
    assert using("ctypes") == {"kernel/syscalls.py"}


def test_one_module_enters_namespaces() -> None:
    callers = {
        str(path)
        for path in MODULES
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ImportFrom)
        and "setns" in {alias.name for alias in node.names}
    }

    assert callers == {"kernel/netns.py"}


def test_only_the_server_speaks_http() -> None:
    assert using("uvicorn") == {"connection.py", "serving.py"}
    assert using("http") == {"application.py"}
    asking = {"runtimes/fetch.py", "runtimes/kubelet.py"}
    assert using("ssl") == {"tls.py", "serving.py"} | asking
    assert using("bcrypt") == {"auth.py"}
    assert using("jinja2") | using("markupsafe") == {"pages.py"}


def test_the_collector_does_not_load_what_the_server_speaks_with() -> None:
    """It starts with cli and daemon, and reads the web configuration."""
    late = {"asyncio", "uvicorn", "ssl", "bcrypt", "jinja2", "exporter.server"}
    loaded = (
        f"import sys, exporter.cli, exporter.daemon; print({late} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], check=True, capture_output=True, text=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if str(p).startswith(PRIVILEGED) and str(p) not in ASKING],
    ids=str,
)
def test_the_privileged_half_imports_little(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports(path)} - STDLIB

    assert foreign <= PRIVILEGED_MAY_IMPORT


def test_only_the_process_that_asks_loads_what_asks() -> None:
    assert using("docker") | using("requests") == ASKING
    everyone = "import sys, exporter.collect, exporter.cli, exporter.server"
    late = {"docker", "requests", "pyroute2", "rich", "shtab"}
    loaded = f"assert not {late} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", f"{everyone}\n{loaded}"], check=True)


def test_only_tables_are_drawn_with_rich() -> None:
    assert using("rich") == {"screen.py", "tables.py", "commands.py"}
    assert using("shtab") == {"commands.py"}


STDLIB = set(__import__("sys").stdlib_module_names)


def test_nothing_is_opened_for_writing_but_what_a_user_names() -> None:
    """The exporter never writes to a sysctl: no write call but cli's output file."""
    writers = {
        str(path)
        for path in MODULES
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in {"write_text", "write_bytes", "O_WRONLY", "O_RDWR", "pwrite"}
    }

    assert not writers


def using(module: str) -> set[str]:
    return {
        str(path)
        for path in MODULES
        if module in {name.split(".")[0] for name in imports(path)}
    }
