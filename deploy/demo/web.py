#!/opt/exporter/bin/python3
"""
A web server that serves a hundred connections a second, and no more.

Until Linux 5.4 a new network namespace had a net.core.somaxconn of 128. With
--as-an-old-kernel the program writes that value into its own namespace before it
listens.
"""

import socket
import sys
import time
from pathlib import Path

SOMAXCONN = Path("/sysctl/net/core/somaxconn")
OLD_DEFAULT = "128"
BACKLOG = 65535  # listen(2) reduces it to somaxconn
SECONDS_PER_REQUEST = 0.01
RESPONSE = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhere\n"


def serve() -> None:
    """Serve one connection after the other, on port 8080."""
    with socket.create_server(("", 8080), backlog=BACKLOG) as listener:
        while True:
            connection, _ = listener.accept()
            time.sleep(SECONDS_PER_REQUEST)  # the work
            with connection:
                respond(connection)


def respond(connection: socket.socket) -> None:
    """Send the same response to any request."""
    connection.settimeout(1)
    try:
        connection.recv(4096)
        connection.sendall(RESPONSE)
    except OSError:  # the client has closed the connection
        pass


if __name__ == "__main__":
    if "--as-an-old-kernel" in sys.argv:
        SOMAXCONN.write_text(OLD_DEFAULT)
    serve()
