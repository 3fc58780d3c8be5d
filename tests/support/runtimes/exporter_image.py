"""The exporter's image, on a base made by debootstrap, and an Engine to run it."""

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

from tests.support.runtimes.docker import Docker

PROJECT = Path(__file__).parents[3]
NAME = "netns-sysctl-exporter"
BASE = "test/debian:bookworm"

_RELEASE = "bookworm"
_PYTHON = "3.11"
_SECONDS = 600
_WITH_SHARED_RUN = 'mount --bind "$0" /run && exec "$@"'
_NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/locale",
    "var/cache/apt",
    "var/lib/apt/lists",
)


class Engine(Docker):
    """An Engine with its own /run, mounted shared as by systemd."""

    def __init__(self, log: Path, home: Path, bridge: str, *flags: str) -> None:
        host = "--host=unix:///run/docker.sock"
        super().__init__(log, home, bridge, host, *flags)
        (home / "run").mkdir()
        unshare = ("unshare", "--mount", "--propagation", "shared")
        run = ("sh", "-c", _WITH_SHARED_RUN, home / "run")
        self._command = (*unshare, *run, *self._command)

    def make_base(self, directory: Path) -> None:
        """Import a Debian with Python and venv, from this machine's mirror."""
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
        Build the image with the classic builder, without network.

        pip downloads the wheels here, outside the build, so that the configuration of
        pip on this machine, with its certificates and passwords, stays outside too.
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
        variables = (f"BASE={BASE}", "PIP_NO_INDEX=1")
        arguments = [word for value in variables for word in ("--build-arg", value)]
        build = ("build", "--quiet", "--network=none", *arguments, "--tag", NAME)
        _do(*self._client, *build, str(context), env={"DOCKER_BUILDKIT": "0"})

    def build_substitute(
        self, directory: Path, image: str, program: str, *others: str
    ) -> None:
        """
        Build an image named as one in a registry, with this machine's program.

        As in the image of Prometheus, the user is nobody, and owns a data directory
        named after the image. others: paths of other files that the program needs.
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
        """Run docker-compose: Debian's version is older than `docker compose`."""
        if not shutil.which("docker-compose"):
            pytest.skip("needs docker-compose")
        words = map(str, arguments)
        host = {"DOCKER_HOST": f"unix://{self.socket}"}
        return _do("docker-compose", "--ansi=never", *words, env=host)


def documented_command(document: str) -> tuple[list[str], list[str]]:
    """Return the flags of `docker run` in a document, and the exporter's arguments."""
    text = (PROJECT / document).read_text().replace("\\\n", " ")
    run = rf"^docker run --detach (--name {NAME} .*)$"
    (command,) = re.findall(run, text, re.MULTILINE)
    words = shlex.split(command)
    at = words.index(NAME, words.index(NAME) + 1)  # the first is its --name
    return words[:at], words[at + 1 :]


def _copy(name: str, context: Path) -> None:
    """Copy a file or directory of the project, if it exists."""
    source, target = PROJECT / name, context / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif source.exists():
        shutil.copy2(source, target)


def _mirror() -> str:
    """Return the mirror from which apt has Debian here; skip the test without one."""
    if not shutil.which("debootstrap"):
        pytest.skip("needs debootstrap")
    if mirror := _indexed_mirror():
        return mirror
    _do("apt-get", "update", "-qq")  # apt shows only what it has an index of
    return _indexed_mirror() or pytest.skip(f"apt has no mirror of {_RELEASE}")


def _indexed_mirror() -> str | None:
    form = "$(CODENAME) $(COMPONENT) $(REPO_URI)"
    command = ("apt-get", "indextargets", "--format", form, "Identifier: Packages")
    for line in _do(*command).splitlines():
        name, component, address = line.split()
        if (name, component) == (_RELEASE, "main"):
            return address
    return None


def _proxy() -> dict[str, str]:
    """Return the proxies that apt is configured with, as environment variables."""
    names = (
        "http_proxy",
        "Acquire::http::Proxy",
        "https_proxy",
        "Acquire::https::Proxy",
    )
    words = shlex.split(_do("apt-config", "shell", *names))
    return dict(word.split("=", 1) for word in words)


def _do(
    *command: str, env: Mapping[str, str] | None = None, stdin: IO[bytes] | None = None
) -> str:
    """Run a slow command; passwords in URLs are removed from its error output."""
    result = subprocess.run(
        command,
        check=False,
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env=os.environ | (env or {}),
    )
    output = re.sub("://[^/@ ]*@", "://…@", result.stdout + result.stderr)
    assert result.returncode == 0, f"{command[0]}: {output[-4000:]}"
    return result.stdout
