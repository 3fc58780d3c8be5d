"""The check of names in PromQL expressions finds unknown names."""

import re

import pytest

from tests.mixin.support.grafana import substitute_variables
from tests.mixin.support.known_metrics import TARGET_LABELS, known_metrics
from tests.mixin.support.promql_labels import (
    ANYTHING,
    UnknownNameError,
    result_labels,
)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("netns_sysctl_valeu", "no metric"),
        ("sum(netns_nope) > 1", "no metric"),
        ('{__name__="netns_nope"}', "no metric"),
        ('netns_sysctl_value{sysclt="a"}', "no label"),
        ('rate(netns_tcpext_listen_overflows_total{por="a"}[5m])', "no label"),
        ("sum by (origin) (netns_sysctl_value)", "to aggregate by"),
        ("sum without (origin) (netns_sysctl_value)", "to aggregate by"),
        ("sum by (pod) (sum by (namespace) (netns_fill_ratio))", "to aggregate by"),
        ("netns_fill_ratio and on (sysctl) netns_sysctl_value", "on the left"),
        ("netns_sysctl_value and on (sysctl) netns_fill_ratio", "on the right"),
        ("netns_fill_ratio * on (pod) group_left (origin) netns_info", "other side"),
        ('netns_sysctl_drift{origin="stale"}', "origin is never"),
        ('netns_sysctl_drift{origin=~"modified|stale"}', "origin is never"),
        ('netns_sysctl_drift{sysctl="net.core.somaxcon"}', "sysctl is never"),
        ('netns_fill_ratio{resource!="queue"}', "resource is never"),
        ('netns_namespaces{state="blind"}', "state is never"),
        ('netns_sysctl_info{class="const"}', "class is never"),
        ('netns_listener_info{backlog="own"}', "backlog is never"),
        ('netns_sysctl_policy_violation{severity="page"}', "severity is never"),
        ('netns_exporter_detail_info{detail="some"}', "detail is never"),
        ('netns_exporter_namespaces_reduced{to="drift"}', "to is never"),
        ('netns_collector_problem{problem="fd_limit"}', "problem is never"),
        ('ALERTS{alertname="NetnsDrift"}', "alertname is never"),
        ('label_replace(up, "a", "$1", "nope", "(.*)")', "to replace from"),
        ("cluster:netns_namespaces:max", "no metric"),
        ('cluster:netns_namespaces:sum{instance="a"}', "no label"),
        ('up{netns="a"}', "no label"),
        ("sum by (pod) (", "in sum by"),
    ],
)
def test_an_unknown_name_is_an_error(expression: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        result_labels(expression, known_metrics())


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("sum(netns_fill_ratio)", set()),
        ("topk(3, sum by (pod) (netns_fill_ratio))", {"pod"}),
        ('count_values("v", netns_fill_ratio)', {"v"}),
        ('count_values by (pod) ("v", netns_fill_ratio)', {"v", "pod"}),
        ("1 - sum by (pod) (netns_fill_ratio)", {"pod"}),
        ("sum by (pod) (netns_fill_ratio) > bool (2 * 3)", {"pod"}),
        ("time() - max by (runtime) (netns_info)", {"runtime"}),
        ("up * on (job, instance) netns_kernel_info", {"job", "instance"}),
        (
            "up * on (job, instance) group_left (release) netns_kernel_info",
            TARGET_LABELS | {"release"},
        ),
        (
            "netns_kernel_info * on (job, instance) group_right (release) up",
            TARGET_LABELS | {"release"},
        ),
        ("sum by (pod) (netns_info) or sum by (comm) (netns_info)", {"pod", "comm"}),
        ("sum by (pod) (netns_info) unless netns_info", {"pod"}),
        ("up / ignoring (job) up", TARGET_LABELS - {"job"}),
        ('label_replace(sum(up), "a", "b", "", "")', {"a"}),
        ('label_join(sum by (job) (up), "a", "-", "job")', {"a", "job"}),
        ("sum by (job) (max_over_time(rate(up[5m])[1h:5m]))", {"job"}),
        ("-(sum by (job) (up))", {"job"}),
        ("vector(scalar(sum(up)))", set()),
        ("prometheus_tsdb_head_series", None),
        ("sum by (kubelet) (kube_node_info)", {"kubelet"}),
        ('netns_sysctl_drift{origin="",sysctl=~"net\\\\.ipv4\\\\..*"} and up', ...),
        (f'netns_sysctl_drift{{origin=~"{ANYTHING}"}}', ...),
    ],
)
def test_the_labels_of_a_result(expression: str, labels: object) -> None:
    if labels is ...:
        assert result_labels(expression, known_metrics())
    else:
        assert result_labels(expression, known_metrics()) == labels


def test_grafana_variables_are_substitute_variables() -> None:
    text = 'a{b=~"$c",d="${e:regex}"}[${__range}] > $f + rate(g[$__rate_interval:$h])'

    assert substitute_variables(text) == (
        f'a{{b=~"{ANYTHING}",d="{ANYTHING}"}}[5m] > 1 + rate(g[5m:5m])'
    )
