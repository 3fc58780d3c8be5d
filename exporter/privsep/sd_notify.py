"""Report the state of the service to systemd, sd_notify(3)."""

import contextlib
import os
import socket

READY = b"READY=1"
STOPPING = b"STOPPING=1"
WATCHDOG = b"WATCHDOG=1"


class SystemdNotifier:
    """Sends states to the socket in NOTIFY_SOCKET; does nothing if that is not set."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        os.environ.pop("WATCHDOG_USEC", None)  # not inherited by our children
        os.environ.pop("WATCHDOG_PID", None)

    def notify(self, state: bytes) -> None:
        """Send *state*; an error is ignored."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with datagrams, contextlib.suppress(OSError):
            datagrams.sendto(state, address)
