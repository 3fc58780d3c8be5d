"""Listening sockets that come and go in namespaces, with full accept queues."""

import contextlib
import random
import socket
import threading

from bench.soak.attacks.attack import Counts, Target, in_threads
from exporter.kernel.netns import entered
from testing.lab import ProcessNetns, new_namespaces

_NAMESPACES = 8
_SOCKETS = 20
_SECONDS = 1.0


def listeners(_target: Target, counts: Counts, stop: threading.Event) -> None:
    """Open and close listeners in a few namespaces."""
    with new_namespaces(_NAMESPACES, listeners=1, comm=b"listeners") as pods:
        in_threads(2, lambda: _open(random.choice(pods), counts, stop), stop)


def _open(pod: ProcessNetns, counts: Counts, stop: threading.Event) -> None:
    with contextlib.ExitStack() as stack:
        with entered(pod.path, pod.ino):
            for _ in range(random.randint(1, _SOCKETS)):
                server = socket.create_server(("127.0.0.1", 0), backlog=1)
                stack.enter_context(server)
                counts.add("listeners opened")
                for _ in range(3):  # one more than its queue takes
                    client = stack.enter_context(socket.socket())
                    client.setblocking(False)  # noqa: FBT003 # a method of the library
                    client.connect_ex(server.getsockname())
        stop.wait(random.uniform(0, _SECONDS))
