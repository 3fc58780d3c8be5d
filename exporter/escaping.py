"""Escape text from outside, so that a terminal can print it. Pure."""

import re
import unicodedata

_ASCII = re.compile(r"[ -~]*")
_LAST_UNIT = 0xFFFF
"""The last character that is one code unit of UTF-16; others are a surrogate pair."""


def escape_control(text: str) -> str:
    r"""
    Return *text* with control characters, and invisible ones, escaped.

    That includes line ends and characters that reorder text. The escapes are those of
    JSON, so an escaped JSON document has the same content.

    >>> escape_control("web\x1b[31m")
    'web\\u001b[31m'
    """
    if _ASCII.fullmatch(text):
        return text
    return "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if unicodedata.category(char)[0] != "C" and char not in "\u2028\u2029":
        return char
    code = ord(char)
    if code <= _LAST_UNIT:
        return f"\\u{code:04x}"
    high, low = divmod(code - _LAST_UNIT - 1, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
