"""Nodes rendered as expositions, for the tests of their series."""

from collections.abc import Iterable
from typing import Any

from exporter.exposition.chunk_table import Chunk
from exporter.exposition.renderer import Names, Renderer
from exporter.model import Detail, EncodedSnapshot, Namespace, Reading
from testing.running import Exposition
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_rule,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)

TEXT = "text/plain; version=0.0.4"

SOMAXCONN = "net.core.somaxconn"
PORT_RANGE = "net.ipv4.ip_local_port_range"
CONGESTION = "net.ipv4.tcp_congestion_control"
SYSCTLS = (
    a_sysctl(SOMAXCONN),
    a_sysctl(PORT_RANGE, kind="ints", fields=("low", "high")),
    a_sysctl(CONGESTION, kind="text", class_="inherited"),
)
"""Of each form: one number, several numbers, text."""

HOST = ("65535", "1024 65535", "bbr")
"""The host's readings of SYSCTLS."""


def a_pod(*readings: Reading, number: int = 0, **more: Any) -> Namespace:  # noqa: ANN401
    """Return the namespace of the pod web-*number*, with the host's readings."""
    arguments = {
        "netns": a_netns(7 + number),
        "owner": an_owner(pod=f"web-{number}"),
        "readings": readings or HOST,
        **more,
    }
    return a_namespace(**arguments)


def a_node(
    *namespaces: Namespace,
    host: tuple[Reading, ...] = HOST,
    **more: Any,  # noqa: ANN401
) -> EncodedSnapshot:
    """Return a node with these namespaces and the host's."""
    host_namespace = the_hosts_namespace(readings=host)
    return an_encoded_snapshot(host_namespace, *namespaces, sysctls=SYSCTLS, **more)


def a_full_node(
    *namespaces: Namespace, host: tuple[Reading, ...] = HOST
) -> EncodedSnapshot:
    """Return a node with every kind of series; a new namespace gets the host's."""
    return a_node(
        *namespaces,
        host=host,
        fresh=HOST,
        counters=("TcpExt.ListenOverflows", "TcpExt.TCPRcvQDrop", "Tcp.ActiveOpens"),
        signals=[
            some_signals(a_listener(), counters=(1, 2, 3))
            for _ in range(1 + len(namespaces))
        ],
        policy=[a_rule()],
    )


def render(
    renderer: Renderer,
    snapshot: EncodedSnapshot,
    content_type: str = TEXT,
    names: Names = None,
) -> bytes:
    renderer.render(snapshot)
    return plain(renderer.exposition(content_type, names))


def plain(chunks: Iterable[Chunk]) -> bytes:
    return b"".join(chunk.plain for chunk in chunks)


def exposition(
    snapshot: EncodedSnapshot, detail: Detail = "full", max_series: int = 0
) -> Exposition:
    """Return the exposition of *snapshot*, rendered for the first time."""
    body = render(Renderer("1.2.3", detail, max_series), snapshot)
    return Exposition(body.decode())
