"""Every metric that expressions may name, with its labels; and every alert."""

from functools import cache

from exporter.exposition.metrics import METRICS
from mixin.alerts import alert_groups
from mixin.recording_rules import recording_rules
from mixin.rules import Alert
from mixin.settings import Settings
from tests.mixin.support.promql_labels import Labels, result_labels

TARGET_LABELS = frozenset({"job", "instance", "cluster", "node"})

PROCESS_METRICS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
SCRAPE_METRICS = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
)


@cache
def known_metrics() -> dict[str, Labels]:
    """Return scraped and recorded metrics and ALERTS, with their labels."""
    metrics: dict[str, Labels] = {
        spec.name: frozenset(spec.labels) | TARGET_LABELS for spec in METRICS
    }
    metrics.update(dict.fromkeys((*SCRAPE_METRICS, *PROCESS_METRICS), TARGET_LABELS))
    scraped = dict(metrics)
    metrics.update(
        (rule.record, result_labels(rule.expr, scraped)) for rule in recording_rules()
    )
    of_alerts = [result_labels(alert.expr, metrics) for alert in all_alerts()]
    labels = frozenset[str]().union(*filter(None, of_alerts))
    metrics["ALERTS"] = labels | {"alertname", "alertstate", "severity"}
    metrics["ALERTS_FOR_STATE"] = metrics["ALERTS"]
    return metrics


def all_labels() -> frozenset[str]:
    return frozenset().union(*filter(None, known_metrics().values()))


def all_alerts() -> list[Alert]:
    """Return all alerts with the default settings."""
    return [
        rule
        for group in alert_groups(Settings())
        for rule in group.rules
        if isinstance(rule, Alert)
    ]
