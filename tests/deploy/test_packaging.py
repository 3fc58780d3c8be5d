"""Contents of the Python packages, and their installation in an empty environment."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from testing.lab import wait_until

ROOT = Path(__file__).parents[2]
SOURCES = ("exporter", "LICENSE", "README.md", "pyproject.toml")


def run(*command: str | Path, **options: Path) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=options.get("cwd"),
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def data_files() -> set[str]:
    """Return the files of exporter/ that a package must contain."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "exporter").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a source archive, and a wheel from it."""
    home = tmp_path_factory.mktemp("built")
    source = home / "source"
    source.mkdir()
    run("cp", "-r", *(ROOT / name for name in SOURCES), source)
    hook = (
        "from setuptools import build_meta as b; import sys; b.build_sdist(sys.argv[1])"
    )
    run(sys.executable, "-c", hook, home, cwd=source)
    (archive,) = home.glob("*.tar.gz")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", home)
    run(sys.executable, "-m", "pip", "wheel", *options, archive)
    return home


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """Install the wheel and the locked dependencies in an empty environment."""
    venv = built / "venv"
    run(ROOT / "scripts/make-venv", os.path.realpath(sys.executable), venv)
    pip = (venv / "bin/pip", "install", "--quiet", "--no-compile")
    run(*pip, "--require-hashes", "-r", ROOT / "requirements.lock")
    (wheel,) = built.glob("*.whl")
    run(*pip, "--no-deps", wheel)
    return venv / "bin/netns-sysctl-exporter"


def test_both_packages_contain_all_modules_and_data_files(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    (archive,) = built.glob("*.tar.gz")

    with zipfile.ZipFile(wheel) as file:
        in_wheel = {name for name in file.namelist() if name.startswith("exporter/")}
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}

    assert data_files() - in_wheel == set()
    assert data_files() - names == set()
    assert in_wheel - data_files() == set()


def test_the_commands_of_an_installed_package_work(
    installed: Path, tmp_path: Path
) -> None:
    assert re.match(r"netns-sysctl-exporter \d", run(installed, "--version"))
    assert "net.core.somaxconn" in run(installed, "catalog", cwd=tmp_path)
    assert "somaxconn" in run(installed, "report", "--all", cwd=tmp_path)


def test_an_installed_package_serves_metrics(installed: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = (installed, "serve", "--web.listen-address", "127.0.0.1:0")
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            wait_until(lambda: "serving on" in log.read_text() or process.poll())
            match = re.search(r"serving on (\S+?)\"", log.read_text())
            assert match, log.read_text()
            with urlopen(f"http://{match[1]}/metrics", timeout=30) as response:
                metrics = response.read()
        finally:
            process.terminate()

    assert b'netns_sysctl_value{netns="host",sysctl="net.core.somaxconn"}' in metrics
    assert process.returncode == 0


def test_make_install_with_destdir_writes_only_below_it(
    tmp_path: Path,
) -> None:
    source, destdir = tmp_path / "source", tmp_path / "destdir"
    source.mkdir()
    names = ("Makefile", "deploy", "requirements.lock", "scripts", *SOURCES)
    run("cp", "-r", *(ROOT / name for name in names), source)
    variables = (f"DESTDIR={destdir}", "PREFIX=/usr/lib/nse", "SYSCONFDIR=/etc/nse")
    python = f"PYTHON={os.path.realpath(sys.executable)}"

    run("make", "install", *variables, python, "UNITDIR=/usr/lib/systemd", cwd=source)

    unit = (destdir / "usr/lib/systemd/netns-sysctl-exporter.service").read_text()
    command = destdir / "usr/lib/nse/bin/netns-sysctl-exporter"
    assert (
        "ExecStart=/usr/lib/nse/bin/netns-sysctl-exporter serve "
        "--config.file=/etc/nse/config.yaml"
    ) in unit
    assert command.read_text().startswith("#!/usr/lib/nse/bin/python")
    assert (destdir / "etc/nse/config.yaml").exists()
    assert {entry.name for entry in destdir.iterdir()} == {"etc", "usr"}
