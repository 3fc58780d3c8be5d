"""Scenarios of the alerts about the exporter."""

from tests.mixin.support.promtool import (
    At,
    Firing,
    Labels,
    Scenario,
    node,
    quiet,
    series,
)

WARNING = {"instance": "node-1", "severity": "warning"}


def target(name: str = "node-1") -> Labels:
    """Return all labels that the PodMonitor sets on a target."""
    return {**node(name), "node": name}


DOWN = (
    Scenario(
        "fires with all labels of the target, and resolves",
        (series(target(), "up", "0x20 1x20"), series(target("node-2"), "up", "1x40")),
        (
            *quiet(14),
            At(
                16,
                (
                    Firing(
                        {
                            **WARNING,
                            "job": "netns-sysctl-exporter",
                            "node": "node-1",
                        },
                        "The exporter on node-1 is down.",
                        "Prometheus cannot scrape netns-sysctl-exporter on node-1: no "
                        "data about its network namespaces is collected.",
                    ),
                ),
            ),
            *quiet(21),
        ),
    ),
    Scenario(
        "ignores a restart, and other jobs",
        (
            series(target(), "up", "1x10 0x5 1x40"),
            series(node(job="node-exporter"), "up", "0x60"),
        ),
        quiet(16, 40),
    ),
)


BLIND = (
    Scenario(
        "fires with the reason, and resolves",
        (
            series(
                node(),
                "netns_namespaces",
                "2x20 stale",
                state="unreadable",
                reason="refused_by_policy",
            ),
            series(
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
                    Firing(
                        {**WARNING, "reason": "refused_by_policy"},
                        "2 network namespaces on node-1 cannot be read.",
                        "2 network namespaces on node-1 cannot be read "
                        "(refused_by_policy). Values inside are missing from all "
                        "metrics.",
                    ),
                    Firing(
                        {
                            **WARNING,
                            "instance": "node-2",
                            "reason": "missing_cap_sys_admin",
                        },
                        "1 network namespace on node-2 cannot be read.",
                        "1 network namespace on node-2 cannot be read "
                        "(missing_cap_sys_admin). Values inside are missing from all "
                        "metrics.",
                    ),
                ),
            ),
            *quiet(25),
        ),
    ),
    Scenario(
        "ignores namespaces that are read or pending",
        (
            series(node(), "netns_namespaces", "110x40", state="read"),
            series(node(), "netns_namespaces", "9x40", state="pending"),
            series(node(), "netns_namespaces", "0x40", state="unreadable"),
        ),
        quiet(16, 40),
    ),
)


ANSWERED = "netns_runtime_last_answer_timestamp_seconds"
STALE = (
    Scenario(
        "fires some time after the last response, and resolves with the next",
        (
            series(node(), ANSWERED, "60x45 2760+60x40", runtime="docker"),
            series(node(job="other"), ANSWERED, "60x45 2760+60x40", runtime="docker"),
        ),
        (
            *quiet(30),
            At(
                33,
                (
                    Firing(
                        {**WARNING, "runtime": "docker"},
                        "docker on node-1 does not respond to the exporter.",
                        "docker on node-1 last responded to the exporter 32m 0s ago. "
                        "Data that it alone provides, such as container names and "
                        "declared sysctls, is as old as that.",
                    ),
                ),
            ),
            *quiet(47),
        ),
    ),
    Scenario(
        "is quiet while the runtime responds, and without runtimes",
        (series(node(), ANSWERED, "0+60x90", runtime="kubelet"),),
        quiet(33, 90),
    ),
)


STAGE_FAILED = (
    Scenario(
        "fires for the failed stage, and resolves",
        (
            series(node(), "netns_collector_success", "0x20 1x20", collector="signals"),
            series(node(), "netns_collector_success", "1x40", collector="reading"),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    Firing(
                        {**WARNING, "collector": "signals"},
                        "Stage signals of the exporter on node-1 fails.",
                        "The collection stage signals of the exporter on node-1 fails. "
                        "Its data is missing or outdated; the exporter's log has the "
                        "cause.",
                    ),
                ),
            ),
            *quiet(21),
        ),
    ),
    Scenario(
        "ignores a short failure",
        (
            series(
                node(), "netns_collector_success", "1x9 0x5 1x9", collector="reading"
            ),
        ),
        quiet(16, 20),
    ),
)


REDUCED = "netns_exporter_namespaces_reduced"
OVER_BUDGET = (
    Scenario(
        "fires with the limit and the counts, once for two jobs, and resolves",
        (
            series(node(), REDUCED, "40x20 0x20", to="summary"),
            series(node(), REDUCED, "2x20 0x20", to="nothing"),
            series(node(job="other"), REDUCED, "40x20 0x20", to="summary"),
            series(node(), "netns_exporter_series_limit", "200000x40"),
        ),
        (
            *quiet(14),
            At(
                16,
                (
                    Firing(
                        WARNING,
                        "The exporter on node-1 exports less detail for 42 network "
                        "namespaces: too many series.",
                        "The exporter on node-1 would exceed its series limit of "
                        "200000, so it exports less detail for 42 network namespaces: "
                        "40 as a summary, 2 not at all.",
                    ),
                ),
            ),
            *quiet(21),
        ),
    ),
    Scenario(
        "is quiet below the limit",
        (
            series(node(), REDUCED, "0x40", to="summary"),
            series(node(), REDUCED, "0x40", to="nothing"),
        ),
        quiet(16, 40),
    ),
)


PROBLEM = (
    Scenario(
        "fires with the problem, and resolves",
        (series(node(), "netns_collector_problem", "7x20 stale", problem="fd_budget"),),
        (
            *quiet(14),
            At(
                16,
                (
                    Firing(
                        {
                            "instance": "node-1",
                            "problem": "fd_budget",
                            "severity": "info",
                        },
                        "The exporter on node-1 reports a problem: fd_budget.",
                        "The exporter on node-1 reports the problem fd_budget "
                        "(affected objects: 7). `netns-sysctl-exporter report` on that "
                        "node explains it and its fix.",
                    ),
                ),
            ),
            *quiet(25),
        ),
    ),
    Scenario(
        "ignores problems that affect nothing, or that NetnsSysctlExporterBlind covers",
        (
            series(
                node(),
                "netns_collector_problem",
                "0x40",
                problem="missing_cap_sys_ptrace",
            ),
            series(
                node(), "netns_collector_problem", "2x40", problem="refused_by_policy"
            ),
        ),
        quiet(16, 40),
    ),
)
