"""Scenarios of NetnsSomaxconnDriftOverflows."""

from tests.mixin.alerts.scenarios.inputs import (
    HOST,
    HOSTILE_NAME,
    ONE_PER_MINUTE,
    host_somaxconn,
    listener,
    listener_backlogs,
    overflows,
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
    owner_labels,
    pod,
    quiet,
    series,
)

UNIT = named_netns("unit/backup.service")
NAMELESS = {**node(), "uid": pod()["uid"]}
"""A pod of which only the cgroup is known."""


def drift_overflows_alert(
    owner: Labels, name: str, rate: str, values: str, fullest: str = ""
) -> Firing:
    return Firing(
        {**owner_labels(owner), "severity": "critical"},
        f"Connections to {name} are dropped: its somaxconn is below the host's.",
        f"Accept queues of {name} overflow at {rate} per second (ListenOverflows). Its "
        f"net.core.somaxconn is {values}, and its value is not declared.{fullest}",
    )


DRIFT_OVERFLOWS = (
    Scenario(
        "fires for the pod with its numbers and its fullest listener, and resolves",
        (
            host_somaxconn(65535),
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
                    drift_overflows_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "1",
                        "128, the host's is 65535",
                        ' Its fullest listener is "*:8080": queue 129, limit 128.',
                    ),
                ),
            ),
            # five minutes of the rate's window, ten of keep_firing_for
            At(
                60 + 5 + 8,
                (
                    drift_overflows_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "0.2",
                        "128, the host's is 65535",
                        ' Its fullest listener is "*:8080": queue 129, limit 128.',
                    ),
                ),
            ),
            *quiet(60 + 5 + 10 + 2),
        ),
    ),
    Scenario(
        "names containers, units and network namespaces, and pods by uid",
        (
            host_somaxconn(65535),
            *(
                item
                for owner in (container(HOSTILE_NAME), UNIT, NAMELESS)
                for item in (
                    *somaxconn(owner, 4096, 65535),
                    overflows(owner, "0+6000x200"),
                )
            ),
            *listener(container(HOSTILE_NAME), 4097, 4096, "", '/run/"a\\b".sock'),
        ),
        (
            At(
                7,
                (
                    drift_overflows_alert(
                        container(HOSTILE_NAME),
                        'container "a\\"} or vector(1)\\\\ {{ $value }}\\n\\u202e'
                        '<!channel>" on node-1',
                        "100",
                        "4096, the host's is 65535",
                        ' Its fullest listener is "/run/\\"a\\\\b\\".sock:": queue '
                        "4097, limit 4096.",
                    ),
                    drift_overflows_alert(
                        UNIT,
                        'network namespace "unit/backup.service" on node-1',
                        "100",
                        "4096, the host's is 65535",
                    ),
                    drift_overflows_alert(
                        NAMELESS,
                        'pod with uid "uid-web-0" on node-1',
                        "100",
                        "4096, the host's is 65535",
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "ignores drift or overflows alone, and owners of the same name elsewhere",
        (
            host_somaxconn(65535),
            host_somaxconn(65535, node("node-2")),
            host_somaxconn(65535, node(cluster="eu")),
            *somaxconn(pod(), 4096, 65535),
            overflows(pod(), "312x200"),
            overflows(pod(on=node("node-2")), ONE_PER_MINUTE),
            overflows(pod(on=node(cluster="eu")), ONE_PER_MINUTE),
            *somaxconn(pod("declared-0"), 128, 65535, "declared"),
            overflows(pod("declared-0"), ONE_PER_MINUTE),
            *somaxconn({**pod(), "netns": "within/dind"}, 128, 65535),
            overflows(HOST, ONE_PER_MINUTE),
            overflows(pod("reset-0"), "900x20 0x100"),
            *somaxconn(pod("reset-0"), 4096, 65535),
            overflows(pod("new-0"), "_x20 312x100"),
            *somaxconn(pod("new-0"), 4096, 65535),
        ),
        quiet(7, 24, 30, 100),
    ),
    Scenario(
        "ignores owners whose listeners are not known to be limited by somaxconn",
        (
            host_somaxconn(65535),
            *(
                item
                for name, backlogs in (
                    ("declared-0", ("application", "application")),
                    ("unknown-0", ("",)),
                )
                for item in (
                    *somaxconn(pod(name), 4096, 65535),
                    overflows(pod(name), ONE_PER_MINUTE),
                    *listener_backlogs(pod(name), *backlogs),
                )
            ),
            *listener_backlogs(pod("declared-0", on=node("node-2")), "clamped"),
            *listener_backlogs(
                {**pod("declared-0"), "netns": "within/dind"}, "clamped"
            ),
        ),
        quiet(7, 24, 60),
    ),
    Scenario(
        "fires if somaxconn limits one listener, or did when it was opened",
        (
            host_somaxconn(65535),
            *(
                item
                for name, backlogs in (
                    ("clamped-0", ("application", "clamped")),
                    ("stale-0", ("stale", "")),
                )
                for item in (
                    *somaxconn(pod(name), 4096, 65535),
                    overflows(pod(name), ONE_PER_MINUTE),
                    *listener_backlogs(pod(name), *backlogs),
                )
            ),
        ),
        (
            At(
                8,
                tuple(
                    drift_overflows_alert(
                        pod(name),
                        f'pod "shop/{name}" on node-1',
                        "0.017",
                        "4096, the host's is 65535",
                    )
                    for name in ("clamped-0", "stale-0")
                ),
            ),
        ),
    ),
    Scenario(
        "has the numbers of its own network namespace only",
        (
            host_somaxconn(65535),
            host_somaxconn(99999, node("node-2")),
            *somaxconn(pod(), 128, 65535),
            overflows(pod(), "0+60x200"),
            *listener(pod(), 120, 128),
            *(
                item
                for other in (
                    {**pod(), "netns": "within/dind"},
                    pod(on=node("node-2")),
                    pod(on=node(cluster="eu")),
                    pod("web-1"),
                )
                for item in (
                    *somaxconn(other, 512, 65535),
                    *listener(other, 513, 512, "9090"),
                )
            ),
        ),
        (
            At(
                8,
                (
                    drift_overflows_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "1",
                        "128, the host's is 65535",
                        ' Its fullest listener is "*:8080": queue 120, limit 128.',
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "matches a pod once although its origin changes and two jobs scrape it, and "
        "survives a failed scrape",
        (
            host_somaxconn(65535),
            host_somaxconn(65535, node(job="other")),
            *(
                series(
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
                series(
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
                    drift_overflows_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "1",
                        "128, the host's is 65535",
                    ),
                ),
            ),
        ),
    ),
)
