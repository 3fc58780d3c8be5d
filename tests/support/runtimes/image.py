"""A container image of busybox, which all runtimes of the tests load."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")
IMAGE = "test/busybox:1"
PAUSE_IMAGE = "registry.k8s.io/pause:3.6"

COMMAND = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"]
PATH_VARIABLE = "PATH=/bin"
_APPLETS = "cat echo env false httpd id ip ls mkdir nc ps sh sleep sysctl true wget"


def build_image_archive(directory: Path) -> Path:
    """Make an archive for `docker load`, `podman load` and `ctr images import`."""
    archive = directory / "busybox.tar"
    if archive.exists():
        return archive
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": COMMAND, "Env": [PATH_VARIABLE]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "tests"}],
    }
    config_json = json.dumps(config).encode()
    name = f"{hashlib.sha256(config_json).hexdigest()}.json"
    manifest = {
        "Config": name,
        "RepoTags": [PAUSE_IMAGE, IMAGE],
        "Layers": [f"{digest}/layer.tar"],
    }
    with tarfile.open(archive, "w") as tar:
        _add(tar, name, config_json)
        _add(tar, f"{digest}/layer.tar", layer)
        _add(tar, "manifest.json", json.dumps([manifest]).encode())
    return archive


def _layer() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes())
        for name in _APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type = tarfile.SYMTYPE
            entry.linkname = "busybox"
            tar.addfile(entry)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    return file.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o755
    tar.addfile(entry, io.BytesIO(content))


def extract_rootfs(archive: Path, rootfs: Path) -> None:
    with tarfile.open(archive) as tar:
        name = next(name for name in tar.getnames() if name.endswith("layer.tar"))
        layer = tar.extractfile(name)
        assert layer
        rootfs.mkdir(parents=True, exist_ok=True)
        # extractall(filter="data") is missing in the Python 3.11.2 of Debian 12
        subprocess.run(("tar", "-xC", rootfs), input=layer.read(), check=True)


def with_image(arguments: Sequence[str]) -> Sequence[str]:
    """Return the arguments of a `run` command, with IMAGE unless they have an image."""
    named = {IMAGE, PAUSE_IMAGE} & set(arguments)
    return arguments if named else (*arguments, IMAGE)
