"""Scenarios of the other alerts about values."""

from tests.mixin.alerts.scenarios.inputs import SOMAXCONN
from tests.mixin.support.promtool import (
    At,
    Firing,
    Labels,
    Scenario,
    Series,
    container,
    named_netns,
    node,
    pod,
    quiet,
    series,
)


def violation(owner: Labels, values: str, severity: str = "critical") -> Series:
    return series(
        owner,
        "netns_sysctl_policy_violation",
        values,
        sysctl=SOMAXCONN,
        rule="somaxconn-floor",
        severity=severity,
    )


def violation_alert(labels: Labels, count: str, examples: str) -> Firing:
    return Firing(
        labels={
            "sysctl": SOMAXCONN,
            "rule": "somaxconn-floor",
            "severity": "critical",
            **labels,
        },
        summary=f"net.core.somaxconn violates rule somaxconn-floor in {count}.",
        description="net.core.somaxconn violates rule somaxconn-floor of the policy "
        f"in {count}{examples}.",
    )


POLICY_VIOLATION = (
    Scenario(
        "fires with the rule's severity, and resolves",
        (
            violation(pod("web-0"), "1x30 0x30"),
            violation(pod("web-1"), "1x20 0x40"),
            violation(pod("web-2"), "0x60"),
            violation(pod("web-0", "test"), "1x30 0x30", "info"),
            violation(named_netns(), "1x30 0x30"),
            series(pod("web-0"), "netns_sysctl_value", "128x60", sysctl=SOMAXCONN),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    violation_alert(
                        {"namespace": "shop"},
                        '2 pods of namespace "shop"',
                        ', such as pod "shop/web-0" on node-1 with 128, pod '
                        '"shop/web-1" on node-1',
                    ),
                    violation_alert(
                        {"namespace": "test", "severity": "info"},
                        '1 pod of namespace "test"',
                        ', such as pod "test/web-0" on node-1',
                    ),
                    violation_alert(
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
        "is quiet while the values satisfy the rule",
        (violation(pod(), "0x60"), violation(named_netns(), "0x60", "info")),
        quiet(16, 60),
    ),
    Scenario(
        "survives a failed scrape",
        (violation(named_netns(), "1x10 stale 1x30"),),
        (
            At(
                16,
                (
                    violation_alert(
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


def drifting_namespaces(values: str, origin: str, on: Labels | None = None) -> Series:
    return series(
        on or node(),
        "netns_sysctl_drifting_namespaces",
        values,
        sysctl=RMEM,
        origin=origin,
    )


def stale(owner: Labels, values: str = "-9x90 stale") -> Series:
    return series(
        owner,
        "netns_sysctl_drift",
        values,
        sysctl=RMEM,
        field="max",
        origin=STALE,
    )


def outdated_alert(
    count: str, nodes: str, examples: str, cluster: str = "", sysctl: str = RMEM
) -> Firing:
    of_cluster = f" of {cluster}" if cluster else ""
    return Firing(
        {
            "sysctl": sysctl,
            "severity": "info",
            **({"cluster": cluster} if cluster else {}),
        },
        f"Outdated copy of the host's {sysctl} in {count}{of_cluster}.",
        f"The host's {sysctl} changed on {nodes}{of_cluster} after {count} copied it, "
        f"such as {examples}. Existing network namespaces keep the old value until "
        "they are recreated.",
    )


FLEET = [node(f"node-{number:03}", cluster="eu") for number in range(100)]
INHERITED_STALE = (
    Scenario(
        "fires once per sysctl with the owners of a single node, and resolves",
        (
            drifting_namespaces("2x90 stale", STALE),
            drifting_namespaces("2x90 stale", STALE, node(job="other")),
            *(
                series(
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
                    outdated_alert(
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
        "is one alert per cluster although the host changed on all nodes",
        (
            *(
                drifting_namespaces(
                    f"{5 if number in range(40, 45) else 2}x90", STALE, on
                )
                for number, on in enumerate(FLEET)
            ),
            *(
                stale(
                    named_netns(on=on)
                    if number == 44
                    else pod(f"web-{on['instance']}", on=on)
                )
                for number, on in enumerate(FLEET)
            ),
            *(stale(pod("z", "batch", on=on)) for on in FLEET[40:44]),
            drifting_namespaces("1x90", STALE, node("node-040", cluster="us")),
            stale(container(on=node("node-040", cluster="us"))),
        ),
        (
            At(
                61,
                (
                    outdated_alert(
                        "215 network namespaces",
                        "100 nodes",
                        ", ".join(
                            f'pod "shop/web-node-{number:03}" on node-{number:03}'
                            for number in range(40, 44)
                        )
                        + ', network namespace "named/blue" on node-044',
                        cluster="eu",
                    ),
                    outdated_alert(
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
        "gives counts where owners are not exported",
        (
            drifting_namespaces("1x90", STALE),
            drifting_namespaces("3x90", STALE, node("node-2")),
        ),
        (
            At(
                61,
                (
                    outdated_alert(
                        "4 network namespaces", "2 nodes", "1 on node-1, 3 on node-2"
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "ignores values that differ for another reason",
        (
            drifting_namespaces("9x90", "modified"),
            drifting_namespaces("9x90", "declared"),
            drifting_namespaces("9x90", "fresh_default"),
        ),
        quiet(61, 90),
    ),
)


def fresh(
    on: Labels, values: str, sysctl: str = SOMAXCONN, class_: str = "constant"
) -> tuple[Series, ...]:
    return (
        series(on, "netns_sysctl_fresh_value", values, sysctl=sysctl),
        Series(
            "netns_sysctl_info",
            {**on, "sysctl": sysctl, "class": class_, "settable_by": "pod-unsafe"},
            "1x200",
        ),
    )


def kernel(on: Labels, release: str) -> Series:
    return series(on, "netns_kernel_info", "1x200", release=release)


FRESH_DEFAULTS_DIFFER = (
    Scenario(
        "fires with each value, its number of nodes and an example, and resolves",
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
                    Firing(
                        {"sysctl": SOMAXCONN, "severity": "info"},
                        "The default of net.core.somaxconn in new network namespaces "
                        "differs between nodes.",
                        "The default of net.core.somaxconn in new network namespaces "
                        "depends on the kernel, and the kernels of the nodes differ: "
                        "128 on 1 of them (such as node-3, Linux 5.3.18), 4096 on 2 of "
                        "them (such as node-1, Linux 6.12.57). The same pod gets a "
                        "different value depending on its node.",
                    ),
                ),
            ),
            *quiet(91),
        ),
    ),
    Scenario(
        "ignores other clusters, and sysctls that depend on memory or the host",
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
