"""A file is accepted only if it is a consistent snapshot."""

import msgspec
import pytest

from exporter.cli.snapshot_file import InvalidSnapshotError, parse_snapshot
from exporter.model import Snapshot
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_sysctl,
    an_encoded_snapshot,
    some_signals,
    the_hosts_namespace,
)

GOOD = an_encoded_snapshot(
    the_hosts_namespace(),
    a_namespace(),
    fresh=["4096"],
    counters=["TcpExt.ListenDrops"],
    signals=[some_signals(a_listener(), counters=[1]), some_signals()],
)


def test_the_output_of_snapshot_is_parsed() -> None:
    snapshot = parse_snapshot(msgspec.json.encode(GOOD), "node.json")

    assert isinstance(snapshot, Snapshot)
    assert snapshot.node == "node-1"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": 2}',
        msgspec.json.encode(GOOD)[:-10],
    ],
)
def test_any_other_input_is_an_error_with_the_name_of_the_file(raw: bytes) -> None:
    with pytest.raises(InvalidSnapshotError, match=r"node\.json is"):
        parse_snapshot(raw, "node.json")


@pytest.mark.parametrize(
    "inconsistent",
    [
        an_encoded_snapshot(a_namespace(readings=["1", "2"])),
        an_encoded_snapshot(a_namespace(readings=[])),
        an_encoded_snapshot(fresh=["1", "2"]),
        an_encoded_snapshot(a_namespace(readings=["1 2"])),
        an_encoded_snapshot(a_namespace(readings=["many"])),
        an_encoded_snapshot(shared=[a_sysctl("net.core.rmem_max", class_="shared")]),
        an_encoded_snapshot(a_namespace(), signals=[some_signals(), some_signals()]),
        an_encoded_snapshot(a_namespace(), signals=[some_signals(counters=[1])]),
        an_encoded_snapshot(
            a_namespace(), signals=[some_signals(a_listener(limit=-1))]
        ),
        an_encoded_snapshot(
            a_namespace(), signals=[some_signals(a_listener(queue=-1))]
        ),
    ],
)
def test_inconsistent_snapshots_are_refused(inconsistent: object) -> None:
    with pytest.raises(InvalidSnapshotError):
        parse_snapshot(msgspec.json.encode(inconsistent), "node.json")
