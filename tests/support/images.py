"""The exporter's own image, on a base made by debootstrap; and an Engine to run it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest

from tests.support.daemons import Docker

PROJECT = Path(__file__).parents[2]
NAME = "netns-sysctl-exporter"
BASE = "test/debian:bookworm"

_RELEASE = "bookworm"
_PYTHON = "3.11"
_SECONDS = 600
_ON_A_SHARED_RUN = 'mount --bind "$0" /run && exec "$@"'
_NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)


class Engine(Docker):
    """An Engine on a node whose /run is its own and shared, as systemd makes it."""

    def __init__(self, log: Path, home: Path, bridge: str, *flags: str) -> None:
        host = "--host=unix:///run/docker.sock"
        super().__init__(log, home, bridge, host, *flags)
        (home / "run").mkdir()
        apart = ("unshare", "--mount", "--propagation", "shared")
        run = ("sh", "-c", _ON_A_SHARED_RUN, home / "run")
        self._command = (*apart, *run, *self._command)

    def make_base(self, directory: Path) -> None:
        """Import a Debian with Python and venv, from this machine's own mirror."""
        root = directory / "root"
        include = "--include=python3,python3-venv"
        _do(
            *("debootstrap", "--variant=minbase", include, _RELEASE, str(root)),
            _mirror(),
            env=_proxy(),
        )
        for place in _NOT_NEEDED:
            shutil.rmtree(root / place)
        with subprocess.Popen(
            ["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE
        ) as tar:
            _do(*self._client, "import", "-", BASE, stdin=tar.stdout)
        assert tar.returncode == 0
        shutil.rmtree(root)

    def build(self, directory: Path) -> None:
        """
        Build the image with the classic builder, which has no network.

        What pip is told here, in its files, in the environment, with whatever
        certificate or password, is for pip here: it fetches the wheels.
        """
        context = directory / "context"
        context.mkdir()
        for line in (PROJECT / ".dockerignore").read_text().splitlines():
            if line.startswith("!"):
                _copy(line[1:], context)
        for name in ("Dockerfile", ".dockerignore"):
            _copy(name, context)
        lock = str(PROJECT / "requirements.lock")
        wheels = ("--dest", str(context / "wheels"), "--only-binary=:all:")
        download = ("download", "--quiet", "--require-hashes", "--no-deps")
        _do(
            *(sys.executable, "-m", "pip", *download, "--requirement", lock),
            *(*wheels, "--python-version", _PYTHON),
        )
        told = (f"BASE={BASE}", "PIP_NO_INDEX=1")
        arguments = [word for one in told for word in ("--build-arg", one)]
        build = ("build", "--quiet", "--network=none", *arguments, "--tag", NAME)
        _do(*self._client, *build, str(context), env={"DOCKER_BUILDKIT": "0"})

    def stand_in(self, directory: Path, image: str, program: str, *others: str) -> None:
        """
        Make an image of a registry's name, with this machine's own program in it.

        As in Prometheus's own, nobody runs it, whose is a place for data, of the
        image's name. others: paths of what else the program needs.
        """
        name = re.sub(".*/|:.*", "", image)
        path = shutil.which(program) or pytest.skip(f"needs {program}")
        context = directory / name
        for source in (path, *others):
            target = context / "root" / source.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if Path(source).is_dir() else shutil.copy2
            copy(source, target)
        recipe = (
            f"FROM {BASE}\nCOPY root /\nRUN install --directory -o nobody /{name}\n"
        )
        start = f'USER nobody\nENTRYPOINT ["{path}"]\n'
        (context / "Dockerfile").write_text(recipe + start)
        build = ("build", "--quiet", "--network=none", "--tag", image)
        _do(*self._client, *build, str(context), env={"DOCKER_BUILDKIT": "0"})

    def compose(self, *arguments: str | Path) -> str:
        """Run Docker Compose; as Debian has it, it is older than `docker compose`."""
        if not shutil.which("docker-compose"):
            pytest.skip("needs docker-compose")
        words = map(str, arguments)
        address = {"DOCKER_HOST": f"unix://{self.socket}"}
        return _do("docker-compose", "--ansi=never", *words, env=address)


def documented(document: str) -> tuple[list[str], list[str]]:
    """Return the flags of a document's `docker run`, and the exporter's arguments."""
    text = (PROJECT / document).read_text().replace("\\\n", " ")
    run = rf"^docker run --detach (--name {NAME} .*)$"
    (command,) = re.findall(run, text, re.MULTILINE)
    words = shlex.split(command)
    at = words.index(NAME, words.index(NAME) + 1)  # the first is its --name
    return words[:at], words[at + 1 :]


def _copy(name: str, context: Path) -> None:
    """Copy a file or directory of the project, if it is there."""
    source, target = PROJECT / name, context / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.exists():
        shutil.copy2(source, target)


def _mirror() -> str:
    """Return where apt has Debian from, on this machine; skip where it is not."""
    if not shutil.which("debootstrap"):
        pytest.skip("needs debootstrap")
    if found := _indexed():
        return found
    _do("apt-get", "update", "-qq")  # of what has no index yet it tells nothing
    return _indexed() or pytest.skip(f"apt has no {_RELEASE} to make an image of")


def _indexed() -> str | None:
    form = "$(CODENAME) $(COMPONENT) $(REPO_URI)"
    command = ("apt-get", "indextargets", "--format", form, "Identifier: Packages")
    for line in _do(*command).splitlines():
        name, component, address = line.split()
        if (name, component) == (_RELEASE, "main"):
            return address
    return None


def _proxy() -> dict[str, str]:
    """Return the proxies that apt is told, for a child's environment."""
    known = (
        "http_proxy",
        "Acquire::http::Proxy",
        "https_proxy",
        "Acquire::https::Proxy",
    )
    said = shlex.split(_do("apt-config", "shell", *known))
    return dict(word.split("=", 1) for word in said)


def _do(
    *command: str, env: Mapping[str, str] | None = None, stdin: IO[bytes] | None = None
) -> str:
    """Run a command that may take its time; what it says tells no password."""
    result = subprocess.run(
        command,
        check=False,
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env=os.environ | (env or {}),
    )
    said = re.sub("://[^/@ ]*@", "://…@", result.stdout + result.stderr)
    assert result.returncode == 0, f"{command[0]}: {said[-4000:]}"
    return result.stdout
