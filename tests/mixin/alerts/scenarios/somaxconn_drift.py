"""Scenarios of NetnsSomaxconnDrift."""

from tests.mixin.alerts.scenarios.inputs import (
    HELD,
    HOSTILE_NAME,
    SOMAXCONN,
    host_somaxconn,
    listening_sockets,
    somaxconn,
)
from tests.mixin.support.promtool import (
    At,
    Firing,
    Labels,
    Scenario,
    container,
    named_netns,
    node,
    pod,
    quiet,
    series,
)

REASON = (
    ", and that value is not declared: it is the kernel's default for new network "
    "namespaces, or something wrote it. Network namespaces without listeners are not "
    "counted."
)


def drift_alert(
    labels: Labels, count: str, examples: str, severity: str = "info"
) -> Firing:
    return Firing(
        labels={**labels, "severity": severity},
        summary=f"net.core.somaxconn is below the host's in {count}.",
        description="net.core.somaxconn is below the host's in "
        f"{count}{REASON}{examples}",
    )


IN_SHOP = drift_alert(
    {"namespace": "shop"},
    '1 pod of namespace "shop"',
    ' Examples: pod "shop/web-0" on node-1 with 4096 (host 65535).',
)


SOMAXCONN_DRIFT = (
    Scenario(
        "fires once per Kubernetes namespace, once per node without, and resolves",
        (
            host_somaxconn(65535),
            host_somaxconn(1024, node("node-2")),
            *somaxconn(pod("web-0"), 128, 65535, "modified"),
            *somaxconn(pod("web-1"), 4096, 65535),
            *somaxconn(container("cache", on=node("node-2")), 128, 1024, "overridden"),
            series(
                named_netns(on=node("node-2")),
                "netns_sysctl_drift",
                "-768x90 0x60",
                sysctl=SOMAXCONN,
                origin="modified",
            ),
            series(
                named_netns(on=node("node-2")),
                "netns_sysctl_value",
                "256x90",
                sysctl=SOMAXCONN,
            ),
            series(
                pod("late-0", "batch"),
                "netns_sysctl_value",
                "4096x90",
                sysctl=SOMAXCONN,
            ),
            series(
                pod("late-0", "batch"),
                "netns_sysctl_drift",
                "-61439x90 0x60",
                sysctl=SOMAXCONN,
                origin="fresh_default",
            ),
        ),
        (
            *quiet(59),
            At(
                61,
                (
                    drift_alert(
                        {"namespace": "shop"},
                        '2 pods of namespace "shop"',
                        ' Examples: pod "shop/web-0" on node-1 with 128 (host 65535), '
                        'pod "shop/web-1" on node-1 with 4096 (host 65535).',
                    ),
                    drift_alert(
                        {"namespace": "batch"},
                        '1 pod of namespace "batch"',
                        ' Examples: pod "batch/late-0" on node-1 with 4096 (host '
                        "65535).",
                    ),
                    drift_alert(
                        {"instance": "node-2"},
                        "2 network namespaces on node-2",
                        ' Examples: network namespace "named/blue" on node-2 with 256 '
                        '(host 1024), container "cache" on node-2 with 128 (host '
                        "1024).",
                    ),
                ),
            ),
            At(
                91,
                (
                    drift_alert(
                        {"namespace": "shop"},
                        '2 pods of namespace "shop"',
                        ' Examples: pod "shop/web-0" on node-1 with 128 (host 65535), '
                        'pod "shop/web-1" on node-1 with 4096 (host 65535).',
                    ),
                    drift_alert(
                        {"instance": "node-2"},
                        "1 network namespace on node-2",
                        ' Examples: container "cache" on node-2 with 128 (host 1024).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "ignores declared, shared and copied values, and values above the host's",
        (
            host_somaxconn(4096),
            *somaxconn(pod("a"), 128, 4096, "declared"),
            *somaxconn(pod("b"), 128, 4096, "inherited"),
            *somaxconn(pod("c"), 128, 4096, "inherited_stale"),
            *somaxconn(pod("d"), 65535, 4096, "modified"),
            *somaxconn(pod("e"), 4096, 4096),
            series(pod("f"), "netns_sysctl_drift", f"-9{HELD}", sysctl=SOMAXCONN),
            series(
                pod("g"),
                "netns_sysctl_drift",
                f"-9{HELD}",
                sysctl="net.unix.max_dgram_qlen",
                origin="fresh_default",
            ),
        ),
        quiet(70, 180),
    ),
    Scenario(
        "counts a pod once although its origin changes and two jobs scrape it, and "
        "survives a failed scrape",
        (
            host_somaxconn(65535),
            series(
                pod(),
                "netns_sysctl_drift",
                "-61439x30 stale",
                sysctl=SOMAXCONN,
                origin="fresh_default",
            ),
            series(
                pod(),
                "netns_sysctl_drift",
                "_x30 -61439x15 stale _x0 -61439x100",
                sysctl=SOMAXCONN,
                origin="modified",
            ),
            series(
                pod(on=node(job="other")),
                "netns_sysctl_drift",
                "-61439x46 stale _x0 -61439x100",
                sysctl=SOMAXCONN,
                origin="fresh_default",
            ),
            series(pod(), "netns_sysctl_value", f"4096{HELD}", sysctl=SOMAXCONN),
        ),
        (At(61, (IN_SHOP,)),),
    ),
    Scenario(
        "distinguishes Kubernetes namespaces of the same name in two clusters",
        (
            host_somaxconn(65535, node(cluster="eu")),
            host_somaxconn(8192, node(cluster="us")),
            *somaxconn(pod(on=node(cluster="eu")), 4096, 65535),
            *somaxconn(pod(on=node(cluster="us")), 128, 8192),
        ),
        (
            At(
                61,
                (
                    drift_alert(
                        {"namespace": "shop", "cluster": "eu"},
                        '1 pod of namespace "shop"',
                        ' Examples: pod "shop/web-0" on node-1 with 4096 (host 65535).',
                    ),
                    drift_alert(
                        {"namespace": "shop", "cluster": "us"},
                        '1 pod of namespace "shop"',
                        ' Examples: pod "shop/web-0" on node-1 with 128 (host 8192).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "quotes a container name that would break a query or a line",
        (host_somaxconn(65535), *somaxconn(container(HOSTILE_NAME), 4096, 65535)),
        (
            At(
                61,
                (
                    drift_alert(
                        {"instance": "node-1"},
                        "1 network namespace on node-1",
                        ' Examples: container "a\\"} or vector(1)\\\\ {{ $value }}\\n'
                        '\\u202e<!channel>" on node-1 with 4096 (host 65535).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "names the network namespace if it is not the main one of its owner",
        (
            host_somaxconn(65535),
            *somaxconn({**pod(), "netns": "within/dind"}, 4096, 65535),
        ),
        (
            At(
                61,
                (
                    drift_alert(
                        {"namespace": "shop"},
                        '1 pod of namespace "shop"',
                        ' Examples: pod "shop/web-0" (its network namespace '
                        '"within/dind") on node-1 with 4096 (host 65535).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "neither counts nor names owners known to have no listener",
        (
            host_somaxconn(65535),
            *somaxconn(pod("idle-0"), 128, 65535),
            listening_sockets(pod("idle-0"), 0),
            *somaxconn(pod("web-0"), 512, 65535),
            listening_sockets(pod("web-0"), 1),
            listening_sockets(pod("web-0", on=node("node-2")), 0),
            # two jobs scrape it, and one has not seen the listener yet
            *somaxconn(pod("web-1"), 1024, 65535),
            listening_sockets(pod("web-1"), 0),
            listening_sockets(pod("web-1", on=node(job="other")), 2),
            # listeners are not counted here
            *somaxconn(pod("web-2"), 4096, 65535),
            *somaxconn({**pod("web-2"), "netns": "within/dind"}, 128, 65535),
            listening_sockets({**pod("web-2"), "netns": "within/dind"}, 0),
        ),
        (
            At(
                61,
                (
                    drift_alert(
                        {"namespace": "shop"},
                        '3 pods of namespace "shop"',
                        ' Examples: pod "shop/web-0" on node-1 with 512 (host 65535), '
                        'pod "shop/web-1" on node-1 with 1024 (host 65535), '
                        'pod "shop/web-2" on node-1 with 4096 (host 65535).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "ignores units with private networks on many tuned nodes",
        tuple(
            item
            for number in range(100)
            for on in [node(f"node-{number:03}")]
            for unit in (
                named_netns("unit/logind.service", on=on),
                named_netns("unit/a", on=on),
            )
            for item in (
                host_somaxconn(65535, on),
                *somaxconn(unit, 4096, 65535),
                listening_sockets(unit, 0),
            )
        ),
        quiet(61, 90),
    ),
    Scenario(
        "starts when a program listens",
        (
            host_somaxconn(65535),
            *somaxconn(pod(), 4096, 65535),
            series(pod(), "netns_listening_sockets", "0x30 1x100"),
        ),
        (*quiet(61, 89), At(92, (IN_SHOP,))),
    ),
    Scenario(
        "is one alert although all pods of a node drift",
        (
            host_somaxconn(65535),
            *(
                item
                for number in range(110)
                for item in somaxconn(
                    pod(f"web-{number:03}"), 128 if number < 5 else 4096, 65535
                )
            ),
        ),
        (
            At(
                61,
                (
                    drift_alert(
                        {"namespace": "shop"},
                        '110 pods of namespace "shop"',
                        " Examples: "
                        + ", ".join(
                            f'pod "shop/web-{number:03}" on node-1 with 128 (host '
                            "65535)"
                            for number in range(5)
                        )
                        + ".",
                    ),
                ),
            ),
        ),
    ),
)
