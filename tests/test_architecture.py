"""
The architecture, enforced: what each package may import, load and call.

PACKAGES is the table of docs/ARCHITECTURE.md: each package is one stage of the data
flow, or one side of the privilege boundary.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

import exporter
from tests.support.references import imports, parsed, references, writes

ROOT = Path(exporter.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
TREES = {path: parsed(ROOT / path) for path in MODULES}

PACKAGES: dict[str, set[str]] = {  # a package, and the packages it may import
    "kernel": set(),
    "config": set(),
    "privsep": {"kernel"},
    "discovery": {"kernel"},
    "runtimes": {"config", "kernel", "privsep"},
    "files": {"kernel", "privsep", "runtimes"},
    "ownership": {"discovery", "files", "kernel", "runtimes"},
    "collector": {"config", "discovery", "files", "kernel", "ownership", "runtimes"},
    "analysis": set(),
    "exposition": {"analysis"},
    "reports": {"analysis"},
    "pages": {"analysis", "reports"},
    "web": {"config", "exposition", "pages", "privsep"},
}
PACKAGES["daemon"] = {
    *("collector", "config", "exposition", "files", "kernel", "pages", "privsep"),
    *("runtimes", "web"),
}
PACKAGES["cli"] = set(PACKAGES)

MAX_MODULES = 12
"""Of one package, besides `__init__.py` and `__main__.py`."""

LONGEST = {(ast.FunctionDef, ast.AsyncFunctionDef): 40, (ast.ClassDef,): 200}
"""Lines, docstrings included."""

COLLECTOR = ("kernel/", "discovery/", "files/", "ownership/", "collector/")
"""Packages that only the processes with capabilities run."""

PURE = (
    "analysis/",
    "cli/check.py",
    "cli/snapshot_file.py",
    "config/web.py",
    "config/certificate.py",
    "config/web_changes.py",
    "config/web_file.py",
    "config/yaml_decoder.py",
    "exposition/",
    "ownership/claims.py",
    "ownership/declared.py",
    "ownership/labels.py",
    "pages/",
    "reports/",
    "runtimes/cgroup.py",
    "files/records.py",
    "runtimes/oci.py",
    "runtimes/records.py",
    "web/negotiation.py",
    "",  # the root package
)
NOT_PURE = ("catalog.py", "log.py", "log_output.py", "__main__.py", "pages/render.py")
"""Read their own files, write log lines, start, read templates."""

IO_MODULES = {
    *("asyncio", "ctypes", "io", "logging", "os", "pathlib", "psutil", "resource"),
    *("select", "signal", "socket", "subprocess", "threading", "time"),
}

LIBRARIES = {  # a library, and where it may be imported
    "bcrypt": {"web/auth.py"},
    "ctypes": {"kernel/syscalls.py"},
    "docker": {"runtimes/docker.py", "runtimes/http.py"},
    "http": {"web/app.py"},
    "jinja2": {"pages/render.py"},
    "markupsafe": {"pages/render.py"},
    "psutil": {"collector/stats.py"},
    "pyroute2": {"kernel/rtnetlink.py"},
    "requests": {"runtimes/docker.py", "runtimes/http.py", "runtimes/kubelet.py"},
    "urllib3": {"runtimes/docker.py", "runtimes/http.py", "runtimes/kubelet.py"},
    "rich": {"cli/commands.py", "cli/tables.py", "cli/terminal.py"},
    "shtab": {"cli/commands.py"},
    "ssl": {
        *("runtimes/http.py", "runtimes/kubelet.py"),
        *("web/connections.py", "web/tls.py"),
    },
    "starlette": {"web/app.py", "web/connections.py", "web/protocol.py"},
    "uvicorn": {"web/connections.py", "web/protocol.py"},
    "yaml": {"config/yaml_decoder.py"},
}
NEVER = {"multiprocessing", "pty", "subprocess", "shutil", "importlib.import_module"}

READS = {  # of module os, everywhere but in pure modules
    f"os.{name}"
    for name in (
        *("DirEntry", "close", "environ", "fsdecode", "fsencode", "fstat", "geteuid"),
        *(
            "getpid",
            "isatty",
            "listdir",
            "lstat",
            "open",
            "path",
            "pread",
            "read",
            "readlink",
        ),
        *("scandir", "stat", "stat_result", "strerror", "sysconf", "uname"),
        *("EX_CONFIG", "EX_OK", "EX_SOFTWARE", "EX_UNAVAILABLE"),
        *(
            "EFD_CLOEXEC",
            "EFD_NONBLOCK",
            "MFD_CLOEXEC",
            "O_CLOEXEC",
            "O_DIRECTORY",
            "O_NOFOLLOW",
            "O_NOCTTY",
            "O_NONBLOCK",
        ),
        *("O_PATH", "O_RDONLY", "WNOHANG"),
    )
}
ACTS = {  # everything else that is called, and where
    "os._exit": {
        *("daemon/file_process.py", "daemon/server_process.py"),
        "kernel/netns.py",
    },
    "os.chmod": {"privsep/sockets.py"},
    "os.environ.pop": {"privsep/sd_notify.py", "privsep/sockets.py"},
    "os.O_RDWR": {"cli/output.py"},
    "os.O_WRONLY": {"log_output.py"},
    "os.devnull": {"cli/output.py"},
    "os.dup": {"log_output.py"},
    "os.eventfd": {"daemon/file_process.py", "daemon/runtime_process.py"},
    "os.eventfd_read": {"daemon/file_process.py", "daemon/runtime_process.py"},
    "os.eventfd_write": {"daemon/file_process.py", "daemon/runtime_process.py"},
    "os.fchmod": {"cli/output.py"},
    "os.fdopen": {"cli/output.py"},
    "os.kill": {
        *("daemon/collector_process.py", "daemon/server_process.py"),
        "privsep/spawn.py",
    },
    "os.memfd_create": {"web/tls.py"},
    "os.pidfd_open": {"discovery/entry.py", "discovery/new_pids.py"},
    "os.posix_spawn": {"privsep/spawn.py"},
    "os.replace": {"cli/output.py"},
    "os.set_inheritable": {"cli/output.py"},
    "os.setgroups": {"privsep/privileges.py"},
    "os.setresgid": {"privsep/privileges.py"},
    "os.setresuid": {"privsep/privileges.py"},
    "os.unlink": {"cli/output.py", "privsep/sockets.py"},
    "os.waitpid": {"daemon/collector_process.py", "privsep/spawn.py"},
    "os.write": {"cli/output.py", "log_output.py"},
}
SYSCALLS = {  # of kernel/syscalls.py
    "landlock_add_path": {"kernel/landlock.py"},
    "landlock_create_ruleset": {"kernel/landlock.py"},
    "landlock_restrict_self": {"kernel/landlock.py"},
    "landlock_version": {"kernel/landlock.py"},
    "netns_cookie": {
        *("collector/entering.py", "collector/namespace_tracker.py"),
        "collector/signal_reader.py",
        "discovery/entry.py",
    },
    "socket_netns_cookie": {"kernel/sock_diag.py"},
    "creator_of_user_namespace": {"kernel/procfs.py"},
    "owning_user_namespace": {"kernel/procfs.py"},
    "openat2": {"kernel/rootfs.py"},
    "prctl": {"privsep/privileges.py"},
    "set_capabilities": {"privsep/privileges.py"},
    "setns": {"kernel/netns.py"},
    "unshare": {"kernel/netns.py"},
}
NO_TEST_OF_ITS_OWN = {  # a module, and the test module that covers it
    "cli/arguments.py": "test_flags.py",
    "cli/tables.py": "cli/test_commands.py",
    "config/web.py": "config/test_web_file.py",
    "daemon/node_reader.py": "cli/test_sources.py",
    "daemon/preload.py": "daemon/test_server_process.py",
    "daemon/file_process.py": "adversary/test_hung_files.py",
    "exposition/samples.py": "exposition/test_renderer.py",
    "exposition/text_format.py": "exposition/test_renderer.py",
    "files/bundle_directory.py": "files/test_bundle_index.py",
    "files/doors.py": "adversary/test_hung_files.py",
    "files/records.py": "files/test_client.py",
    "kernel/landlock.py": "privsep/test_privileges.py",
    "kernel/rtnetlink.py": "integration/test_discovery.py",
    "kernel/syscalls.py": "kernel/test_netns.py",
    "model.py": "cli/test_snapshot_file.py",
    "owner.py": "ownership/test_labels.py",
    "pages/namespace_table.py": "pages/test_node_page.py",
    "problems.py": "daemon/test_problem_log.py",
    "reports/messages.py": "reports/test_explain.py",
    "reports/overview.py": "reports/test_report.py",
    "reports/sentences.py": "reports/test_explain.py",
    "runtimes/http.py": "runtimes/test_docker.py",
    "runtimes/records.py": "runtimes/test_docker.py",
    "suggestions.py": "test_catalog.py",
    "web/protocol.py": "web/test_connections.py",
    "web/stats.py": "web/test_app.py",
}
WRITES = {"cli/output.py", "log_output.py", "web/tls.py"}
"""The file that a user names; standard error, opened a second time; the memfd that
hands a key to OpenSSL."""


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_package_imports_only_the_packages_of_its_row(path: Path) -> None:
    assert not wrong_imports(path, TREES[path])


def test_the_architecture_document_has_the_same_rows() -> None:
    text = (ROOT.parent / "docs/ARCHITECTURE.md").read_text()
    cells = [re.split(r" *\| *", line.strip("| ")) for line in text.splitlines()]
    documented = {row[0].strip("`"): row[2] for row in cells if len(row) == 5}
    for name, allowed in PACKAGES.items():
        expected = "everything" if name == "cli" else ", ".join(sorted(allowed))
        assert documented[name] == (expected or "none")


def test_every_package_has_a_row() -> None:
    assert {package(path) for path in MODULES} == {"", *PACKAGES}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_pure_module_does_no_io(path: Path) -> None:
    if is_pure(path):
        assert not {name.split(".")[0] for name in imports(TREES[path])} & IO_MODULES


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_calls_only_what_its_rows_allow(path: Path) -> None:
    assert not wrong_calls(path, TREES[path])


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("collector/collector.py", 'open("/proc/sys/net/core/somaxconn", "w")'),
        ("collector/collector.py", "syscalls.setns(fd, 0)"),
        ("discovery/entry.py", "from exporter.kernel.syscalls import unshare"),
        ("runtimes/docker.py", 'os.posix_spawn("/bin/sh", ["sh"], {})'),
        ("kernel/sysctl_files.py", "os.open(p, 1)"),
        ("kernel/procfs.py", "os.open(p, os.O_RDONLY | os.O_CREAT)"),
        ("kernel/procfs.py", "Path(p).write_text(p)"),
        ("kernel/procfs.py", 'Path(p).open("a")'),
        ("kernel/procfs.py", "from os import posix_spawn as harmless"),
        ("kernel/procfs.py", 'getattr(os, "system")("true")'),
        ("cli/main.py", "subprocess.run([])"),
        ("cli/main.py", "importlib.import_module(p)"),
        ("reports/report.py", "import exporter.kernel.procfs"),
        ("web/app.py", "from exporter.collector import collector"),
        ("pages/render.py", "from exporter.ownership.claims import claim"),
    ],
)
def test_the_rows_would_show_it(where: str, code: str) -> None:
    names = "import os, subprocess, importlib\nfrom pathlib import Path\n"
    if "syscalls." in code:
        names += "from exporter.kernel import syscalls\n"
    clean, tree = ast.parse(names), ast.parse(f"{names}{code}\n")

    def wrong(tree: ast.Module) -> list[str]:
        return [*wrong_calls(Path(where), tree), *wrong_imports(Path(where), tree)]

    assert len(wrong(tree)) > len(wrong(clean))


def test_every_row_is_used() -> None:
    every = {name for path in MODULES for name in all_references(path)}
    assert not {name for name in (*ACTS, *READS) if not used(name, every)}
    assert not {
        name for name in SYSCALLS if f"exporter.kernel.syscalls.{name}" not in every
    }
    assert not {name for name in LIBRARIES if not using(name)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_only_where_its_row_says(library: str) -> None:
    assert using(library) <= LIBRARIES[library]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_process_with_capabilities_imports_few_libraries(path: Path) -> None:
    if str(path).startswith(COLLECTOR):
        foreign = {name.split(".")[0] for name in imports(TREES[path])}
        foreign -= sys.stdlib_module_names
        assert foreign <= {"exporter", "msgspec", "psutil", "pyroute2"}


@pytest.mark.parametrize(
    ("entry", "late"),
    [
        (  # what the collector process has loaded when it starts to collect
            ("exporter.cli.main", "exporter.daemon.collector_process"),
            *[("asyncio", "uvicorn", "ssl", "bcrypt", "jinja2", "exporter.web")],
        ),
        (  # only the runtime poller and `snapshot` need these
            ("exporter.cli.main", "exporter.daemon.server_process"),
            *[("docker", "requests", "pyroute2", "rich", "shtab")],
        ),
    ],
    ids=["collector", "server"],
)
def test_a_process_does_not_load_what_it_does_not_need(
    entry: Iterable[str], late: Iterable[str]
) -> None:
    code = f"import sys, {', '.join(entry)}; print({{*{late}}} & {{*sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_no_package_has_too_many_modules() -> None:
    counts = Counter(path.parent for path in MODULES if path.name[0] != "_")
    assert {where: n for where, n in counts.items() if n > MAX_MODULES} == {}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_is_too_long_to_read_at_once(path: Path) -> None:
    sizes = [
        (node.name, node.end_lineno - node.lineno + 1, limit)
        for node in ast.walk(TREES[path])
        for kinds, limit in LONGEST.items()
        if isinstance(node, kinds) and node.end_lineno
    ]
    assert [entry for entry in sizes if entry[1] > entry[2]] == []


def test_each_module_has_a_test_module_of_its_name_or_is_listed() -> None:
    modules = [path for path in MODULES if path.name[0] != "_"]
    without = {str(path) for path in modules if not own_test(path).exists()}

    assert without == set(NO_TEST_OF_ITS_OWN)
    assert all((TESTS / path).exists() for path in NO_TEST_OF_ITS_OWN.values())


def test_no_module_imports_a_test_module() -> None:
    """Nor does code in strings, which other processes run. See tests/support/."""
    form = re.compile(r"\btests[.\w]*(?:\.| import )test_\w+")
    for path in TESTS.rglob("*.py"):
        assert form.findall(path.read_text()) == [], path


def own_test(path: Path) -> Path:
    return TESTS / path.with_name(f"test_{path.name}")


def package(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else ""


def is_pure(path: Path) -> bool:
    if str(path) in NOT_PURE:
        return False
    return package(path) == "" or str(path).startswith(tuple(filter(None, PURE)))


def wrong_imports(path: Path, tree: ast.Module) -> list[str]:
    allowed = {package(path)} | PACKAGES.get(package(path), set())
    if str(path) == "__main__.py":
        allowed = {"cli"}
    imported = {
        name.split(".")[1] for name in imports(tree) if name.startswith("exporter.")
    }
    return sorted((imported & set(PACKAGES)) - allowed)


def wrong_calls(path: Path, tree: ast.Module) -> list[str]:
    where = str(path)
    wrong = [] if where in WRITES else list(writes(tree))
    for name in references(tree):
        if name.startswith("os."):
            rows = [row for row in ACTS if is_within(name, row)]
            allowed = any(where in ACTS[row] for row in rows)
            allowed |= not rows and any(is_within(name, row) for row in READS)
        elif name.startswith("exporter.kernel.syscalls.") and where != SYSCALLS_PY:
            called = name.split(".")[3]
            allowed = called.isupper() or where in SYSCALLS.get(called, ())
        else:
            allowed = not any(is_within(name, row) for row in NEVER)
            allowed &= not name.startswith("builtins.")
        if not allowed:
            wrong.append(name)
    wrong += [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"write_text", "write_bytes", "pwrite", "writev"}
    ]
    wrong += [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"getattr", "setattr", "vars"}
        and ast.unparse(node.args[0]) in {"os", "syscalls", "builtins"}
    ]
    return wrong


SYSCALLS_PY = "kernel/syscalls.py"


def is_within(name: str, row: str) -> bool:
    return name == row or name.startswith(f"{row}.")


def all_references(path: Path) -> Iterable[str]:
    return references(TREES[path])


def used(row: str, every: Iterable[str]) -> bool:
    return any(is_within(name, row) for name in every)


def using(library: str) -> set[str]:
    return {
        str(path)
        for path in MODULES
        if any(is_within(name, library) for name in imports(TREES[path]))
    }
