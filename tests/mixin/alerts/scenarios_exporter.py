"""What is scraped, and which of the alerts about the exporter fires of it."""

from tests.mixin.support.promtool import At, Fired, Labels, Scenario, node, of, quiet

WARNING = {"instance": "node-1", "severity": "warning"}


def target(name: str = "node-1") -> Labels:
    """Return all labels that the PodMonitor gives a target."""
    return {**node(name), "node": name}


DOWN = (
    Scenario(
        "fires with all labels of the target, and resolves",
        (of(target(), "up", "0x20 1x20"), of(target("node-2"), "up", "1x40")),
        (
            *quiet(14),
            At(
                16,
                (
                    Fired(
                        {
                            **WARNING,
                            "job": "netns-sysctl-exporter",
                            "node": "node-1",
                        },
                        "The exporter on node-1 does not answer.",
                        "Prometheus has no answer of netns-sysctl-exporter on node-1: "
                        "nothing is known of the network namespaces there.",
                    ),
                ),
            ),
            *quiet(21),
        ),
    ),
    Scenario(
        "is quiet about a restart, and about other jobs",
        (
            of(target(), "up", "1x10 0x5 1x40"),
            of(node(job="node-exporter"), "up", "0x60"),
        ),
        quiet(16, 40),
    ),
)

BLIND = (
    Scenario(
        "fires with the reason, and resolves",
        (
            of(
                node(),
                "netns_namespaces",
                "2x20 stale",
                state="unreadable",
                reason="refused_by_policy",
            ),
            of(
                node("node-2"),
                "netns_namespaces",
                "1x20 0x20",
                state="unreadable",
                reason="missing_cap_sys_admin",
            ),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    Fired(
                        {**WARNING, "reason": "refused_by_policy"},
                        "2 network namespaces on node-1 cannot be read.",
                        "2 network namespaces on node-1 cannot be read "
                        "(refused_by_policy). What is in there is in no metric.",
                    ),
                    Fired(
                        {
                            **WARNING,
                            "instance": "node-2",
                            "reason": "missing_cap_sys_admin",
                        },
                        "1 network namespace on node-2 cannot be read.",
                        "1 network namespace on node-2 cannot be read "
                        "(missing_cap_sys_admin). What is in there is in no metric.",
                    ),
                ),
            ),
            *quiet(25),
        ),
    ),
    Scenario(
        "is quiet about those that are read or new",
        (
            of(node(), "netns_namespaces", "110x40", state="read"),
            of(node(), "netns_namespaces", "9x40", state="pending"),
            of(node(), "netns_namespaces", "0x40", state="unreadable"),
        ),
        quiet(16, 40),
    ),
)

ANSWERED = "netns_runtime_last_answer_timestamp_seconds"

STALE = (
    Scenario(
        "fires a while after the last answer, and resolves with the next",
        (
            of(node(), ANSWERED, "60x45 2760+60x40", runtime="docker"),
            of(node(job="other"), ANSWERED, "60x45 2760+60x40", runtime="docker"),
        ),
        (
            *quiet(30),
            At(
                33,
                (
                    Fired(
                        {**WARNING, "runtime": "docker"},
                        "docker on node-1 does not answer the exporter.",
                        "docker on node-1 last answered the exporter 32m 0s ago. What "
                        "only it knows, such as names of containers and what was asked "
                        "for, is as old as that.",
                    ),
                ),
            ),
            *quiet(47),
        ),
    ),
    Scenario(
        "is quiet while it answers, and where nobody is asked",
        (of(node(), ANSWERED, "0+60x90", runtime="kubelet"),),
        quiet(33, 90),
    ),
)

STAGE_FAILED = (
    Scenario(
        "fires for the part that fails, and resolves",
        (
            of(node(), "netns_collector_success", "0x20 1x20", collector="signals"),
            of(node(), "netns_collector_success", "1x40", collector="reading"),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    Fired(
                        {**WARNING, "collector": "signals"},
                        "signals of the exporter on node-1 fails.",
                        "The part signals of the exporter's passes on node-1 fails. "
                        "What it finds out is missing or old; the exporter's log says "
                        "why.",
                    ),
                ),
            ),
            *quiet(21),
        ),
    ),
    Scenario(
        "is quiet about a failure that passes",
        (of(node(), "netns_collector_success", "1x9 0x5 1x9", collector="reading"),),
        quiet(16, 20),
    ),
)

REDUCED = "netns_exporter_namespaces_reduced"

OVER_BUDGET = (
    Scenario(
        "fires with the limit and how many, once though two jobs scrape it, and "
        "resolves",
        (
            of(node(), REDUCED, "40x20 0x20", to="summary"),
            of(node(), REDUCED, "2x20 0x20", to="nothing"),
            of(node(job="other"), REDUCED, "40x20 0x20", to="summary"),
            of(node(), "netns_exporter_series_limit", "200000x40"),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    Fired(
                        WARNING,
                        "The exporter on node-1 tells less of 42 network namespaces: "
                        "too many series.",
                        "The exporter on node-1 would have more series than its limit "
                        "of 200000, so it tells less of 42 network namespaces: 40 as a "
                        "summary, 2 not at all.",
                    ),
                ),
            ),
            *quiet(21),
        ),
    ),
    Scenario(
        "is quiet where there is room",
        (
            of(node(), REDUCED, "0x40", to="summary"),
            of(node(), REDUCED, "0x40", to="nothing"),
        ),
        quiet(16, 40),
    ),
)

PROBLEM = (
    Scenario(
        "fires with the problem, and resolves",
        (of(node(), "netns_collector_problem", "7x20 stale", problem="fd_budget"),),
        (
            *quiet(14),
            At(
                16,
                (
                    Fired(
                        {
                            "instance": "node-1",
                            "problem": "fd_budget",
                            "severity": "info",
                        },
                        "The exporter on node-1 does not see everything: fd_budget.",
                        "The exporter on node-1 has the problem fd_budget, which "
                        "concerns 7. `netns-sysctl-exporter report` there says what it "
                        "means and what to do.",
                    ),
                ),
            ),
            *quiet(25),
        ),
    ),
    Scenario(
        "is quiet about what concerns nobody, and what NetnsSysctlExporterBlind tells",
        (
            of(
                node(),
                "netns_collector_problem",
                "0x40",
                problem="missing_cap_sys_ptrace",
            ),
            of(node(), "netns_collector_problem", "2x40", problem="refused_by_policy"),
        ),
        quiet(16, 40),
    ),
)
