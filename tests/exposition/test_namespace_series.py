"""The values of one namespace: their series, in full and at each detail."""

from typing import Any, get_args

import msgspec
import pytest

from exporter.exposition.metrics import METRICS
from exporter.exposition.renderer import Renderer
from exporter.model import Declared, Detail, EncodedSnapshot, Owner, Rule
from exporter.values import DENIED, MISSING
from testing.running import Exposition
from tests.support.builders import (
    UID,
    a_namespace,
    a_rule,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_stats,
)
from tests.support.expositions import (
    CONGESTION,
    HOST,
    PORT_RANGE,
    SOMAXCONN,
    SYSCTLS,
    a_full_node,
    a_node,
    a_pod,
    exposition,
    render,
)

DETAILS = get_args(Detail)


class TestValues:
    def test_each_number_is_a_value_and_a_drift(self) -> None:
        found = exposition(a_node(a_pod("4096", "32768 60999", "cubic")))

        assert found.value("netns_sysctl_value", uid=UID, sysctl=SOMAXCONN) == 4096
        drift = found.samples("netns_sysctl_drift", uid=UID, sysctl=PORT_RANGE)
        by_field = {dict(labels)["field"]: value for labels, value in drift.items()}
        assert by_field == {"low": 32768 - 1024, "high": 60999 - 65535}

    def test_a_text_is_a_label_and_its_drift_is_0_or_1(self) -> None:
        different = exposition(a_node(a_pod("4096", "32768 60999", "cubic")))
        equal = exposition(a_node(a_pod("4096", "32768 60999", "bbr")))

        assert different.value("netns_sysctl_text_info", uid=UID, value="cubic") == 1
        assert different.value("netns_sysctl_drift", uid=UID, sysctl=CONGESTION) == 1
        assert equal.value("netns_sysctl_drift", uid=UID, sysctl=CONGESTION) == 0

    def test_the_host_has_values_and_no_drift(self) -> None:
        found = exposition(a_node(a_pod("4096", "32768 60999", "cubic")))

        assert len(found.samples("netns_sysctl_value", netns="host")) == 3
        assert not found.samples("netns_sysctl_drift", netns="host")
        assert found.value("netns_sysctl_host_value", sysctl=SOMAXCONN) == 65535

    def test_a_sysctl_without_a_value_has_a_reason_and_no_other_series(self) -> None:
        found = exposition(a_node(a_pod(MISSING, DENIED, "cubic")))

        assert not found.samples("netns_sysctl_value", uid=UID)
        (drift,) = found.samples("netns_sysctl_drift", uid=UID)
        assert dict(drift) == {
            "namespace": "shop",
            "pod": "web-0",
            "uid": UID,
            "sysctl": CONGESTION,
        }
        unreadable = map(dict, found.samples("netns_sysctl_unreadable"))
        assert {labels["reason"] for labels in unreadable} == {"missing", "denied"}

    def test_without_a_host_there_is_no_drift(self) -> None:
        found = exposition(an_encoded_snapshot(a_pod("4096"), sysctls=SYSCTLS[:1]))

        assert found.value("netns_sysctl_value", uid=UID) == 4096
        assert not found.samples("netns_sysctl_drift")
        assert not found.samples("netns_sysctl_host_value")

    def test_sysctls_of_the_whole_machine_are_exported_once_for_the_host(self) -> None:
        conntrack = a_sysctl("net.netfilter.nf_conntrack_max", class_="shared")
        allowed = a_sysctl("net.ipv4.tcp_allowed", class_="shared", kind="text")

        found = exposition(
            a_node(
                a_pod(),
                shared=(conntrack, allowed),
                shared_readings=("262144", "reno cubic"),
            )
        )

        assert found.value("netns_sysctl_host_value", sysctl=conntrack.name) == 262144
        assert not found.samples("netns_sysctl_value", sysctl=conntrack.name)
        (text,) = found.samples("netns_sysctl_text_info", sysctl=allowed.name)
        assert dict(text)["netns"] == "host"
        assert dict(text)["value"] == "reno cubic"


class TestStates:
    def test_a_pending_namespace_is_only_counted(self) -> None:
        pending = a_namespace(state="pending", owner=Owner(kind="process"))
        found = exposition(a_node(pending))

        assert found.value("netns_namespaces", state="pending") == 1
        assert len(found.samples("netns_info")) == 1

    def test_an_unreadable_namespace_is_counted_by_reason_and_has_an_identity(
        self,
    ) -> None:
        unreadable = a_pod(state="unreadable", reason="missing_cap_sys_admin")
        stats = some_stats(hidden={"missing_cap_sys_ptrace": 4})
        found = exposition(a_node(unreadable, stats=stats))

        states = {
            tuple(sorted(dict(labels).values())): value
            for labels, value in found.samples("netns_namespaces").items()
        }
        assert states == {
            ("read",): 1,
            ("pending",): 0,
            ("missing_cap_sys_admin", "unreadable"): 1,
            ("missing_cap_sys_ptrace", "unreadable"): 4,
        }
        assert found.value("netns_info", uid=UID) == 1
        assert not found.samples("netns_sysctl_value", uid=UID)


class TestPolicy:
    FLOOR = a_rule(min=1024, severity="critical")

    def evaluated(self, snapshot: EncodedSnapshot, *rules: Rule) -> Exposition:
        return exposition(msgspec.structs.replace(snapshot, policy=rules))

    def test_a_violation_is_1_and_compliance_0(self) -> None:
        violating = self.evaluated(a_node(a_pod("128", "2 3", "cubic")), self.FLOOR)
        compliant = self.evaluated(a_node(a_pod("1024", "2 3", "cubic")), self.FLOOR)

        name = "netns_sysctl_policy_violation"
        labels = {
            "namespace": "shop",
            "pod": "web-0",
            "uid": UID,
            "sysctl": SOMAXCONN,
            "rule": "somaxconn-floor",
            "severity": "critical",
        }
        assert violating.samples(name) == {frozenset(labels.items()): 1}
        assert compliant.samples(name) == {frozenset(labels.items()): 0}

    def test_without_a_verdict_there_is_no_series(self) -> None:
        unreadable = a_node(a_pod(MISSING, "2 3", "cubic"))

        found = self.evaluated(unreadable, self.FLOOR)

        assert not found.samples("netns_sysctl_policy_violation")

    def test_other_rules_and_other_references_give_other_verdicts(self) -> None:
        renderer, name = Renderer("1"), b"netns_sysctl_policy_violation{"
        same = a_rule(sysctl=SOMAXCONN, same_as="fresh")
        before = a_node(a_pod("4096", "2 3", "cubic"))
        steps: list[tuple[dict[str, Any], bytes | None]] = [
            ({}, None),
            ({"policy": (same,)}, None),
            ({"policy": (same,), "fresh": ("4096", "2 3", "cubic")}, b" 0.0"),
            ({"policy": (same,), "fresh": ("1", "2 3", "cubic")}, b" 1.0"),
            ({"policy": (), "fresh": ("1", "2 3", "cubic")}, None),
        ]

        for changed, end in steps:
            body = render(renderer, msgspec.structs.replace(before, **changed))
            lines = [line for line in body.splitlines() if line.startswith(name)]
            assert [line[-4:] for line in lines] == ([end] if end else [])


def declared(value: str) -> Declared:
    return Declared(sysctl=SOMAXCONN, value=value, source="pod")


class TestDetail:
    @pytest.mark.parametrize("detail", DETAILS)
    def test_a_detail_exports_its_metrics_and_no_others(self, detail: Detail) -> None:
        pod = a_pod("128", "1 2", "cubic", declared=[declared("128")])
        snapshot = a_full_node(pod)

        found = exposition(snapshot, detail)

        specs = {spec.name: spec for spec in METRICS}
        everything = {name for name, _ in exposition(snapshot).series}
        expected = {name for name in everything if specs[name].is_exported(detail)}
        assert {name for name, _ in found.series} == expected
        assert found.value("netns_exporter_detail_info", detail=detail)

    @pytest.mark.parametrize("detail", DETAILS)
    def test_less_detail_is_a_subset(self, detail: Detail) -> None:
        snapshot = a_full_node(a_pod("128", "1 2", "cubic"), a_pod(number=1))

        found, everything = exposition(snapshot, detail), exposition(snapshot)

        own = {"netns_exporter_detail_info"}
        assert found.series.items() - everything.series.items() == {
            (key, 1.0) for key in found.series if key[0] in own and detail != "full"
        }

    def test_each_detail_has_less(self) -> None:
        snapshot = a_full_node(a_pod("128", "1 2", "cubic"))

        full, drift, summary = (
            len(exposition(snapshot, detail).series) for detail in DETAILS
        )
        assert full > drift > summary

    def test_default_values_are_left_out(self) -> None:
        found = exposition(a_full_node(a_pod("128", *HOST[1:])), "drift")

        pod = {"pod": "web-0"}
        assert found.value("netns_sysctl_value", **pod, sysctl=SOMAXCONN) == 128
        assert found.value("netns_sysctl_drift", **pod, sysctl=SOMAXCONN) == -65407
        for other in (PORT_RANGE, CONGESTION):
            assert not found.samples("netns_sysctl_value", **pod, sysctl=other)
            assert not found.samples("netns_sysctl_drift", **pod, sysctl=other)
            assert not found.samples("netns_sysctl_text_info", **pod, sysctl=other)

    def test_all_fields_of_a_sysctl_that_differs_are_exported(self) -> None:
        found = exposition(a_full_node(a_pod(HOST[0], "2048 65535", HOST[2])), "drift")

        for name in ("netns_sysctl_value", "netns_sysctl_drift"):
            assert len(found.samples(name, pod="web-0", sysctl=PORT_RANGE)) == 2

    def test_a_text_that_differs_is_exported(self) -> None:
        found = exposition(a_full_node(a_pod(*HOST[:2], "cubic")), "drift")

        (text,) = found.samples("netns_sysctl_text_info", pod="web-0")
        assert dict(text)["value"] == "cubic"

    def test_a_declared_value_is_exported_though_it_equals_the_hosts(self) -> None:
        found = exposition(a_full_node(a_pod(declared=[declared(HOST[0])])), "drift")

        (drift,) = found.samples("netns_sysctl_drift", pod="web-0")
        assert dict(drift)["origin"] == "declared"

    def test_the_hosts_numbers_are_exported_once_and_its_texts_as_its_own(
        self,
    ) -> None:
        found = exposition(a_full_node(a_pod()), "drift")

        assert not found.samples("netns_sysctl_value", netns="host")
        assert found.value("netns_sysctl_host_value", sysctl=SOMAXCONN) == 65535
        assert found.value("netns_sysctl_text_info", netns="host", value="bbr") == 1

    def test_values_of_a_sandbox_are_left_out(self) -> None:
        gvisor = an_owner(pod="web-0", sandbox="gvisor")
        found = exposition(a_full_node(a_pod("1", "1 2", "x", owner=gvisor)), "drift")

        assert not found.samples("netns_sysctl_value", pod="web-0")
        assert found.samples("netns_info", pod="web-0")

    def test_without_references_all_values_are_exported(self) -> None:
        pod = a_pod("128", "1 2", "cubic")

        found = exposition(an_encoded_snapshot(pod, sysctls=SYSCTLS), "drift")

        assert len(found.samples("netns_sysctl_value", pod="web-0")) == 3
