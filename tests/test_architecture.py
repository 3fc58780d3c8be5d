"""The map of the code, enforced: layers, purity, and who may do what."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter

ROOT = Path(exporter.__file__).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

LAYERS = [  # a module may import only from layers above its own
    {"__init__"},
    {"model"},
    {"values", "problems"},
    {"catalog", "runtimes"},
    {"config", "kernel", "ownership", "drift"},
    {"logs", "metrics", "inventory"},
    {"naming"},
    {"collect", "privsep"},
    {"server"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

PURE = {"model.py", "values.py", "ownership.py", "drift.py", "metrics.py"}
PURE |= {"problems.py", "runtimes/cgroup.py"}
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
    "collect.py",
    "inventory.py",
    "naming.py",
    "kernel/",
    "runtimes/",
    "catalog.py",
    "ownership.py",
)
PRIVILEGED_MAY_IMPORT = {"msgspec", "psutil", "exporter"}


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
    assert using("waitress") == {"server.py"}
    assert using("http") == {"server.py"}


@pytest.mark.parametrize(
    "path", [p for p in MODULES if str(p).startswith(PRIVILEGED)], ids=str
)
def test_the_privileged_half_imports_little(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports(path)} - STDLIB

    assert foreign <= PRIVILEGED_MAY_IMPORT


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
