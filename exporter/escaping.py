"""Escape text from outside, so that a terminal can print it. Pure."""

import re
import unicodedata

_ASCII = re.compile(r"[ -~]*")


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
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
