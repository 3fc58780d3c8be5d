"""Feed systemd's watchdog while passes are completed and the server is alive."""

import time
from collections.abc import Callable

from exporter.privsep import sd_notify
from exporter.privsep.channel import LastPass

PASS_SECONDS = 60.0
"""
After which the next pass is overdue: /-/healthy says so, and the watchdog is no longer
fed. Without scrapes there is a pass every 15 seconds.
"""

SERVER_SECONDS = 20.0
"""How long the server may send no request; it sends one every five seconds."""

_FEED_SECONDS = 1.0
"""Between two messages to systemd."""


class Watchdog:
    """
    What the collector process knows of its own progress and of the server's.

    Args:
        notifier: reaches systemd.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        notifier: sd_notify.SystemdNotifier,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notifier = notifier
        self._clock = clock
        self._pass_time = clock()
        self._server_time: float | None = None
        self._fed = 0.0

    def pass_completed(self) -> None:
        """Note that a pass was completed."""
        self._pass_time = self._clock()

    def server_called(self) -> None:
        """Note that the server, which serves by now, sent a request; feed."""
        self._server_time = self._clock()
        self.feed()

    def last_pass(self) -> LastPass:
        """Return the last pass for the server."""
        return LastPass(self._pass_time, PASS_SECONDS)

    def feed(self) -> None:
        """Feed the watchdog, unless a pass or a request of the server is overdue."""
        now, server = self._clock(), self._server_time
        if server is None or now - server > SERVER_SECONDS:
            return
        if self.last_pass().is_overdue(now) or now - self._fed < _FEED_SECONDS:
            return
        self._fed = now
        self._notifier.notify(sd_notify.WATCHDOG)
