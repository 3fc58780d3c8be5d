"""Namespaces with listeners, for the tests of sock_diag and of its parser."""

from collections.abc import Iterator

import pytest

from tests.support.listeners import (
    ADDRESSES,
    MPTCP,
    ListenerNetns,
    listener_namespaces,
)


@pytest.fixture
def netns() -> Iterator[ListenerNetns]:
    """Return a namespace without listeners."""
    with listener_namespaces(1) as (netns,):
        yield netns


@pytest.fixture
def many_listeners(netns: ListenerNetns) -> ListenerNetns:
    """Return a namespace of 198 listeners of every kind, some with a queue or MPTCP."""
    netns.add_device()
    for number in range(18 * 9):
        address, arguments, _ = ADDRESSES[number % 9]
        listener = netns.listen(address, number % 7, **arguments)
        netns.connect(listener, number % 4 if address in {"127.0.0.1", "::1"} else 0)
    for number in range(18):
        netns.listen("127.0.0.1", number, protocol=MPTCP)
        netns.listen("::", number, protocol=MPTCP)
    return netns


@pytest.fixture
def with_shared_port(many_listeners: ListenerNetns) -> ListenerNetns:
    """Return a namespace of 200 listeners, two with the same address and port."""
    many_listeners.listen("127.0.0.1", 9, port=300)
    many_listeners.listen("127.0.0.1", 9, port=300)
    return many_listeners
