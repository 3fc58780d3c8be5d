"""How the files that may be held are shared out, with files of our own namespace."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collector.fd_budget import SysctlFileManager
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import Config
from exporter.model import Ino, NetnsId


def holdings(limit: int) -> SysctlFileManager:
    sysctls = msgspec.structs.replace(Config().sysctls, max_fds=limit)
    return SysctlFileManager(msgspec.structs.replace(Config(), sysctls=sysctls))


def admitted(to: SysctlFileManager, number: int) -> list[TrackedNamespace]:
    every = []
    for at in range(number):
        files = to.of_a_new_one()
        for part in files:
            part.open_all()
        netns = NetnsId(cookie=at, ino=Ino(at), first_seen=0.0)
        every.append(TrackedNamespace(netns, 0.0, files))
    return every


def close(every: list[TrackedNamespace]) -> None:
    for one in every:
        assert one.files
        assert one.live
        one.files.close()
        one.live.close()


@pytest.fixture
def each() -> int:
    """Return how many files a namespace takes, its pidfd included."""
    made = holdings(1000)
    made.share_out([], 1)
    every = admitted(made, 1)
    taken = made.held + 1
    close(every)
    return taken


@pytest.mark.usefixtures("no_leaked_files")
def test_where_all_have_room_nobody_loses_a_file(each: int) -> None:
    made = holdings(6 * each + 100)
    made.share_out([], 6)
    every = admitted(made, 6)

    made.share_out(every, 6)

    assert made.short_cuts.limit == 6
    assert made.short_cuts.held == 0
    assert all(one.files and not one.files.unbound for one in every)
    close(every)


@pytest.mark.usefixtures("no_leaked_files")
def test_where_they_have_not_the_youngest_lose_all_of_theirs(each: int) -> None:
    made = holdings(6 * each)
    made.share_out([], 4)
    every = admitted(made, 4)

    made.share_out(every, 30)

    bound = [one.files.bound for one in every if one.files]
    assert bound[0] > 0
    assert bound[-1] == 0
    assert bound == sorted(bound, reverse=True)
    assert made.bound <= made.limit - made.short_cuts.limit
    close(every)
    assert made.held == 0


@given(limit=st.integers(0, 5000), namespaces=st.integers(0, 2000))
def test_the_two_shares_are_all_there_is(limit: int, namespaces: int) -> None:
    made = holdings(limit)

    made.share_out([], namespaces)

    assert made.short_cuts.limit + made._budget.limit == made.limit
    assert made.short_cuts.limit >= min(namespaces, made.limit)
    assert made._budget.limit >= 0
