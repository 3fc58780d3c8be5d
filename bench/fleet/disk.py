"""What a fleet's samples take on disk: a block of 18 hours, written by promtool."""

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
"""When a block of that length begins: they grow from two hours, times three."""

_TEXT = "text/plain"


class _Stats(msgspec.Struct):
    samples: int = msgspec.field(name="numSamples")
    series: int = msgspec.field(name="numSeries")


class _Meta(msgspec.Struct):
    stats: _Stats


def costs(detail: Detail) -> dict[str, float]:
    """Return the bytes of a sample in a block, with its share of the index."""
    with TemporaryDirectory() as directory:
        page = Path(directory) / "page"
        with page.open("wb") as file:
            file.writelines(_pages(detail))
        blocks = Path(directory) / "blocks"
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics"]
        longest = "--max-block-duration=24h"
        subprocess.run(
            [*command, "--quiet", longest, page, blocks],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _sizes(blocks)


def _pages(detail: Detail) -> Iterator[bytes]:
    """Yield the lines of a node's pages, each with when it was."""
    node, rendering = Node(0, PODS), renderer(detail)
    for at in range(START, START + LENGTH, SECONDS):
        node.advance(SECONDS)
        rendering.render(node.parcel())
        when = b" %d\n" % at
        for chunk in rendering.exposition(_TEXT):
            for line in chunk.plain.splitlines():
                if not line.startswith(b"#"):
                    yield line + when
    yield b"# EOF\n"


def _sizes(blocks: Path) -> dict[str, float]:
    metas = [
        msgspec.json.decode(one.read_bytes(), type=_Meta)
        for one in blocks.glob("*/meta.json")
    ]
    samples = sum(one.stats.samples for one in metas)
    size = sum(one.stat().st_size for one in blocks.rglob("*") if one.is_file())
    return {"bytes a sample": size / samples, "blocks": float(len(metas))}
