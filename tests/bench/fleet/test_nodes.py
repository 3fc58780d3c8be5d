"""Synthetic nodes resemble real ones."""

from bench.fleet.nodes import PODS, Node
from bench.fleet.server import SyntheticExporter
from tests.support.fleet import scrape


def test_a_node_depends_only_on_its_number() -> None:
    first, same, other = (Node(number, 5).snapshot() for number in (0, 0, 1))

    assert first == same
    assert first.namespaces != other.namespaces


def test_the_fleet_has_what_dashboards_and_alerts_show() -> None:
    """Mixed kernels, drift of each origin, listeners, overflows, a policy."""
    nodes = [scrape(SyntheticExporter(number, "summary", PODS)) for number in range(4)]
    drifting = "netns_sysctl_drifting_namespaces"
    origins = {
        dict(labels)["origin"] for node in nodes for labels in node.samples(drifting)
    }
    fresh = {
        node.value("netns_sysctl_fresh_value", sysctl="net.core.somaxconn")
        for node in nodes
    }
    violations = [node.samples("netns_sysctl_policy_violation") for node in nodes]
    overflows = [node.samples("netns_tcpext_listen_overflows_total") for node in nodes]

    assert origins >= {"fresh_default", "declared", "inherited_stale", "modified"}
    assert fresh == {128, 4096}
    assert {value for series in violations for value in series.values()} == {0, 1}
    assert any(value for series in overflows for value in series.values())
