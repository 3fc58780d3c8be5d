"""Scenarios of NetnsListenOverflows."""

from tests.mixin.alerts.scenarios.inputs import (
    HOST,
    ONE_PER_MINUTE,
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
    node,
    owner_labels,
    pod,
    quiet,
)

BURST = "0x5 600 1200 1200x200"


def overflows_alert(owner: Labels, name: str, rate: str, more: str = "") -> Firing:
    return Firing(
        {**owner_labels(owner), "severity": "warning"},
        f"Connections to {name} are dropped: an accept queue is full.",
        f"Accept queues of {name} overflow at {rate} per second (ListenOverflows)."
        f"{more}",
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
                    overflows_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "0.05",
                        " Its net.core.somaxconn is 128. Its fullest listener is "
                        '"*:8080": queue 129, limit 128.',
                    ),
                    overflows_alert(HOST, "the host on node-1", "20"),
                ),
            ),
            At(
                40 + 5 + 8,
                (
                    overflows_alert(
                        pod(),
                        'pod "shop/web-0" on node-1',
                        "0.01",
                        " Its net.core.somaxconn is 128. Its fullest listener is "
                        '"*:8080": queue 129, limit 128.',
                    ),
                    overflows_alert(HOST, "the host on node-1", "4"),
                ),
            ),
            *quiet(40 + 5 + 10 + 2),
        ),
    ),
    Scenario(
        "excludes drifted pods of the other alert, but not pods of the same name",
        (
            *somaxconn(pod(), 4096, 65535),
            overflows(pod(), ONE_PER_MINUTE),
            overflows(pod(on=node("node-2")), ONE_PER_MINUTE),
        ),
        (
            At(
                18,
                (
                    overflows_alert(
                        pod(on=node("node-2")), 'pod "shop/web-0" on node-2', "0.017"
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "fires despite drift if the program's own backlog is lower",
        (
            *somaxconn(pod("declared-0"), 4096, 65535),
            overflows(pod("declared-0"), ONE_PER_MINUTE),
            *listener_backlogs(pod("declared-0"), "application"),
            *listener(pod("declared-0"), 51, 50),
            *listener(pod("declared-0", on=node(job="other")), 51, 50),
            *somaxconn(pod("unknown-0"), 4096, 65535),
            overflows(pod("unknown-0"), ONE_PER_MINUTE),
            *listener_backlogs(pod("unknown-0"), "", "application"),
            *somaxconn(pod("clamped-0"), 4096, 65535),
            overflows(pod("clamped-0"), ONE_PER_MINUTE),
            *listener_backlogs(pod("clamped-0"), "application", "clamped"),
        ),
        (
            *quiet(15),
            At(
                18,
                (
                    overflows_alert(
                        pod("declared-0"),
                        'pod "shop/declared-0" on node-1',
                        "0.017",
                        " Its net.core.somaxconn is 4096. Its fullest listener is "
                        '"*:8080": queue 51, limit 50.',
                    ),
                    overflows_alert(
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
        "ignores past overflows, a counter reset, and a single burst",
        (
            overflows(pod(), "312x200"),
            overflows(pod("reset-0"), "900x20 0x100"),
            overflows(pod("burst-0"), BURST),
        ),
        quiet(10, 18, 24, 60),
    ),
)
