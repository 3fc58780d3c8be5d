"""Size of samples on disk, in a block of 18 hours that promtool writes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from bench.fleet.nodes import Node
from bench.fleet.server import renderer
from exporter.model import Detail

PODS = 10
SECONDS = 60
LENGTH = 18 * 3600
START = 1699963200
"""Start of a block of LENGTH: Prometheus merges three blocks, from two hours on."""

_TEXT = "text/plain"


class _Stats(msgspec.Struct):
    samples: int = msgspec.field(name="numSamples")
    series: int = msgspec.field(name="numSeries")


class _Meta(msgspec.Struct):
    stats: _Stats


def measure(detail: Detail) -> dict[str, float]:
    """Return the bytes per sample in a block, including the index."""
    with TemporaryDirectory() as directory:
        exposition = Path(directory) / "exposition"
        with exposition.open("wb") as file:
            file.writelines(_samples(detail))
        blocks = Path(directory) / "blocks"
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics"]
        duration = "--max-block-duration=24h"
        subprocess.run(
            [*command, "--quiet", duration, exposition, blocks],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _sizes(blocks)


def _samples(detail: Detail) -> Iterator[bytes]:
    """Yield the samples of a node's expositions, with their timestamps."""
    node, rendering = Node(0, PODS), renderer(detail)
    for at in range(START, START + LENGTH, SECONDS):
        node.advance(SECONDS)
        rendering.render(node.snapshot())
        timestamp = b" %d\n" % at
        for chunk in rendering.exposition(_TEXT):
            for line in chunk.plain.splitlines():
                if not line.startswith(b"#"):
                    yield line + timestamp
    yield b"# EOF\n"


def _sizes(blocks: Path) -> dict[str, float]:
    metas = [
        msgspec.json.decode(file.read_bytes(), type=_Meta)
        for file in blocks.glob("*/meta.json")
    ]
    samples = sum(meta.stats.samples for meta in metas)
    size = sum(file.stat().st_size for file in blocks.rglob("*") if file.is_file())
    return {"bytes per sample": size / samples, "blocks": float(len(metas))}
