"""Telling systemd how we are, sd_notify(3): ready, alive, about to end."""

import contextlib
import os
import socket

READY = b"READY=1"
STOPPING = b"STOPPING=1"
WATCHDOG = b"WATCHDOG=1"


class SystemdNotifier:
    """Whoever NOTIFY_SOCKET names; nobody, where it is not set."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        os.environ.pop("WATCHDOG_USEC", None)  # not for who is started by us
        os.environ.pop("WATCHDOG_PID", None)

    def notify(self, state: bytes) -> None:
        """Say *state*; one that cannot be reached misses it."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with datagrams, contextlib.suppress(OSError):
            datagrams.sendto(state, address)
