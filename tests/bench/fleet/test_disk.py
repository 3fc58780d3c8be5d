"""The size of samples on disk is measured in a real block."""

from bench.fleet.disk import measure


def test_a_block_is_written_and_measured() -> None:
    values = measure("summary")

    assert values["blocks"] == 1, "the samples span exactly one block"
    assert 0.1 < values["bytes per sample"] < 16, "less than uncompressed"
