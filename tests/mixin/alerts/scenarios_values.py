"""What is scraped, and which of the alerts about values fires of it."""

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
    pod,
    quiet,
)

SOMAXCONN = "net.core.somaxconn"
HOUR = "x200"

HOSTILE = 'a"} or vector(1)\\ {{ $value }}\n\N{RIGHT-TO-LEFT OVERRIDE}<!channel>'
"""What a container may be called, for all that is known."""


OF_IT = {"sysctl": SOMAXCONN}


def host(somaxconn: int, on: Labels | None = None) -> Series:
    return of(
        on or node(), "netns_sysctl_host_value", f"{somaxconn}{HOUR}", sysctl=SOMAXCONN
    )


def somaxconn(
    owner: Labels, value: int, host: int, origin: str = "fresh_default"
) -> tuple[Series, Series]:
    drift = f"{value - host}{HOUR}"
    return (
        of(owner, "netns_sysctl_drift", drift, sysctl=SOMAXCONN, origin=origin),
        of(owner, "netns_sysctl_value", f"{value}{HOUR}", sysctl=SOMAXCONN),
    )


def listening(owner: Labels, sockets: int) -> Series:
    return of(owner, "netns_listening_sockets", f"{sockets}{HOUR}")


BELOW = (
    " net.core.somaxconn is below the host's, and nobody asked for that: it is what "
    "the kernel gives a new network namespace, whatever the host has, or something "
    "wrote it. What listens on nothing is not counted."
)


def drifting(labels: Labels, many: str, such: str, severity: str = "info") -> Fired:
    return Fired(
        labels={**labels, "severity": severity},
        summary=f"net.core.somaxconn is below the host's in {many}.",
        description=f"In {many}{BELOW}{such}",
    )


IN_SHOP = drifting(
    {"namespace": "shop"},
    '1 pod of namespace "shop"',
    ' Such as pod "shop/web-0" on node-1 with 4096 (host 65535).',
)

SOMAXCONN_DRIFT = (
    Scenario(
        "fires once for a Kubernetes namespace and once for a node without, and "
        "resolves",
        (
            host(65535),
            host(1024, node("node-2")),
            *somaxconn(pod("web-0"), 128, 65535, "modified"),
            *somaxconn(pod("web-1"), 4096, 65535),
            *somaxconn(container("cache", on=node("node-2")), 128, 1024, "overridden"),
            of(
                named(on=node("node-2")),
                "netns_sysctl_drift",
                "-768x90 0x60",
                sysctl=SOMAXCONN,
                origin="modified",
            ),
            of(named(on=node("node-2")), "netns_sysctl_value", "256x90", **OF_IT),
            of(pod("late-0", "batch"), "netns_sysctl_value", "4096x90", **OF_IT),
            of(
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
                    drifting(
                        {"namespace": "shop"},
                        '2 pods of namespace "shop"',
                        ' Such as pod "shop/web-0" on node-1 with 128 (host 65535), '
                        'pod "shop/web-1" on node-1 with 4096 (host 65535).',
                    ),
                    drifting(
                        {"namespace": "batch"},
                        '1 pod of namespace "batch"',
                        ' Such as pod "batch/late-0" on node-1 with 4096 (host 65535).',
                    ),
                    drifting(
                        {"instance": "node-2"},
                        "2 network namespaces on node-2",
                        ' Such as network namespace "named/blue" on node-2 with 256 '
                        '(host 1024), container "cache" on node-2 with 128 (host '
                        "1024).",
                    ),
                ),
            ),
            At(
                91,
                (
                    drifting(
                        {"namespace": "shop"},
                        '2 pods of namespace "shop"',
                        ' Such as pod "shop/web-0" on node-1 with 128 (host 65535), '
                        'pod "shop/web-1" on node-1 with 4096 (host 65535).',
                    ),
                    drifting(
                        {"instance": "node-2"},
                        "1 network namespace on node-2",
                        ' Such as container "cache" on node-2 with 128 (host 1024).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "is quiet about what was declared, is shared or copied, or is above the host's",
        (
            host(4096),
            *somaxconn(pod("a"), 128, 4096, "declared"),
            *somaxconn(pod("b"), 128, 4096, "inherited"),
            *somaxconn(pod("c"), 128, 4096, "inherited_stale"),
            *somaxconn(pod("d"), 65535, 4096, "modified"),
            *somaxconn(pod("e"), 4096, 4096),
            of(pod("f"), "netns_sysctl_drift", f"-9{HOUR}", sysctl=SOMAXCONN),
            of(
                pod("g"),
                "netns_sysctl_drift",
                f"-9{HOUR}",
                sysctl="net.unix.max_dgram_qlen",
                origin="fresh_default",
            ),
        ),
        quiet(70, 180),
    ),
    Scenario(
        "counts a pod once though its origin changes and two jobs scrape it, and goes "
        "on when a scrape fails",
        (
            host(65535),
            of(
                pod(),
                "netns_sysctl_drift",
                "-61439x30 stale",
                sysctl=SOMAXCONN,
                origin="fresh_default",
            ),
            of(
                pod(),
                "netns_sysctl_drift",
                "_x30 -61439x15 stale _x0 -61439x100",
                sysctl=SOMAXCONN,
                origin="modified",
            ),
            of(
                pod(on=node(job="other")),
                "netns_sysctl_drift",
                "-61439x46 stale _x0 -61439x100",
                sysctl=SOMAXCONN,
                origin="fresh_default",
            ),
            of(pod(), "netns_sysctl_value", f"4096{HOUR}", sysctl=SOMAXCONN),
        ),
        (At(61, (IN_SHOP,)),),
    ),
    Scenario(
        "tells namespaces of one name in two clusters apart",
        (
            host(65535, node(cluster="eu")),
            host(8192, node(cluster="us")),
            *somaxconn(pod(on=node(cluster="eu")), 4096, 65535),
            *somaxconn(pod(on=node(cluster="us")), 128, 8192),
        ),
        (
            At(
                61,
                (
                    drifting(
                        {"namespace": "shop", "cluster": "eu"},
                        '1 pod of namespace "shop"',
                        ' Such as pod "shop/web-0" on node-1 with 4096 (host 65535).',
                    ),
                    drifting(
                        {"namespace": "shop", "cluster": "us"},
                        '1 pod of namespace "shop"',
                        ' Such as pod "shop/web-0" on node-1 with 128 (host 8192).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "names a container whose name would break a query or a line",
        (host(65535), *somaxconn(container(HOSTILE), 4096, 65535)),
        (
            At(
                61,
                (
                    drifting(
                        {"instance": "node-1"},
                        "1 network namespace on node-1",
                        ' Such as container "a\\"} or vector(1)\\\\ {{ $value }}\\n'
                        '\\u202e<!channel>" on node-1 with 4096 (host 65535).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "names a network namespace that is not its owner's main one",
        (
            host(65535),
            *somaxconn({**pod(), "netns": "within/dind"}, 4096, 65535),
        ),
        (
            At(
                61,
                (
                    drifting(
                        {"namespace": "shop"},
                        '1 pod of namespace "shop"',
                        ' Such as pod "shop/web-0" (its network namespace '
                        '"within/dind") on node-1 with 4096 (host 65535).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "leaves out who is known to listen on nothing, in number and in name",
        (
            host(65535),
            *somaxconn(pod("idle-0"), 128, 65535),
            listening(pod("idle-0"), 0),
            *somaxconn(pod("web-0"), 512, 65535),
            listening(pod("web-0"), 1),
            listening(pod("web-0", on=node("node-2")), 0),
            # of two that look, one has not seen it yet
            *somaxconn(pod("web-1"), 1024, 65535),
            listening(pod("web-1"), 0),
            listening(pod("web-1", on=node(job="other")), 2),
            # where nobody looks
            *somaxconn(pod("web-2"), 4096, 65535),
            *somaxconn({**pod("web-2"), "netns": "within/dind"}, 128, 65535),
            listening({**pod("web-2"), "netns": "within/dind"}, 0),
        ),
        (
            At(
                61,
                (
                    drifting(
                        {"namespace": "shop"},
                        '3 pods of namespace "shop"',
                        ' Such as pod "shop/web-0" on node-1 with 512 (host 65535), '
                        'pod "shop/web-1" on node-1 with 1024 (host 65535), '
                        'pod "shop/web-2" on node-1 with 4096 (host 65535).',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "is quiet about units with a network of their own on each of many tuned nodes",
        tuple(
            one
            for number in range(100)
            for on in [node(f"node-{number:03}")]
            for unit in (named("unit/logind.service", on=on), named("unit/a", on=on))
            for one in (
                host(65535, on),
                *somaxconn(unit, 4096, 65535),
                listening(unit, 0),
            )
        ),
        quiet(61, 90),
    ),
    Scenario(
        "begins once a program listens",
        (
            host(65535),
            *somaxconn(pod(), 4096, 65535),
            of(pod(), "netns_listening_sockets", "0x30 1x100"),
        ),
        (*quiet(61, 89), At(92, (IN_SHOP,))),
    ),
    Scenario(
        "is one alert though every pod of a node drifts",
        (
            host(65535),
            *(
                one
                for number in range(110)
                for one in somaxconn(
                    pod(f"web-{number:03}"), 128 if number < 5 else 4096, 65535
                )
            ),
        ),
        (
            At(
                61,
                (
                    drifting(
                        {"namespace": "shop"},
                        '110 pods of namespace "shop"',
                        " Such as "
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


def violation(owner: Labels, values: str, severity: str = "critical") -> Series:
    return of(
        owner,
        "netns_sysctl_policy_violation",
        values,
        sysctl=SOMAXCONN,
        rule="somaxconn-floor",
        severity=severity,
    )


def violating(labels: Labels, many: str, such: str) -> Fired:
    return Fired(
        labels={
            "sysctl": SOMAXCONN,
            "rule": "somaxconn-floor",
            "severity": "critical",
            **labels,
        },
        summary=f"net.core.somaxconn violates rule somaxconn-floor in {many}.",
        description="net.core.somaxconn is not what rule somaxconn-floor of the policy "
        f"wants in {many}{such}.",
    )


POLICY_VIOLATION = (
    Scenario(
        "fires with the rule's severity, and resolves",
        (
            violation(pod("web-0"), "1x30 0x30"),
            violation(pod("web-1"), "1x20 0x40"),
            violation(pod("web-2"), "0x60"),
            violation(pod("web-0", "test"), "1x30 0x30", "info"),
            violation(named(), "1x30 0x30"),
            of(pod("web-0"), "netns_sysctl_value", "128x60", sysctl=SOMAXCONN),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    violating(
                        {"namespace": "shop"},
                        '2 pods of namespace "shop"',
                        ', such as pod "shop/web-0" on node-1 with 128, pod '
                        '"shop/web-1" on node-1',
                    ),
                    violating(
                        {"namespace": "test", "severity": "info"},
                        '1 pod of namespace "test"',
                        ', such as pod "test/web-0" on node-1',
                    ),
                    violating(
                        {"instance": "node-1"},
                        "1 network namespace on node-1",
                        ', such as network namespace "named/blue" on node-1',
                    ),
                ),
            ),
            *quiet(31),
        ),
    ),
    Scenario(
        "is quiet while the values are right",
        (violation(pod(), "0x60"), violation(named(), "0x60", "info")),
        quiet(16, 60),
    ),
    Scenario(
        "goes on when a scrape fails",
        (violation(named(), "1x10 stale 1x30"),),
        (
            At(
                16,
                (
                    violating(
                        {"instance": "node-1"},
                        "1 network namespace on node-1",
                        ', such as network namespace "named/blue" on node-1',
                    ),
                ),
            ),
        ),
    ),
)

RMEM = "net.ipv4.tcp_rmem"
STALE = "inherited_stale"


def counted(values: str, origin: str, on: Labels | None = None) -> Series:
    return of(
        on or node(),
        "netns_sysctl_drifting_namespaces",
        values,
        sysctl=RMEM,
        origin=origin,
    )


def stale(owner: Labels, values: str = "-9x90 stale") -> Series:
    return of(
        owner,
        "netns_sysctl_drift",
        values,
        sysctl=RMEM,
        field="max",
        origin=STALE,
    )


def had_before(
    many: str, nodes: str, such: str, cluster: str = "", sysctl: str = RMEM
) -> Fired:
    of_cluster = f" of {cluster}" if cluster else ""
    return Fired(
        {
            "sysctl": sysctl,
            "severity": "info",
            **({"cluster": cluster} if cluster else {}),
        },
        f"{sysctl} in {many}{of_cluster} is what the host had before.",
        f"The host's {sysctl} changed on {nodes}{of_cluster} after {many} had copied "
        f"it, such as {such}. A copy does not follow: they have the new value once "
        "they are made anew.",
    )


FLEET = [node(f"node-{number:03}", cluster="eu") for number in range(100)]

INHERITED_STALE = (
    Scenario(
        "fires once for a sysctl, with those of its only node, and resolves",
        (
            counted("2x90 stale", STALE),
            counted("2x90 stale", STALE, node(job="other")),
            *(
                of(
                    pod(name),
                    "netns_sysctl_drift",
                    f"{drift}x90 stale",
                    sysctl=RMEM,
                    field=field,
                    origin=STALE,
                )
                for name in ("old-0", "old-1")
                for field, drift in (("min", 0), ("default", -65536), ("max", -9))
            ),
            stale(pod("same-0"), "0x90"),
            stale(pod("other-0", on=node("node-2")), "-9x90"),
        ),
        (
            *quiet(59),
            At(
                61,
                (
                    had_before(
                        "2 network namespaces",
                        "1 node",
                        'pod "shop/old-0" on node-1, pod "shop/old-1" on node-1',
                    ),
                ),
            ),
            *quiet(95),
        ),
    ),
    Scenario(
        "is one alert for a cluster though the host changed on all nodes",
        (
            *(
                counted(f"{5 if number in range(40, 45) else 2}x90", STALE, on)
                for number, on in enumerate(FLEET)
            ),
            *(
                stale(
                    named(on=on)
                    if number == 44
                    else pod(f"web-{on['instance']}", on=on)
                )
                for number, on in enumerate(FLEET)
            ),
            *(stale(pod("z", "batch", on=on)) for on in FLEET[40:44]),
            counted("1x90", STALE, node("node-040", cluster="us")),
            stale(container(on=node("node-040", cluster="us"))),
        ),
        (
            At(
                61,
                (
                    had_before(
                        "215 network namespaces",
                        "100 nodes",
                        ", ".join(
                            f'pod "shop/web-node-{number:03}" on node-{number:03}'
                            for number in range(40, 44)
                        )
                        + ', network namespace "named/blue" on node-044',
                        cluster="eu",
                    ),
                    had_before(
                        "1 network namespace",
                        "1 node",
                        'container "cache" on node-040',
                        cluster="us",
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "says how many where it is not told who",
        (
            counted("1x90", STALE),
            counted("3x90", STALE, node("node-2")),
        ),
        (
            At(
                61,
                (
                    had_before(
                        "4 network namespaces", "2 nodes", "1 on node-1, 3 on node-2"
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "is quiet about what differs for another reason",
        (
            counted("9x90", "modified"),
            counted("9x90", "declared"),
            counted("9x90", "fresh_default"),
        ),
        quiet(61, 90),
    ),
)


def fresh(
    on: Labels, values: str, sysctl: str = SOMAXCONN, scope: str = "constant"
) -> tuple[Series, ...]:
    return (
        of(on, "netns_sysctl_fresh_value", values, sysctl=sysctl),
        Series(
            "netns_sysctl_info",
            {**on, "sysctl": sysctl, "class": scope, "settable_by": "pod-unsafe"},
            "1x200",
        ),
    )


def kernel(on: Labels, release: str) -> Series:
    return of(on, "netns_kernel_info", "1x200", release=release)


FRESH_DEFAULTS_DIFFER = (
    Scenario(
        "fires with each value, how many nodes have it and one of them, and resolves",
        (
            *fresh(node("node-1"), "4096x200"),
            *fresh(node("node-2"), "4096x200"),
            *fresh(node("node-3"), "128x90 4096x100"),
            *fresh(node("node-3", job="other"), "128x90 4096x100"),
            kernel(node("node-1"), "6.12.57"),
            kernel(node("node-2"), "6.12.57"),
            kernel(node("node-3"), "5.3.18"),
        ),
        (
            *quiet(59),
            At(
                61,
                (
                    Fired(
                        {"sysctl": SOMAXCONN, "severity": "info"},
                        "New network namespaces get another net.core.somaxconn on some "
                        "nodes than on others.",
                        "net.core.somaxconn of a new network namespace is its kernel's "
                        "own, and the nodes have kernels that differ: 128 on 1 of them "
                        "(such as node-3, Linux 5.3.18), 4096 on 2 of them (such as "
                        "node-1, Linux 6.12.57). The same pod gets another value, "
                        "depending on where it runs.",
                    ),
                ),
            ),
            *quiet(91),
        ),
    ),
    Scenario(
        "is quiet about another cluster, and about what depends on memory or the host",
        (
            *fresh(node("node-1", cluster="eu"), "4096x200"),
            *fresh(node("node-2", cluster="eu"), "4096x200"),
            *fresh(node("node-1", cluster="us"), "128x200"),
            *fresh(node("a"), "512x200", "net.ipv4.tcp_max_syn_backlog", "derived"),
            *fresh(node("b"), "4096x200", "net.ipv4.tcp_max_syn_backlog", "derived"),
            *fresh(node("a"), "1x200", "net.ipv4.ip_forward", "devconf"),
            *fresh(node("b"), "0x200", "net.ipv4.ip_forward", "devconf"),
        ),
        quiet(61, 180),
    ),
)
