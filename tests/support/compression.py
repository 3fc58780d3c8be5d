"""Decompression as clients do it."""

import zlib


def gunzip_member(data: bytes) -> bytes:
    """Decompress the first gzip member of *data*, which must be the only member."""
    decompressor = zlib.decompressobj(31)
    text = decompressor.decompress(data) + decompressor.flush()
    assert decompressor.eof
    assert not decompressor.unused_data
    return text
