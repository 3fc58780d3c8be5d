"""The table of container runtimes: its rows, and what a new one needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import exporter
from exporter import problems
from exporter.config.settings import RuntimeSettings
from exporter.model import Declared
from exporter.reports.remediation import SYSCTL_OPTIONS
from exporter.runtimes import POLLERS, RUNTIMES
from exporter.runtimes.records import BundleFormat, Poller, PollError, Runtime
from tests.support.builders import CONTAINER
from tests.support.toy_node import Printed

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/runtimes.md").read_text()

runtimes = pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda row: row.name)
pollers = pytest.mark.parametrize("poller", POLLERS, ids=lambda poller: poller.name)


class TestRows:
    """What belongs to a row elsewhere is there too."""

    def test_names_are_unique(self) -> None:
        names = [runtime.name for runtime in RUNTIMES]

        assert len(names) == len(set(names))

    @runtimes
    def test_a_cgroup_shape_has_one_group(self, runtime: Runtime) -> None:
        """cgroup.py finds a match's shape by the number of its group."""
        for shape in runtime.cgroups:
            assert re.compile(shape.pattern).groups == 1

    def test_formats_of_one_name_are_the_same(self) -> None:
        formats: dict[str, BundleFormat] = {}
        for runtime in RUNTIMES:
            if runtime.bundles:
                known = formats.setdefault(runtime.bundles.name, runtime.bundles)
                assert known is runtime.bundles

    @runtimes
    def test_directories_have_a_format(self, runtime: Runtime) -> None:
        assert runtime.bundles or not (runtime.directories or runtime.user_directories)

    def test_every_runtime_has_a_remedy(self) -> None:
        """Reports may not import runtimes, so their table has to have each name."""
        unknown = ""
        assert SYSCTL_OPTIONS.keys() == {unknown, *(row.name for row in RUNTIMES)}

    @runtimes
    def test_every_runtime_is_documented(self, runtime: Runtime) -> None:
        assert re.search(
            rf"\b{runtime.name}\b", DOCUMENT.replace("CRI-O", "crio"), re.IGNORECASE
        )

    @pollers
    def test_every_source_has_an_address_in_the_configuration(
        self, poller: Poller
    ) -> None:
        assert isinstance(getattr(RuntimeSettings(), poller.name), str)

    @pollers
    def test_every_failed_poll_has_a_remedy(self, poller: Poller) -> None:
        errors = set(get_args(PollError)) - {"absent"}

        assert problems._POLL_REMEDIES[poller.name].keys() == errors

    def test_a_failed_poll_names_its_remedy(self) -> None:
        problem = problems.poll_failed("docker", "refused", "HTTP 403")

        assert problem.what == "docker_refused"
        assert problem.detail == "docker refused the request: HTTP 403"
        assert "group docker" in problem.remedy

    def test_a_source_that_is_not_in_the_table_is_a_problem_too(self) -> None:
        """The name comes from another process, and must not end the collector."""
        assert problems.poll_failed("x", "silent", "").remedy.startswith("check ")


ROW = """
    Runtime(
        "toy",
        cgroups=(CgroupShape(rf"toy/({_HEX64})"),),
        bundles=toy.STATES,
        directories=("/run/toy",),
        default_sysctls={"net.ipv4.ip_forward": "0"},
    ),
"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """Return a directory with a copy of the exporter that supports one runtime more."""
    copy = tmp_path / "copy"
    shutil.copytree(Path(exporter.__file__).parent, copy / "exporter")
    package = copy / "exporter/runtimes"
    shutil.copy(ROOT / "tests/support/toy_runtime.py", package / "toy.py")
    table = (package / "__init__.py").read_text()
    table = table.replace("RUNTIMES = (", f"RUNTIMES = ({ROW}", 1)
    table = table.replace(", runc\n", ", runc, toy\n", 1)
    (package / "__init__.py").write_text(table)
    return copy


def test_a_new_runtime_is_a_module_and_a_row(extended: Path, tmp_path: Path) -> None:
    state = tmp_path / f"node/run/toy/{CONTAINER}/state.json"
    state.parent.mkdir(parents=True)
    sysctls = {"net.core.somaxconn": "1024", "net.ipv4.ip_forward": "0"}
    state.write_bytes(msgspec.json.encode({"name": "web", "sysctls": sysctls}))

    node, proc = str(tmp_path / "node"), str(tmp_path / "proc")
    command = [sys.executable, "-P", "-m", "tests.support.toy_node", node, proc]
    path = f"{extended}:{ROOT}"
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=True
    )

    printed = msgspec.json.decode(done.stdout, type=Printed)
    assert printed.exporter == f"{extended}/exporter/__init__.py"
    assert printed.owner
    assert (printed.owner.container, printed.owner.runtime) == ("web", "toy")
    assert printed.owner.evidence == "oci_bundle"
    assert printed.declared == (
        Declared(
            sysctl="net.core.somaxconn",
            value="1024",
            source="container",
            container="web",
        ),
        Declared(
            sysctl="net.ipv4.ip_forward", value="0", source="runtime", container="web"
        ),
    )
