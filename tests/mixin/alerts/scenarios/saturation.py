"""Scenarios of the alerts about limits that are nearly reached."""

from collections.abc import Sequence

from tests.mixin.alerts.scenarios.inputs import HOST, fill, listener, somaxconn
from tests.mixin.support.promtool import (
    At,
    Firing,
    Labels,
    Scenario,
    Series,
    container,
    node,
    owner_labels,
    pod,
    quiet,
    series,
)


def nearly_full_alert(
    owner: Labels, name: str, ratio: str, fullest: str = ""
) -> Firing:
    return Firing(
        {**owner_labels(owner), "severity": "warning"},
        f"An accept queue of {name} is {ratio} full.",
        f"An accept queue of {name} is {ratio} full. Once it is full, the kernel drops "
        f"connections.{fullest}",
    )


NEARLY_FULL = (
    Scenario(
        "fires with the fullest listener if listeners are exported, and resolves",
        (
            fill(pod(), "accept_queue", "0.9x20 0.1x100"),
            *listener(pod(), 116, 128),
            *listener(pod(), 20, 4096, "9090"),
            fill(container(), "accept_queue", "1.25x10 stale"),
        ),
        (
            *quiet(4),
            At(
                6,
                (
                    nearly_full_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "90%",
                        ' Its fullest listener is "*:8080": queue 116, limit 128.',
                    ),
                    nearly_full_alert(
                        container(), 'container "cache" on node-1', "125%"
                    ),
                ),
            ),
            At(
                28,
                (
                    nearly_full_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "90%",
                        ' Its fullest listener is "*:8080": queue 116, limit 128.',
                    ),
                ),
            ),
            *quiet(32),
        ),
    ),
    Scenario(
        "ignores lower ratios, short peaks, and other resources",
        (
            fill(pod("a"), "accept_queue", "0.8x60"),
            fill(pod("b"), "accept_queue", "0.1x9 0.95x2 0.1x50"),
            fill(pod("c"), "time_wait", "0.99x60"),
            fill(pod("d"), "conntrack", "0.99x60"),
            fill(pod("dies-0"), "accept_queue", "0.1x9 0.95 stale"),
        ),
        quiet(6, 12, 15, 17, 60),
    ),
    Scenario(
        "survives a failed scrape",
        (fill(pod(), "accept_queue", "0.9x3 stale _x0 0.9x60"),),
        (At(6, (nearly_full_alert(pod(), 'pod "shop/web-0" on node-1', "90%"),)),),
    ),
)


def stale(owner: Labels, values: str, port: str, limit: int = 128) -> Sequence[Series]:
    return (
        series(owner, "netns_listener_stale", values, address="*", port=port),
        series(
            owner, "netns_listener_queue_limit", f"{limit}x200", address="*", port=port
        ),
    )


STALE = (
    Scenario(
        "fires per owner with its listeners, and resolves",
        (
            *somaxconn(pod(), 4096, 4096, "modified"),
            *stale(pod(), "1x90 0x60", "6379"),
            *stale(pod(), "1x90 stale", "16379", 1024),
            *stale(pod(), "0x150", "9121", 4096),
            *stale(HOST, "1x90 0x60", "10250", 4096),
        ),
        (
            *quiet(59),
            At(
                61,
                (
                    Firing(
                        {**owner_labels(pod()), "severity": "info"},
                        "A raised somaxconn does not apply to 2 listeners of pod "
                        '"shop/web-0" on node-1.',
                        'net.core.somaxconn of pod "shop/web-0" on node-1 was raised '
                        "to 4096, which does not apply to 2 listeners opened before: "
                        '"*:16379" (limit 1024), "*:6379" (limit 128). The new limit '
                        "applies on the next listen(2): restart the program.",
                    ),
                    Firing(
                        {**owner_labels(HOST), "severity": "info"},
                        "A raised somaxconn does not apply to 1 listener of the host "
                        "on node-1.",
                        "net.core.somaxconn of the host on node-1 was raised, which "
                        "does not apply to 1 listener opened before: "
                        '"*:10250" (limit 4096). The new limit applies on the next '
                        "listen(2): restart the program.",
                    ),
                ),
            ),
            *quiet(95),
        ),
    ),
    Scenario(
        "ignores listeners with the current limit",
        (*stale(pod(), "0x150", "6379"),),
        quiet(61, 150),
    ),
)


def conntrack_alert(owner: Labels, name: str, ratio: str, numbers: str) -> Firing:
    return Firing(
        {**owner_labels(owner), "severity": "warning"},
        f"The connection tracking table of {name} is {ratio} full.",
        f"The connection tracking table of {name} is {ratio} full{numbers}. Once "
        "it is full, the kernel drops packets of new flows.",
    )


CONNTRACK = (
    Scenario(
        "fires for a pod and for the host, and resolves",
        (
            fill(pod(), "conntrack", "0.95x20 0.5x60"),
            series(pod(), "netns_conntrack_entries", "249037x60"),
            series(node(), "netns_conntrack_limit", "262144x60"),
            fill(HOST, "conntrack", "0.81x20 0.5x60"),
        ),
        (
            *quiet(4),
            At(
                6,
                (
                    conntrack_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "95%",
                        ": 249037 flows, limit 262144",
                    ),
                    conntrack_alert(
                        HOST, "the host on node-1", "81%", ", limit 262144"
                    ),
                ),
            ),
            *quiet(22),
        ),
    ),
    Scenario(
        "ignores lower ratios and other resources",
        (fill(pod(), "conntrack", "0.8x60"), fill(pod(), "accept_queue", "0.99x60")),
        quiet(6, 60),
    ),
)


PORTS = (
    Scenario(
        "fires for owners without listeners, and resolves",
        (
            fill(pod(), "ports", "0.9x20 0.5x60"),
            series(pod(), "netns_listening_sockets", "0x60"),
            series(pod(), "netns_ports_in_use", "25409x60", protocol="tcp"),
            series(pod(), "netns_ports_in_use", "12x60", protocol="udp"),
            series(pod(), "netns_ports", "28232x60"),
        ),
        (
            *quiet(4),
            At(
                6,
                (
                    Firing(
                        {**owner_labels(pod()), "severity": "warning"},
                        'The ephemeral ports of pod "shop/web-0" on node-1 are 90% '
                        "used.",
                        'The ephemeral ports of pod "shop/web-0" on node-1 are 90% '
                        "used: 25409 of 28232. Once none is free for a destination, "
                        "connect(2) to it fails with EADDRNOTAVAIL.",
                    ),
                ),
            ),
            *quiet(22),
        ),
    ),
    Scenario(
        "ignores owners whose listeners may share a port, or are not counted",
        (
            fill(pod("server-0"), "ports", "1.5x60"),
            series(pod("server-0"), "netns_listening_sockets", "1x60"),
            series(
                pod("server-0", on=node("node-2")), "netns_listening_sockets", "0x60"
            ),
            fill(pod("unknown-0"), "ports", "0.9x60"),
            fill(pod("idle-0"), "ports", "0.2x60"),
            series(pod("idle-0"), "netns_listening_sockets", "0x60"),
        ),
        quiet(6, 60),
    ),
)
