"""Members of namespaces are kept as processes come, move and end."""

from exporter.discovery.netns_members import NetnsMembers
from exporter.model import Ino

POD, OTHER = Ino(555), Ino(777)


def test_a_process_is_in_one_namespace() -> None:
    members = NetnsMembers()
    members.move(10, POD)
    members.move(11, POD)

    members.move(10, OTHER)

    assert members.pids_by_netns == {POD: {11}, OTHER: {10}}
    assert members.netns(10) == OTHER


def test_a_namespace_without_processes_is_not_listed() -> None:
    members = NetnsMembers()
    members.move(10, POD)

    members.move(10, None)
    members.move(11, None)

    assert not members.pids_by_netns
    assert not members.generations
    assert members.netns(10) is None


def test_a_generation_changes_when_a_process_is_added_and_is_never_reused() -> None:
    members = NetnsMembers()
    members.move(10, POD)
    first = members.generations[POD]

    members.move(10, POD)
    assert members.generations[POD] == first

    members.move(11, POD)
    second = members.generations[POD]
    members.move(11, OTHER)
    assert members.generations[POD] == second

    members.move(10, None)
    members.move(10, POD)
    numbers = {first, second, members.generations[POD], members.generations[OTHER]}
    assert len(numbers) == 4
