"""Chunks are compressed into one gzip member, each lasting chunk only once."""

import gzip
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition import incremental_gzip
from exporter.exposition.chunk_table import Chunk
from exporter.exposition.incremental_gzip import compress
from tests.support.compression import gunzip_member

LINES = b'netns_sysctl_value{namespace="shop",pod="web-0"} 1.0\n' * 9


def some_chunks(number: int = 9) -> list[Chunk]:
    return [Chunk(LINES + b"%d" % at) for at in range(number)]


def plain(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.plain for chunk in chunks)


@given(st.lists(st.lists(st.integers(0, 5)), max_size=5), st.data())
def test_the_decompressed_bytes_are_those_of_the_chunks(
    pages: list[list[int]], data: st.DataObject
) -> None:
    available = [
        Chunk(data.draw(st.binary(max_size=9)) * data.draw(st.integers(0, 99)))
        for _ in range(6)
    ]
    for page in pages:
        chunks = [available[at] for at in page]
        assert gunzip_member(compress(chunks)) == plain(chunks)


def test_gzip_decompresses_it() -> None:
    chunks = some_chunks()
    for _ in range(3):
        chunks = [*some_chunks(2), *chunks, Chunk(b"new")]
        done = subprocess.run(
            ["gzip", "-dc"], input=compress(chunks), check=True, capture_output=True
        )
        assert done.stdout == plain(chunks)
        assert not done.stderr


def test_a_chunk_is_compressed_separately_once_it_has_lasted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lasting, new = some_chunks(2)

    compress([lasting])
    after_one = lasting.deflated
    compress([lasting, new])
    assert after_one is None
    assert new.deflated is None
    assert lasting.deflated

    monkeypatch.setattr(incremental_gzip, "LEVEL", 0)
    page = compress([lasting])
    assert lasting.deflated in page
    assert len(page) < len(LINES)


def test_new_neighbors_are_compressed_together() -> None:
    """It is no larger than what gzip makes of them, but for a few bytes."""
    chunks = some_chunks(30)

    together = len(compress(chunks))

    assert together < len(gzip.compress(plain(chunks), 1)) + 9


def test_the_size_is_that_of_rfc_1952() -> None:
    assert compress([])[-8:] == bytes(8)
    assert compress([Chunk(b"abc")])[-4:] == b"\x03\0\0\0"
