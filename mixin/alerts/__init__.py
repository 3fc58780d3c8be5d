"""
All alerts, with the settings applied; docs/runbooks has a page for each.

Each alert is aggregated to the labels it is about. Otherwise a change of a value's
origin, a second job that scrapes the same node, or other target labels would end the
alert or break a join.
"""

import msgspec

from mixin.alerts import exporter, saturation, values
from mixin.rules import Alert, RuleGroup
from mixin.settings import AlertOverride, Settings

_NONE = AlertOverride()


def alert_groups(settings: Settings) -> tuple[RuleGroup, ...]:
    """Return the groups of enabled alerts."""
    alerts_by_group = {
        "netns-sysctl-values": values.alerts(settings),
        "netns-sysctl-saturation": saturation.alerts(settings),
        "netns-sysctl-exporter": exporter.alerts(settings),
    }
    groups = (
        RuleGroup(
            name=name,
            rules=tuple(
                _apply_settings(alert, settings)
                for alert in alerts
                if settings.alerts.get(alert.name, _NONE).enabled
            ),
        )
        for name, alerts in alerts_by_group.items()
    )
    return tuple(group for group in groups if group.rules)


def _apply_settings(alert: Alert, settings: Settings) -> Alert:
    override = settings.alerts.get(alert.name, _NONE)
    keep_firing_for = override.keep_firing_for
    if keep_firing_for is None:
        keep_firing_for = alert.keep_firing_for
    return msgspec.structs.replace(
        alert,
        pending_for=override.pending_for or alert.pending_for,
        keep_firing_for=keep_firing_for if keep_firing_for.strip("0ywdhms") else "",
        severity=override.severity or alert.severity,
        runbook_url=f"{settings.runbooks.rstrip('/')}/{alert.name}.md",
        labels=settings.labels,
    )
