"""Print the owner of a namespace in which a toy container runs; see test_table.py."""

import sys
from collections import Counter
from pathlib import Path

import msgspec

import exporter
from exporter.discovery.processes import ProcessTable
from exporter.files.records import NoForeignFiles
from exporter.model import Declared, Frozen, Ino, Owner
from exporter.ownership.attribution import Attribution
from exporter.ownership.facts import FactsReader
from exporter.ownership.metadata import ContainerMetadata
from exporter.ownership.resolver import OwnerResolver
from exporter.runtimes.records import NullPoller
from tests.support.builders import CONTAINER, a_netns
from tests.support.clock import Clock
from tests.support.fakeproc import HOST_INO, FakeProc

NETNS = Ino(555)


class Printed(Frozen, frozen=True, kw_only=True):
    exporter: str
    owner: Owner | None
    declared: tuple[Declared, ...]


def resolve(rootfs: Path, proc: Path) -> Printed:
    fake = FakeProc(proc)
    fake.process(1)
    fake.process(10, netns=NETNS, cgroup=f"0::/toy/{CONTAINER}\n".encode())
    clock, processes = Clock(), ProcessTable(fake.procfs, "/")
    metadata = ContainerMetadata(
        fake.procfs,
        rootfs=str(rootfs),
        poller=NullPoller(),
        files=NoForeignFiles(),
        stale_after=60,
        clock=clock,
    )
    facts = FactsReader(fake.procfs, processes, metadata, Counter())
    attribution = Attribution(a_netns(7, ino=NETNS), clock(), is_readable=True)

    processes.scan()
    OwnerResolver(facts, metadata, grace=5, clock=clock).resolve(
        {NETNS: attribution}, Ino(HOST_INO)
    )

    return Printed(
        exporter=exporter.__file__,
        owner=attribution.owner,
        declared=attribution.declared,
    )


if __name__ == "__main__":
    printed = resolve(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(msgspec.json.encode(printed).decode())
