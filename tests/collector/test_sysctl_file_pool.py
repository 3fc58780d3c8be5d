"""How the limit of open files is divided, with files of the tests' own namespace."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collector.sysctl_file_pool import SysctlFilePool
from exporter.collector.tracked import TrackedNamespace
from exporter.config.settings import Config
from exporter.model import Ino, NetnsId


def a_pool(limit: int) -> SysctlFilePool:
    sysctls = msgspec.structs.replace(Config().sysctls, max_fds=limit)
    config = msgspec.structs.replace(Config(), sysctls=sysctls)
    return SysctlFilePool(config, Counter())


def tracked(pool: SysctlFilePool, number: int) -> list[TrackedNamespace]:
    namespaces = []
    for index in range(number):
        files = pool.create_files()
        for part in files:
            part.open_all()
        netns = NetnsId(cookie=index, ino=Ino(index), first_seen=0.0)
        namespaces.append(TrackedNamespace(netns, 0.0, files))
    return namespaces


def close(namespaces: list[TrackedNamespace]) -> None:
    for namespace in namespaces:
        assert namespace.files
        namespace.files.close()


@pytest.fixture
def files_each() -> int:
    """Return how many files a namespace takes, its pidfd included."""
    pool = a_pool(1000)
    pool.rebalance([], 1)
    namespaces = tracked(pool, 1)
    taken = pool.held + 1
    close(namespaces)
    return taken


@pytest.mark.usefixtures("no_leaked_files")
def test_no_file_is_released_where_there_is_room_for_all(files_each: int) -> None:
    pool = a_pool(6 * files_each + 100)
    pool.rebalance([], 6)
    namespaces = tracked(pool, 6)

    pool.rebalance(namespaces, 6)

    assert pool.shortcut_budget.limit == 6
    assert pool.shortcut_budget.held == 0
    assert all(n.files and not n.files.sysctls.unbound for n in namespaces)
    close(namespaces)


@pytest.mark.usefixtures("no_leaked_files")
def test_the_youngest_release_all_their_files_where_there_is_not(
    files_each: int,
) -> None:
    pool = a_pool(6 * files_each)
    pool.rebalance([], 4)
    namespaces = tracked(pool, 4)

    pool.rebalance(namespaces, 30)

    bound = [n.files.sysctls.bound for n in namespaces if n.files]
    assert bound[0] > 0
    assert bound[-1] == 0
    assert bound == sorted(bound, reverse=True)
    assert pool.bound <= pool.limit - pool.shortcut_budget.limit
    close(namespaces)
    assert pool.held == 0


EMPTY_POOL = a_pool(5000)
"""Loading the catalog for each example would take seconds."""


@given(limit=st.integers(0, 5000), namespaces=st.integers(0, 2000))
def test_sysctl_files_and_shortcuts_add_up_to_the_limit(
    limit: int, namespaces: int
) -> None:
    pool = EMPTY_POOL
    pool.limit = limit

    pool.rebalance([], namespaces)

    assert pool.shortcut_budget.limit + pool._budget.limit == limit
    assert pool.shortcut_budget.limit >= min(namespaces, limit)
    assert pool._budget.limit >= 0


@given(limit=st.integers(0, 5000), namespaces=st.integers(1, 200))
def test_as_many_namespaces_as_possible_keep_their_files(
    limit: int, namespaces: int
) -> None:
    """Each of the others keeps a directory per subtree of /proc/sys/net instead."""
    pool = EMPTY_POOL
    pool.limit = limit
    plans = (pool.plan, pool._live_count_plan)
    files = sum(len(plan.sysctls) for plan in plans)
    directories = len({place for plan in plans for place, _ in plan.locations})
    shared = sum(len(part.readings) for part in pool.host_files)

    def shortcuts(bound: int) -> int:
        return namespaces + (namespaces - bound) * directories

    pool.rebalance([], namespaces)

    possible = range(namespaces + 1)
    fitting = [n for n in possible if shared + n * files + shortcuts(n) <= limit]
    expected = shortcuts(max(fitting, default=0))
    assert pool.shortcut_budget.limit == min(expected, limit)
