"""
Chunks compressed into one gzip member, RFC 1952; each that lasts only once.

A client may read the first member and stop. Within one, a full flush ends a piece at
a byte's border, and no piece refers to another: so it can be used again anywhere.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from exporter.exposition.page_cache import Chunk

LEVEL = 1
"""Level 9 takes four times the CPU for a page that stays on the local network."""

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
"""Deflate, no name, no time; compressed fast, on an unknown system."""

_LAST_BLOCK = b"\x03\0"


def compress(chunks: Sequence[Chunk]) -> bytes:
    """
    Return *chunks* compressed.

    One that was on such a page before keeps its compressed form. New ones are
    compressed together with their neighbours, since they may be other ones next time.
    """
    checksum = size = 0
    for chunk in chunks:
        checksum = zlib.crc32(chunk.plain, checksum)
        size += len(chunk.plain)
    trailer = struct.pack("<LL", checksum, size & 0xFFFFFFFF)
    return b"".join((_HEADER, *_pieces(chunks), _LAST_BLOCK, trailer))


def _pieces(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    stream = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    pending = False
    for chunk in chunks:
        if not chunk.known:
            chunk.known = pending = True
            yield stream.compress(chunk.plain)
            continue
        if pending:
            pending = False
            yield stream.flush(zlib.Z_FULL_FLUSH)
        if chunk.deflated is None:
            begun = stream.compress(chunk.plain)
            chunk.deflated = begun + stream.flush(zlib.Z_FULL_FLUSH)
        yield chunk.deflated
    if pending:
        yield stream.flush(zlib.Z_FULL_FLUSH)
