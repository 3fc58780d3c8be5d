"""Encoded namespaces of the previous snapshot are found again."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.unchanged import copy_of, find_unchanged

NAMESPACES = st.lists(st.sampled_from([b"1", b"2", b"3", b"[4,4]"]), max_size=6)


@given(NAMESPACES, NAMESPACES)
def test_each_namespace_of_the_previous_snapshot_is_found(
    now: list[bytes], before: list[bytes]
) -> None:
    encoded = [copy_of(msgspec.Raw(text)) for text in before]

    found = list(find_unchanged([msgspec.Raw(text) for text in now], encoded))

    assert len(found) == len(now)
    for text, index in zip(now, found, strict=True):
        assert text not in before if index is None else before[index] == text
