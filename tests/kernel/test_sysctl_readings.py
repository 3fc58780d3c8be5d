"""Readings change with the bytes of a file, and changes of values are counted."""

import time

import pytest

from exporter.kernel.sysctl_readings import SysctlPlan, SysctlReadings
from exporter.model import Change, Kind, Sysctl
from exporter.values import DENIED, FAILED, MALFORMED, MISSING


def sysctl(name: str, kind: Kind = "int") -> Sysctl:
    return Sysctl(name=name, kind=kind, class_="constant", settable_by="pod", fields=())


SOMAXCONN = sysctl("net.core.somaxconn")
RESERVED = sysctl("net.ipv4.ip_local_reserved_ports", "ranges")


@pytest.fixture
def readings() -> SysctlReadings:
    return SysctlReadings([SOMAXCONN, RESERVED])


def test_a_plan_has_an_item_per_sysctl_in_every_list() -> None:
    plan = SysctlPlan([SOMAXCONN, RESERVED], "/host/proc")

    assert plan.paths[0] == "/host/proc/sys/net/core/somaxconn"
    assert plan.locations[0] == ("/host/proc/sys/net/core", "somaxconn")
    assert plan.buffer_sizes[0] < plan.buffer_sizes[1]
    assert plan.variable_length == {1}


def test_a_sysctl_that_was_not_read_is_missing(readings: SysctlReadings) -> None:
    assert readings.as_tuple() == (MISSING, MISSING)
    assert readings.has_missing
    assert len(readings) == 2


def test_a_value_is_parsed(readings: SysctlReadings) -> None:
    readings.update(0, b"4096\n")
    readings.update(1, b"5,7-9\n")

    assert readings.as_tuple() == ("4096", "4")
    assert not readings.has_missing
    assert readings.changes() == ()


def test_changes_of_a_value_are_counted_with_their_time(
    readings: SysctlReadings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    for raw in (b"1\n", b"2\n", b"2\n", b"3\n"):
        readings.update(0, raw)

    (change,) = readings.changes()

    assert change == Change(sysctl=SOMAXCONN.name, count=2, last=1_700_000_000.0)


def test_a_value_that_returns_after_an_error_is_no_change(
    readings: SysctlReadings,
) -> None:
    readings.update(0, b"1\n")
    readings.update_failed(0, OSError(5, "I/O error"))
    readings.update(0, b"1\n")

    assert readings[0] == "1"
    assert readings.changes() == ()


def test_other_bytes_of_the_same_value_are_no_change(
    readings: SysctlReadings,
) -> None:
    """The value of a bitmap is the number of bits in it."""
    readings.update(1, b"5\n")
    readings.update(1, b"6\n")

    assert readings[1] == "1"
    assert readings.changes() == ()


def test_errors_are_counted_but_absence_is_none(readings: SysctlReadings) -> None:
    readings.update(0, b"many\n")
    assert readings[0] == MALFORMED

    readings.update_failed(0, PermissionError())
    assert readings[0] == DENIED

    readings.update_failed(0, OSError(5, "I/O error"))
    assert readings[0] == FAILED

    readings.update_failed(0, FileNotFoundError())
    assert readings[0] == MISSING

    readings.mark_unreadable(0, DENIED)
    assert readings[0] == DENIED
    assert readings.errors == {"malformed": 1, "denied": 1, "failed": 1}
