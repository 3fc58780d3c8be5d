"""What is scraped, and which of the alerts about harm fires of it."""

from collections.abc import Sequence

from tests.mixin.alerts.scenarios_values import HOSTILE, host, somaxconn
from tests.mixin.support.promtool import (
    At,
    Fired,
    Labels,
    Scenario,
    Series,
    container,
    named,
    node,
    of,
    owner_of,
    pod,
    quiet,
)

OVERFLOWS_TOTAL = "netns_tcpext_listen_overflows_total"

ONE_A_MINUTE = "0+1x200"
BURST = "0x5 600 1200 1200x200"


def overflows(owner: Labels, values: str) -> Series:
    return of(owner, OVERFLOWS_TOTAL, values)


def listener(
    owner: Labels, queue: int, limit: int, port: str = "8080", address: str = "*"
) -> tuple[Series, Series]:
    labels = {"address": address, **({"port": port} if port else {})}
    return (
        of(owner, "netns_listener_queue", f"{queue}x200", **labels),
        of(owner, "netns_listener_queue_limit", f"{limit}x200", **labels),
    )


def limited(owner: Labels, *backlogs: str) -> tuple[Series, ...]:
    """Return what says from where each listener has its limit, "": nobody knows."""
    return tuple(
        of(
            owner,
            "netns_listener_info",
            "1x200",
            address="*",
            port=f"{8080 + at}",
            protocol="tcp",
            **({"backlog": backlog} if backlog else {}),
        )
        for at, backlog in enumerate(backlogs)
    )


def dropping(
    owner: Labels, who: str, rate: str, values: str, fullest: str = ""
) -> Fired:
    return Fired(
        {**owner_of(owner), "severity": "critical"},
        f"Connections to {who} are dropped: its somaxconn is below the host's.",
        f"Accept queues of {who} overflow, {rate} a second (ListenOverflows). Its "
        f"net.core.somaxconn is {values}, and nobody asked for that.{fullest}",
    )


HOST = {**node(), "netns": "host"}
UNIT = named("unit/backup.service")
NAMELESS = {**node(), "uid": pod()["uid"]}
"""A pod of which nothing but a cgroup tells."""

DRIFT_OVERFLOWS = (
    Scenario(
        "fires for the pod, with the numbers and its fullest listener, and resolves",
        (
            host(65535),
            *somaxconn(pod(), 128, 65535, "modified"),
            overflows(pod(), "7+60x60 3607x140"),
            *listener(pod(), 129, 128),
            *listener(pod(), 1, 128, "9090"),
            *somaxconn(pod("web-1"), 128, 65535, "modified"),
            overflows(pod("web-1"), "312x200"),
        ),
        (
            *quiet(5),
            At(
                7,
                (
                    dropping(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "1",
                        "128, the host's 65535",
                        ' Its fullest listener is "*:8080": 129 waiting, limit 128.',
                    ),
                ),
            ),
            # five minutes of the window, ten that it is kept
            At(
                60 + 5 + 8,
                (
                    dropping(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "0.2",
                        "128, the host's 65535",
                        ' Its fullest listener is "*:8080": 129 waiting, limit 128.',
                    ),
                ),
            ),
            *quiet(60 + 5 + 10 + 2),
        ),
    ),
    Scenario(
        "fires for containers, units and network namespaces by name, pods by uid",
        (
            host(65535),
            *(
                one
                for owner in (container(HOSTILE), UNIT, NAMELESS)
                for one in (
                    *somaxconn(owner, 4096, 65535),
                    overflows(owner, "0+6000x200"),
                )
            ),
            *listener(container(HOSTILE), 4097, 4096, "", '/run/"a\\b".sock'),
        ),
        (
            At(
                7,
                (
                    dropping(
                        container(HOSTILE),
                        'container "a\\"} or vector(1)\\\\ {{ $value }}\\n\\u202e'
                        '<!channel>" on node-1',
                        "100",
                        "4096, the host's 65535",
                        ' Its fullest listener is "/run/\\"a\\\\b\\".sock:": 4097 '
                        "waiting, limit 4096.",
                    ),
                    dropping(
                        UNIT,
                        'network namespace "unit/backup.service" on node-1',
                        "100",
                        "4096, the host's 65535",
                    ),
                    dropping(
                        NAMELESS,
                        'pod of uid "uid-web-0" on node-1',
                        "100",
                        "4096, the host's 65535",
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "is quiet about drift or overflows alone, or of a namesake elsewhere",
        (
            host(65535),
            host(65535, node("node-2")),
            host(65535, node(cluster="eu")),
            *somaxconn(pod(), 4096, 65535),
            overflows(pod(), "312x200"),
            overflows(pod(on=node("node-2")), ONE_A_MINUTE),
            overflows(pod(on=node(cluster="eu")), ONE_A_MINUTE),
            *somaxconn(pod("asked-0"), 128, 65535, "declared"),
            overflows(pod("asked-0"), ONE_A_MINUTE),
            *somaxconn({**pod(), "netns": "within/dind"}, 128, 65535),
            overflows(HOST, ONE_A_MINUTE),
            overflows(pod("reset-0"), "900x20 0x100"),
            *somaxconn(pod("reset-0"), 4096, 65535),
            overflows(pod("new-0"), "_x20 312x100"),
            *somaxconn(pod("new-0"), 4096, 65535),
        ),
        quiet(7, 24, 30, 100),
    ),
    Scenario(
        "is quiet where no listener has its limit from somaxconn, as far as is known",
        (
            host(65535),
            *(
                one
                for name, backlogs in (
                    ("asked-0", ("application", "application")),
                    ("unknown-0", ("",)),
                )
                for one in (
                    *somaxconn(pod(name), 4096, 65535),
                    overflows(pod(name), ONE_A_MINUTE),
                    *limited(pod(name), *backlogs),
                )
            ),
            *limited(pod("asked-0", on=node("node-2")), "clamped"),
            *limited({**pod("asked-0"), "netns": "within/dind"}, "clamped"),
        ),
        quiet(7, 24, 60),
    ),
    Scenario(
        "fires where one listener has, or had when it began to listen",
        (
            host(65535),
            *(
                one
                for name, backlogs in (
                    ("clamped-0", ("application", "clamped")),
                    ("stale-0", ("stale", "")),
                )
                for one in (
                    *somaxconn(pod(name), 4096, 65535),
                    overflows(pod(name), ONE_A_MINUTE),
                    *limited(pod(name), *backlogs),
                )
            ),
        ),
        (
            At(
                8,
                tuple(
                    dropping(
                        pod(name),
                        f'pod "shop/{name}" on node-1',
                        "0.017",
                        "4096, the host's 65535",
                    )
                    for name in ("clamped-0", "stale-0")
                ),
            ),
        ),
    ),
    Scenario(
        "has the numbers of this network namespace, of all of a pod and its namesakes",
        (
            host(65535),
            host(99999, node("node-2")),
            *somaxconn(pod(), 128, 65535),
            overflows(pod(), "0+60x200"),
            *listener(pod(), 120, 128),
            *(
                one
                for other in (
                    {**pod(), "netns": "within/dind"},
                    pod(on=node("node-2")),
                    pod(on=node(cluster="eu")),
                    pod("web-1"),
                )
                for one in (
                    *somaxconn(other, 512, 65535),
                    *listener(other, 513, 512, "9090"),
                )
            ),
        ),
        (
            At(
                8,
                (
                    dropping(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "1",
                        "128, the host's 65535",
                        ' Its fullest listener is "*:8080": 120 waiting, limit 128.',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "matches a pod once though its origin changes and two jobs scrape it, and goes "
        "on when a scrape fails",
        (
            host(65535),
            host(65535, node(job="other")),
            *(
                of(
                    pod(on=node(job=job)),
                    "netns_sysctl_drift",
                    values,
                    sysctl="net.core.somaxconn",
                    origin=origin,
                )
                for job in ("netns-sysctl-exporter", "other")
                for origin, values in (
                    ("fresh_default", "-65407x3 stale"),
                    ("modified", "_x3 -65407x1 stale _x0 -65407x60"),
                )
            ),
            *(
                of(
                    pod(on=node(job=job)),
                    "netns_sysctl_value",
                    "128x200",
                    sysctl="net.core.somaxconn",
                )
                for job in ("netns-sysctl-exporter", "other")
            ),
            overflows(pod(), "0+60x4 stale _x0 360+60x60"),
            overflows(pod(on=node(job="other")), "0+60x60"),
        ),
        (
            At(
                8,
                (
                    dropping(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "1",
                        "128, the host's 65535",
                    ),
                ),
            ),
        ),
    ),
)


def losing(owner: Labels, who: str, rate: str, more: str = "") -> Fired:
    return Fired(
        {**owner_of(owner), "severity": "warning"},
        f"Connections to {who} are dropped: an accept queue is full.",
        f"Accept queues of {who} overflow, {rate} a second (ListenOverflows).{more}",
    )


OVERFLOWS = (
    Scenario(
        "fires for a pod and for the host, and resolves",
        (
            *somaxconn(pod(), 128, 65535, "declared"),
            overflows(pod(), "0+3x40 120x160"),
            *listener(pod(), 129, 128),
            overflows(HOST, "0+1200x40 48000x160"),
        ),
        (
            *quiet(15),
            At(
                18,
                (
                    losing(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "0.05",
                        " Its net.core.somaxconn is 128. Its fullest listener is "
                        '"*:8080": 129 waiting, limit 128.',
                    ),
                    losing(HOST, "the host on node-1", "20"),
                ),
            ),
            At(
                40 + 5 + 8,
                (
                    losing(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "0.01",
                        " Its net.core.somaxconn is 128. Its fullest listener is "
                        '"*:8080": 129 waiting, limit 128.',
                    ),
                    losing(HOST, "the host on node-1", "4"),
                ),
            ),
            *quiet(40 + 5 + 10 + 2),
        ),
    ),
    Scenario(
        "leaves to the other alert what has drifted, of this pod and of no namesake",
        (
            *somaxconn(pod(), 4096, 65535),
            overflows(pod(), ONE_A_MINUTE),
            overflows(pod(on=node("node-2")), ONE_A_MINUTE),
        ),
        (
            At(
                18,
                (
                    losing(
                        pod(on=node("node-2")), 'pod "shop/web-0" on node-2', "0.017"
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "fires though somaxconn has drifted, where the program's own backlog is lower",
        (
            *somaxconn(pod("asked-0"), 4096, 65535),
            overflows(pod("asked-0"), ONE_A_MINUTE),
            *limited(pod("asked-0"), "application"),
            *listener(pod("asked-0"), 51, 50),
            *listener(pod("asked-0", on=node(job="other")), 51, 50),
            *somaxconn(pod("unknown-0"), 4096, 65535),
            overflows(pod("unknown-0"), ONE_A_MINUTE),
            *limited(pod("unknown-0"), "", "application"),
            *somaxconn(pod("clamped-0"), 4096, 65535),
            overflows(pod("clamped-0"), ONE_A_MINUTE),
            *limited(pod("clamped-0"), "application", "clamped"),
        ),
        (
            *quiet(15),
            At(
                18,
                (
                    losing(
                        pod("asked-0"),
                        'pod "shop/asked-0" on node-1',
                        "0.017",
                        " Its net.core.somaxconn is 4096. Its fullest listener is "
                        '"*:8080": 51 waiting, limit 50.',
                    ),
                    losing(
                        pod("unknown-0"),
                        'pod "shop/unknown-0" on node-1',
                        "0.017",
                        " Its net.core.somaxconn is 4096.",
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "is quiet about the past, a counter that began anew, and one burst",
        (
            overflows(pod(), "312x200"),
            overflows(pod("reset-0"), "900x20 0x100"),
            overflows(pod("burst-0"), BURST),
        ),
        quiet(10, 18, 24, 60),
    ),
)


def fill(owner: Labels, resource: str, values: str) -> Series:
    return of(owner, "netns_fill_ratio", values, resource=resource)


def nearly_full(owner: Labels, who: str, ratio: str, more: str = "") -> Fired:
    return Fired(
        {**owner_of(owner), "severity": "warning"},
        f"An accept queue of {who} is {ratio} full.",
        f"An accept queue of {who} is {ratio} full. Once it is full, the kernel drops "
        f"connections.{more}",
    )


NEARLY_FULL = (
    Scenario(
        "fires for the owner, with its fullest listener where it is known, and "
        "resolves",
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
                    nearly_full(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "90%",
                        ' Its fullest listener is "*:8080": 116 waiting, limit 128.',
                    ),
                    nearly_full(container(), 'container "cache" on node-1', "125%"),
                ),
            ),
            At(
                28,
                (
                    nearly_full(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "90%",
                        ' Its fullest listener is "*:8080": 116 waiting, limit 128.',
                    ),
                ),
            ),
            *quiet(32),
        ),
    ),
    Scenario(
        "is quiet about what has room, for a moment only, or of another kind",
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
        "goes on when a scrape fails",
        (fill(pod(), "accept_queue", "0.9x3 stale _x0 0.9x60"),),
        (At(6, (nearly_full(pod(), 'pod "shop/web-0" on node-1', "90%"),)),),
    ),
)


def stale(owner: Labels, values: str, port: str, limit: int = 128) -> Sequence[Series]:
    return (
        of(owner, "netns_listener_stale", values, address="*", port=port),
        of(owner, "netns_listener_queue_limit", f"{limit}x200", address="*", port=port),
    )


STALE = (
    Scenario(
        "fires for the owner with its listeners, and resolves",
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
                    Fired(
                        {**owner_of(pod()), "severity": "info"},
                        "A raised somaxconn has not reached 2 listeners of pod "
                        '"shop/web-0" on node-1.',
                        'net.core.somaxconn of pod "shop/web-0" on node-1 was raised '
                        "to 4096, which has not reached 2 listeners from before: "
                        '"*:16379" (1024), "*:6379" (128). Only a new '
                        "listen(2) gets more: restart the program.",
                    ),
                    Fired(
                        {**owner_of(HOST), "severity": "info"},
                        "A raised somaxconn has not reached 1 listener of the host on "
                        "node-1.",
                        "net.core.somaxconn of the host on node-1 was raised, which "
                        "has not reached 1 listener from before: "
                        '"*:10250" (4096). Only a new listen(2) gets more: restart the '
                        "program.",
                    ),
                ),
            ),
            *quiet(95),
        ),
    ),
    Scenario(
        "is quiet about listeners that have what they can",
        (*stale(pod(), "0x150", "6379"),),
        quiet(61, 150),
    ),
)


def tracking(owner: Labels, who: str, ratio: str, more: str) -> Fired:
    return Fired(
        {**owner_of(owner), "severity": "warning"},
        f"The connection tracking of {who} is {ratio} full.",
        f"The connection tracking of {who} is {ratio} full{more}. Once it is full, the "
        "kernel drops packets of new flows.",
    )


CONNTRACK = (
    Scenario(
        "fires for a pod and for the host, and resolves",
        (
            fill(pod(), "conntrack", "0.95x20 0.5x60"),
            of(pod(), "netns_conntrack_entries", "249037x60"),
            of(node(), "netns_conntrack_limit", "262144x60"),
            fill(HOST, "conntrack", "0.81x20 0.5x60"),
        ),
        (
            *quiet(4),
            At(
                6,
                (
                    tracking(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "95%",
                        ": 249037 flows, limit 262144",
                    ),
                    tracking(HOST, "the host on node-1", "81%", ", limit 262144"),
                ),
            ),
            *quiet(22),
        ),
    ),
    Scenario(
        "is quiet about what has room and about other resources",
        (fill(pod(), "conntrack", "0.8x60"), fill(pod(), "accept_queue", "0.99x60")),
        quiet(6, 60),
    ),
)

PORTS = (
    Scenario(
        "fires where nothing listens, and resolves",
        (
            fill(pod(), "ports", "0.9x20 0.5x60"),
            of(pod(), "netns_listening_sockets", "0x60"),
            of(pod(), "netns_ports_in_use", "25409x60", protocol="tcp"),
            of(pod(), "netns_ports_in_use", "12x60", protocol="udp"),
            of(pod(), "netns_ports", "28232x60"),
        ),
        (
            *quiet(4),
            At(
                6,
                (
                    Fired(
                        {**owner_of(pod()), "severity": "warning"},
                        'The ephemeral ports of pod "shop/web-0" on node-1 are 90% '
                        "used.",
                        'The ephemeral ports of pod "shop/web-0" on node-1 are 90% '
                        "used: 25409 of 28232. Once none is left for a destination, "
                        "connecting to it fails with EADDRNOTAVAIL.",
                    ),
                ),
            ),
            *quiet(22),
        ),
    ),
    Scenario(
        "is quiet where a listener's connections may share its port, or nobody looked",
        (
            fill(pod("serves-0"), "ports", "1.5x60"),
            of(pod("serves-0"), "netns_listening_sockets", "1x60"),
            of(pod("serves-0", on=node("node-2")), "netns_listening_sockets", "0x60"),
            fill(pod("unknown-0"), "ports", "0.9x60"),
            fill(pod("calm-0"), "ports", "0.2x60"),
            of(pod("calm-0"), "netns_listening_sockets", "0x60"),
        ),
        quiet(6, 60),
    ),
)
