"""
The text of a sysctl file, as text and as numbers. Pure.

Formats: Documentation/admin-guide/sysctl/ and, for bitmaps, proc_do_large_bitmap
in kernel/sysctl.c.
"""

from exporter.model import Reading, Sysctl, Unreadable

MISSING = Unreadable(unreadable="missing")
DENIED = Unreadable(unreadable="denied")
FAILED = Unreadable(unreadable="failed")
MALFORMED = Unreadable(unreadable="malformed")

_LARGEST = (1 << 64) - 1
"""The largest number that the kernel prints; a declared value may exceed it."""


def parse_reading(sysctl: Sysctl, raw: bytes) -> Reading:
    r"""
    Normalize the content of a sysctl file: one line, fields separated by one space.

    A bitmap is reduced to the number of its members: a container can make its text
    200 kB long, and the count is what can be compared.

    >>> from exporter.model import Sysctl
    >>> kind = dict(name="x", class_="constant", settable_by="pod")
    >>> parse_reading(Sysctl(kind="ints", fields=("low", "high"), **kind), b"1\t9\n")
    '1 9'
    >>> parse_reading(Sysctl(kind="ranges", **kind), b"1-3,8\n")
    '4'
    """
    try:
        text = " ".join(raw.decode("ascii").split())
        match sysctl.kind:
            case "text":
                return text
            case "ranges":
                text = str(_count_ranges(text))
            case "cpumask":
                text = str(int(text.replace(",", ""), 16).bit_count())
        found = parse_numbers(text)
    except ValueError:  # UnicodeDecodeError is one
        return MALFORMED
    if len(found) != (len(sysctl.fields) or 1) or max(map(abs, found)) > _LARGEST:
        return MALFORMED
    return text


def parse_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a reading of any kind but `text`."""
    return tuple(int(word) for word in text.split(" "))


def decode_filename(name: str) -> str:
    r"""
    Return a name from the file system as text that can be encoded.

    Names are bytes: what is not UTF-8 in them is shown, not lost.

    >>> decode_filename("a\udcff")
    'a\\xff'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _count_ranges(text: str) -> int:
    total = 0
    for item in filter(None, text.split(",")):
        low, _, high = item.partition("-")
        total += int(high or low) - int(low) + 1
    return total
