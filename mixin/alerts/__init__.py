"""
All alerts, as they are with given settings; docs/runbooks has a page for each.

Each is aggregated to just the labels that it is about: a value's origin, the job that
scraped it and a target's other labels may change or come twice, which would end an
alert or break a join.
"""

import msgspec

from mixin.alerts import exporter as of_exporter
from mixin.alerts import saturation as of_harm
from mixin.alerts import values as of_values
from mixin.rules import Alert, Group
from mixin.settings import ALERTS, Settings, Tuning


def groups(settings: Settings) -> tuple[Group, ...]:
    """Return the groups of alerts that the settings want."""
    every = {
        "netns-sysctl-values": of_values.alerts(settings),
        "netns-sysctl-harm": of_harm.alerts(settings),
        "netns-sysctl-exporter": of_exporter.alerts(settings),
    }
    tunings = {name: settings.alerts.get(name, Tuning()) for name in ALERTS}
    wanted = {
        group: tuple(
            _tuned(one, tunings[one.name], settings)
            for one in made
            if tunings[one.name].enabled
        )
        for group, made in every.items()
    }
    return tuple(Group(name=name, rules=made) for name, made in wanted.items() if made)


def _tuned(alert: Alert, tuning: Tuning, settings: Settings) -> Alert:
    kept = alert.keep if tuning.keep is None else tuning.keep
    return msgspec.structs.replace(
        alert,
        wait=alert.wait if tuning.wait is None else tuning.wait,
        keep=kept if kept.strip("0ywdhms") else "",
        severity=tuning.severity or alert.severity,
        runbook=f"{settings.runbooks.rstrip('/')}/{alert.name}.md",
        labels=settings.labels,
    )
