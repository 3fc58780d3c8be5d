"""Full scans take turns, and new processes do not wait for theirs."""

import pytest

from exporter.discovery import full_scan
from exporter.discovery.full_scan import FullScanResults
from exporter.kernel.procfs import MountNs
from exporter.model import Ino

POD = Ino(555)
MNT = MountNs("mnt:[9]")


def scan(results: FullScanResults, pids: range) -> list[int]:
    """Scan what is due of *pids*; every process has a stray thread in POD."""
    due = results.due(pids)
    for pid in due:
        results.record(pid, [(POD, pid + 100)], MNT)
    return due


def test_a_few_processes_are_scanned_every_time() -> None:
    results = FullScanResults()

    assert scan(results, range(10, 13)) == [10, 11, 12]
    assert sorted(scan(results, range(10, 13))) == [10, 11, 12]


def test_more_processes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_scan, "PROCESSES_PER_SCAN", 2)
    results = FullScanResults()
    scan(results, range(10, 15))

    turns = [scan(results, range(10, 15)) for _ in range(3)]

    assert turns == [[10, 11], [12, 13], [14, 10]]


def test_a_new_process_does_not_wait_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(full_scan, "PROCESSES_PER_SCAN", 1)
    results = FullScanResults()
    scan(results, range(10, 13))

    assert scan(results, range(10, 16)) == [10, 13, 14, 15]


def test_a_removed_process_has_no_stray_threads() -> None:
    results = FullScanResults()
    scan(results, range(10, 12))
    results.update_stray_threads()
    assert results.stray_threads == {POD: [(10, 110), (11, 111)]}

    results.remove(10)
    results.update_stray_threads()

    assert results.stray_threads == {POD: [(11, 111)]}


def test_a_mount_namespace_has_its_lowest_pid() -> None:
    results = FullScanResults()
    scan(results, range(10, 12))
    results.record(5, [], None)
    results.record(9, [], MNT)
    results.record(20, [], MountNs("mnt:[8]"))

    assert results.pid_by_mount_namespace() == {MNT: 9, MountNs("mnt:[8]"): 20}
