"""Text that somebody else chose, made fit for a terminal. Pure."""

import re
import unicodedata

_ASCII = re.compile(r"[ -~]*")


def escape_control(text: str) -> str:
    r"""
    Return *text* with what a terminal would act upon, or not show, escaped.

    Controls, line ends, and what reorders or hides text; the escapes are JSON's, so
    that JSON stays the same document.

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
