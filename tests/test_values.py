"""Parsing the contents of sysctl files, by kind of sysctl."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Kind, Sysctl, Unreadable
from exporter.values import MALFORMED, parse_numbers, parse_reading
from tests.support.builders import a_sysctl

INT = a_sysctl(kind="int")
PAIR = a_sysctl(kind="ints", fields=("low", "high"))
TRIPLE = a_sysctl(kind="ints", fields=("min", "default", "max"))
TEXT = a_sysctl(kind="text")
RANGES = a_sysctl(kind="ranges")
CPUMASK = a_sysctl(kind="cpumask")
ALL = [INT, PAIR, TRIPLE, TEXT, RANGES, CPUMASK]

ODD_PORTS = ",".join(str(port) for port in range(53501, 65536, 2)).encode() + b"\n"

VALID: list[tuple[Sysctl, bytes, str]] = [
    (INT, b"0\n", "0"),
    (INT, b"4096\n", "4096"),
    (INT, b"4096", "4096"),
    (INT, b"-1\n", "-1"),
    (INT, b"4294967295\n", "4294967295"),
    (INT, b"9223372036854775807\n", "9223372036854775807"),
    (INT, b"-9223372036854775808\n", "-9223372036854775808"),
    (INT, b"18446744073709551615\n", "18446744073709551615"),
    (PAIR, b"32768\t60999\n", "32768 60999"),
    (PAIR, b"1 \t 0\n", "1 0"),
    (PAIR, b"0\t2147483647\n", "0 2147483647"),
    (TRIPLE, b"4096\t131072\t6291456\n", "4096 131072 6291456"),
    (TEXT, b"cubic\n", "cubic"),
    (TEXT, b"reno cubic bbr\n", "reno cubic bbr"),
    (TEXT, b"NONE\n", "NONE"),
    (TEXT, b"\n", ""),
    (RANGES, b"\n", "0"),
    (RANGES, b"", "0"),
    (RANGES, b"8080\n", "1"),
    (RANGES, b"1-3,8\n", "4"),
    (RANGES, b"0-1,3-255\n", "255"),
    (RANGES, b"0-65535\n", "65536"),
    (CPUMASK, b"0\n", "0"),
    (CPUMASK, b"f\n", "4"),
    (CPUMASK, b"ff,ffffffff\n", "40"),
    (CPUMASK, b"00000000,00000001\n", "1"),
]

MALFORMED_TEXTS: list[tuple[Sysctl, bytes]] = [
    (INT, b""),
    (INT, b"\n"),
    (INT, b"many\n"),
    (INT, b"1 2\n"),
    (INT, b"1.5\n"),
    (INT, b"0x10\n"),
    (INT, b"1\0\n"),
    (INT, b"9" * 5000),
    (PAIR, b"\n"),
    (PAIR, b"32768\n"),
    (PAIR, b"32768\t60999\t1\n"),
    (PAIR, b"low\thigh\n"),
    (TRIPLE, b"4096\t131072\n"),
    (RANGES, b"ssh\n"),
    (RANGES, b"1 2\n"),
    (RANGES, b"1-2-3\n"),
    (RANGES, b"-3\n"),
    (RANGES, b"0-" + b"9" * 4300),
    (CPUMASK, b"\n"),
    (CPUMASK, b",\n"),
    (CPUMASK, b"xyz\n"),
    (CPUMASK, b"f f\n"),
]


def test_the_tables_have_sysctls_of_every_kind() -> None:
    assert {sysctl.kind for sysctl in ALL} == set(get_args(Kind))


@pytest.mark.parametrize(("sysctl", "raw", "reading"), VALID)
def test_valid_text_is_parsed(sysctl: Sysctl, raw: bytes, reading: str) -> None:
    assert parse_reading(sysctl, raw) == reading


def test_a_long_list_of_ports_becomes_their_number() -> None:
    assert len(ODD_PORTS) > 36_000

    assert parse_reading(RANGES, ODD_PORTS) == "6018"


@pytest.mark.parametrize(("sysctl", "raw"), MALFORMED_TEXTS)
def test_text_of_another_kind_is_malformed(sysctl: Sysctl, raw: bytes) -> None:
    assert parse_reading(sysctl, raw) == MALFORMED


@pytest.mark.parametrize("sysctl", ALL, ids=[f"{s.kind}{len(s.fields)}" for s in ALL])
@pytest.mark.parametrize("raw", [b"\xff\n", "٣\n".encode(), "é\n".encode("latin-1")])
def test_text_that_is_not_ascii_is_malformed(sysctl: Sysctl, raw: bytes) -> None:
    assert parse_reading(sysctl, raw) == MALFORMED


SIMILAR = st.text("0123456789abcdef-+_,. \t\n\0x").map(str.encode)


@given(st.sampled_from(ALL), st.binary() | SIMILAR)
def test_any_bytes_become_one_line_or_malformed(sysctl: Sysctl, raw: bytes) -> None:
    reading = parse_reading(sysctl, raw)

    assert reading == MALFORMED or (
        isinstance(reading, str)
        and reading == " ".join(reading.split())
        and reading.isascii()
    )


@given(st.sampled_from([s for s in ALL if s.kind != "text"]), st.binary() | SIMILAR)
def test_a_reading_has_one_number_per_field(sysctl: Sysctl, raw: bytes) -> None:
    reading = parse_reading(sysctl, raw)

    assert isinstance(reading, Unreadable) or (
        len(parse_numbers(reading)) == max(1, len(sysctl.fields))
    )


@given(st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=9))
def test_numbers_are_parsed_as_the_kernel_prints_them(printed: list[int]) -> None:
    fields = tuple(f"field{at}" for at in range(len(printed)))
    kind = a_sysctl(kind="ints", fields=fields)

    reading = parse_reading(kind, "\t".join(map(str, printed)).encode() + b"\n")

    assert isinstance(reading, str)
    assert parse_numbers(reading) == tuple(printed)


@given(st.sets(st.integers(0, 65535)))
def test_a_bitmap_becomes_the_number_of_bits_in_either_notation(
    ports: set[int],
) -> None:
    singles = ",".join(map(str, sorted(ports))).encode()

    assert (
        parse_reading(RANGES, singles)
        == parse_reading(RANGES, format_ranges(ports))
        == str(len(ports))
    )


@given(st.integers(0, 2**256 - 1))
def test_a_cpu_mask_becomes_the_number_of_bits_in_any_number_of_words(
    mask: int,
) -> None:
    digits = f"{mask:064x}"
    words = ",".join(digits[at : at + 8] for at in range(0, 64, 8))

    assert parse_reading(CPUMASK, words.encode()) == str(mask.bit_count())


def format_ranges(ports: set[int]) -> bytes:
    """Format *ports* as proc_do_large_bitmap() does: neighbors as one range."""
    starts = sorted(port for port in ports if port - 1 not in ports)
    ends = sorted(port for port in ports if port + 1 not in ports)
    pairs = zip(starts, ends, strict=True)
    items = (f"{low}" if low == high else f"{low}-{high}" for low, high in pairs)
    return ",".join(items).encode() + b"\n"
