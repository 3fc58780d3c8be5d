"""Scraped series that several scenarios share."""

from tests.mixin.support.promtool import Labels, Series, node, series

SOMAXCONN = "net.core.somaxconn"
HELD = "x200"
"""Repeats a value for 200 minutes."""


HOSTILE_NAME = 'a"} or vector(1)\\ {{ $value }}\n\N{RIGHT-TO-LEFT OVERRIDE}<!channel>'
"""A valid label value that would break a query, a template or a message."""


def host_somaxconn(value: int, on: Labels | None = None) -> Series:
    return series(
        on or node(), "netns_sysctl_host_value", f"{value}{HELD}", sysctl=SOMAXCONN
    )


def somaxconn(
    owner: Labels, value: int, host: int, origin: str = "fresh_default"
) -> tuple[Series, Series]:
    drift = f"{value - host}{HELD}"
    return (
        series(owner, "netns_sysctl_drift", drift, sysctl=SOMAXCONN, origin=origin),
        series(owner, "netns_sysctl_value", f"{value}{HELD}", sysctl=SOMAXCONN),
    )


def listening_sockets(owner: Labels, sockets: int) -> Series:
    return series(owner, "netns_listening_sockets", f"{sockets}{HELD}")


HOST = {**node(), "netns": "host"}
OVERFLOWS_TOTAL = "netns_tcpext_listen_overflows_total"


ONE_PER_MINUTE = "0+1x200"


def overflows(owner: Labels, values: str) -> Series:
    return series(owner, OVERFLOWS_TOTAL, values)


def listener(
    owner: Labels, queue: int, limit: int, port: str = "8080", address: str = "*"
) -> tuple[Series, Series]:
    labels = {"address": address, **({"port": port} if port else {})}
    return (
        series(owner, "netns_listener_queue", f"{queue}x200", **labels),
        series(owner, "netns_listener_queue_limit", f"{limit}x200", **labels),
    )


def listener_backlogs(owner: Labels, *backlogs: str) -> tuple[Series, ...]:
    """Return the source of each listener's limit; "": unknown."""
    return tuple(
        series(
            owner,
            "netns_listener_info",
            "1x200",
            address="*",
            port=f"{8080 + index}",
            protocol="tcp",
            **({"backlog": backlog} if backlog else {}),
        )
        for index, backlog in enumerate(backlogs)
    )


def fill(owner: Labels, resource: str, values: str) -> Series:
    return series(owner, "netns_fill_ratio", values, resource=resource)
