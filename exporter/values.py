"""
Parse the contents of sysctl files. Pure.

Formats: Documentation/admin-guide/sysctl/ and, for bitmaps, proc_do_large_bitmap() in
kernel/sysctl.c.
"""

from exporter.model import Reading, Sysctl, Unreadable

MISSING = Unreadable(unreadable="missing")
DENIED = Unreadable(unreadable="denied")
FAILED = Unreadable(unreadable="failed")
MALFORMED = Unreadable(unreadable="malformed")

_MAX_NUMBER = (1 << 64) - 1
"""The largest number that a kernel prints; a declared value may be larger."""


def parse_reading(sysctl: Sysctl, raw: bytes) -> Reading:
    r"""
    Parse the whole content of a file into one line, with fields separated by a space.

    A bitmap becomes the number of bits that are set: its text can be 200 kB long in a
    container, and the number can be compared. MALFORMED if the content does not fit the
    kind of the sysctl.

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
        numbers = parse_numbers(text)
    except ValueError:  # UnicodeDecodeError included
        return MALFORMED
    if len(numbers) != (len(sysctl.fields) or 1):
        return MALFORMED
    if max(map(abs, numbers)) > _MAX_NUMBER:
        return MALFORMED
    return text


def parse_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a reading whose kind is not `text`."""
    return tuple(int(word) for word in text.split(" "))


def parse_number(reading: Reading | None) -> int | None:
    """Return the one number of a reading, None where there is no readable value."""
    return int(reading) if isinstance(reading, str) else None


def decode_filename(name: str) -> str:
    r"""
    Return a file name as text that can be encoded in UTF-8.

    File names are bytes: bytes that are not UTF-8 become escapes such as \xff.

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
