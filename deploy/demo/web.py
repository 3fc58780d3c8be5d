#!/opt/exporter/bin/python3
"""
A web server that takes a hundred visitors a second, and no more.

Until Linux 5.4 a new network namespace got a net.core.somaxconn of 128. With
--as-an-old-kernel this container's gets that, whatever the kernel, before anybody
listens in it.
"""

import socket
import sys
import time
from pathlib import Path

SOMAXCONN = Path("/sysctl/net/core/somaxconn")
OLD_DEFAULT = "128"
MUCH = 65535  # listen(2) gets somaxconn where that is less
SECONDS_A_VISITOR = 0.01
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhere\n"


def serve() -> None:
    """Serve one visitor after the other, on port 8080."""
    with socket.create_server(("", 8080), backlog=MUCH) as listener:
        while True:
            visitor, _ = listener.accept()
            time.sleep(SECONDS_A_VISITOR)  # the work
            with visitor:
                answer(visitor)


def answer(visitor: socket.socket) -> None:
    """Answer a request, whatever it is."""
    visitor.settimeout(1)
    try:
        visitor.recv(4096)
        visitor.sendall(ANSWER)
    except OSError:  # it did not wait
        pass


if __name__ == "__main__":
    if "--as-an-old-kernel" in sys.argv:
        SOMAXCONN.write_text(OLD_DEFAULT)
    serve()
