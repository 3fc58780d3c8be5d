"""systemd's watchdog is fed as long as passes are completed and the server lives."""

from typing import cast

import pytest

from exporter.daemon.watchdog import PASS_SECONDS, SERVER_SECONDS, Watchdog
from exporter.privsep.sd_notify import WATCHDOG, SystemdNotifier
from tests.support.clock import Clock


class Fed:
    """A watchdog, and how often systemd was notified."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.states: list[bytes] = []
        self.watchdog = Watchdog(cast("SystemdNotifier", self), self.clock)

    def notify(self, state: bytes) -> None:
        assert state == WATCHDOG
        self.states.append(state)

    def is_fed_after(self, seconds: float) -> bool:
        """Feed after some seconds; return whether systemd was notified."""
        before = len(self.states)
        self.clock.now += seconds
        self.watchdog.feed()
        return len(self.states) > before


@pytest.fixture
def fed() -> Fed:
    """Return the watchdog of an exporter that serves."""
    fed = Fed()
    fed.watchdog.server_called()
    return fed


def test_it_is_fed_between_steps_of_a_pass_once_a_second(fed: Fed) -> None:
    assert [fed.is_fed_after(0.5) for _ in range(4)] == [False, True, False, True]


def test_it_is_not_fed_before_the_server_serves() -> None:
    assert not Fed().is_fed_after(2)


def test_it_is_not_fed_once_the_server_sends_no_request(fed: Fed) -> None:
    assert fed.is_fed_after(SERVER_SECONDS)
    assert not fed.is_fed_after(1)

    fed.watchdog.server_called()

    assert fed.is_fed_after(1)


def test_it_is_not_fed_without_passes_although_the_server_asks(fed: Fed) -> None:
    for _ in range(int(PASS_SECONDS / 5) + 1):
        fed.clock.now += 5
        fed.watchdog.server_called()

    assert not fed.is_fed_after(1)
    assert fed.watchdog.last_pass().is_overdue(fed.clock.now)

    fed.watchdog.pass_completed()

    assert fed.is_fed_after(0)
    assert not fed.watchdog.last_pass().is_overdue(fed.clock.now)
