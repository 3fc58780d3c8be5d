"""Any text is a value or a YamlError that says why, in bounded time and memory."""

import contextlib
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.yaml_decoder import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    MAX_SCALAR,
    YamlError,
    decode_yaml,
)

SECONDS = 20
"""Without limits the texts below take minutes, or end the process."""

DEEP = 100_000
MERGES = b"a0: &a0 {k: v}\n" + b"".join(
    b"a%d: &a%d {<<: [%s]}\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9))
    for level in range(1, 12)
)
BASE_60 = b"a: 1" + b":59" * 300_000

WORDS = st.sampled_from(
    [
        *(b"[", b"]", b"{", b"}", b"- ", b"? ", b": ", b", ", b"a", b"&a ", b"*a"),
        *(b"<<", b"\n", b"\n  ", b"|\n", b"!!int ", b"!!map ", b"%", b"---\n", b"\0"),
    ]
)


def error_of(text: bytes) -> str:
    started = time.monotonic()
    with pytest.raises(YamlError) as caught:
        decode_yaml(text, dict)
    assert time.monotonic() - started < SECONDS
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *(b"[" * DEEP, b"{a: " * DEEP, b"- " * DEEP, b"? " * DEEP, b"[\n" * DEEP),
        *(b"a: " + b"[" * (MAX_DEPTH) + b"]" * MAX_DEPTH, b"&a [" * DEEP),
        b"".join(b" " * level + b"a:\n" for level in range(1000)),
    ],
    ids=lambda text: text[:6],
)
def test_deep_nesting_is_an_error(text: bytes) -> None:
    assert f"nested over {MAX_DEPTH} levels deep" in error_of(text)


def test_deep_nesting_without_the_check_ends_the_process() -> None:
    """The reason for the limit: PyYAML composes by recursion in C."""
    code = f"import msgspec; msgspec.yaml.decode(b'- ' * {DEEP})"

    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode < 0


def test_nesting_within_the_limit_is_decoded() -> None:
    value = decode_yaml(b"{a: " * MAX_DEPTH + b"}" * MAX_DEPTH, dict)
    for _ in range(MAX_DEPTH - 1):
        value = value["a"]
    assert value == {"a": None}


def test_what_aliases_stand_for_counts() -> None:
    error = error_of(MERGES)
    assert f"over {MAX_NODES} values" in error
    assert error.startswith("line 6: ")


def test_aliases_and_merge_keys_are_decoded() -> None:
    text = b"base: &base {a: 1, b: &b [x]}\nother: {<<: *base, c: *b}\n"

    assert decode_yaml(text, dict)["other"] == {"a": 1, "b": ["x"], "c": ["x"]}


@pytest.mark.parametrize(
    "text",
    [b"a: &a [*a]", b"a: &a {b: {c: *a}}", b"[&a x, &a [*a]]", b"a: *b"],
)
def test_an_alias_of_what_contains_it_is_an_error(text: bytes) -> None:
    assert "has no anchor before it" in error_of(text)


def test_a_huge_scalar_is_an_error() -> None:
    assert error_of(BASE_60) == f"line 1: a value of over {MAX_SCALAR} characters"


def test_a_huge_document_is_an_error() -> None:
    assert error_of(b"#" * (MAX_BYTES + 1)) == f"larger than {MAX_BYTES} bytes"
    assert f"over {MAX_NODES} values" in error_of(b"- a\n" * (MAX_NODES + 1))


def test_the_largest_document_is_decoded() -> None:
    text = b"a: [" + b"x," * (MAX_NODES - 4) + b"]"

    assert len(decode_yaml(text, dict)["a"]) == MAX_NODES - 4


@pytest.mark.parametrize("text", [b"", b"# nothing", b"---\n", b"~"])
def test_an_empty_document_is_the_default(text: bytes) -> None:
    assert decode_yaml(text, dict) == {}


@given(st.binary() | st.lists(WORDS, max_size=200).map(b"".join))
@example(b"!!bool x")
@example(b"!!float ''")
@example(b"!!timestamp x")
@example(b"2001-13-45")
@example(b"0x%s" % (b"f" * 9000))
@example(b"\xff\xfe\x00\xd8")
@example(b"[&a x, &a [*a]]")
def test_any_text_is_a_value_or_an_error(text: bytes) -> None:
    with contextlib.suppress(YamlError):
        assert isinstance(decode_yaml(text, dict), dict)
