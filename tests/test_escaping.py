"""Names chosen by containers cannot control a terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.escaping import escape_control


@pytest.mark.parametrize("text", ["web-0", "net.core.somaxconn", "café", "日本", ""])
def test_printable_text_is_unchanged(text: str) -> None:
    assert escape_control(text) == text


@pytest.mark.parametrize(
    "char", ["\x1b", "\x9b", "\n", "\r", "\x7f", "\u202e", "\u200b", "\u2028", "\ud800"]
)
def test_control_and_invisible_characters_are_escaped(char: str) -> None:
    assert escape_control(f"a{char}b") == f"a\\u{ord(char):04x}b"


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    assert all(unicodedata.category(char)[0] != "C" for char in escape_control(text))


@given(st.text())
def test_escaped_json_has_the_same_content(text: str) -> None:
    document = json.dumps([text], ensure_ascii=False)

    assert json.loads(escape_control(document)) == [text]
