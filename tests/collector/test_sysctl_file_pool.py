"""How the files that may be held are shared out, with files of our own namespace."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import Config
from exporter.model import Ino, NetnsId


def holdings(limit: int) -> SysctlFilePool:
    sysctls = msgspec.structs.replace(Config().sysctls, max_fds=limit)
    return SysctlFilePool(msgspec.structs.replace(Config(), sysctls=sysctls))


def admitted(to: SysctlFilePool, number: int) -> list[TrackedNamespace]:
    every = []
    for at in range(number):
        files = to.create_files()
        for part in files:
            part.open_all()
        netns = NetnsId(cookie=at, ino=Ino(at), first_seen=0.0)
        every.append(TrackedNamespace(netns, 0.0, files))
    return every


def close(every: list[TrackedNamespace]) -> None:
    for one in every:
        assert one.files
        one.files.close()


@pytest.fixture
def each() -> int:
    """Return how many files a namespace takes, its pidfd included."""
    made = holdings(1000)
    made.rebalance([], 1)
    every = admitted(made, 1)
    taken = made.held + 1
    close(every)
    return taken


@pytest.mark.usefixtures("no_leaked_files")
def test_where_all_have_room_nobody_loses_a_file(each: int) -> None:
    made = holdings(6 * each + 100)
    made.rebalance([], 6)
    every = admitted(made, 6)

    made.rebalance(every, 6)

    assert made.shortcut_budget.limit == 6
    assert made.shortcut_budget.held == 0
    assert all(one.files and not one.files.sysctls.unbound for one in every)
    close(every)


@pytest.mark.usefixtures("no_leaked_files")
def test_where_they_have_not_the_youngest_lose_all_of_theirs(each: int) -> None:
    made = holdings(6 * each)
    made.rebalance([], 4)
    every = admitted(made, 4)

    made.rebalance(every, 30)

    bound = [one.files.sysctls.bound for one in every if one.files]
    assert bound[0] > 0
    assert bound[-1] == 0
    assert bound == sorted(bound, reverse=True)
    assert made.bound <= made.limit - made.shortcut_budget.limit
    close(every)
    assert made.held == 0


@given(limit=st.integers(0, 5000), namespaces=st.integers(0, 2000))
def test_the_two_shares_are_all_there_is(limit: int, namespaces: int) -> None:
    made = holdings(limit)

    made.rebalance([], namespaces)

    assert made.shortcut_budget.limit + made._budget.limit == made.limit
    assert made.shortcut_budget.limit >= min(namespaces, made.limit)
    assert made._budget.limit >= 0
