"""Inputs of `promtool test rules`: series of owners, and the alerts they cause."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mixin.settings import AlertName

RUNBOOKS = (
    "https://github.com/netns-sysctl-exporter/netns-sysctl-exporter/blob/main"
    "/docs/runbooks"
)

Labels = Mapping[str, str]


class Series(NamedTuple):
    """
    A series with one sample per minute.

    Attributes:
        name: metric name.
        labels: labels of the target and of the metric.
        values: promtool's notation, such as `1x60`, `0+5x60`, `1x10 stale _x5 1x10`.
    """

    name: str
    labels: Labels
    values: str


class Firing(NamedTuple):
    """
    A firing alert.

    Attributes:
        labels: without alertname.
        summary: rendered annotation.
        description: rendered annotation.
    """

    labels: Labels
    summary: str
    description: str


class At(NamedTuple):
    """
    The firing alerts of one name at one time.

    Attributes:
        minute: since the first sample.
        firing: empty if the alert must not fire.
    """

    minute: int
    firing: tuple[Firing, ...]


class Scenario(NamedTuple):
    """
    A test of one alert.

    Attributes:
        claim: completes the sentence "The alert ...".
        series: the scraped series.
        expected: the alert at several times.
    """

    claim: str
    series: tuple[Series, ...]
    expected: tuple[At, ...]


def node(name: str = "node-1", **labels: str) -> Labels:
    """Return the labels of a target; *labels*: a cluster, or another job."""
    return {"job": "netns-sysctl-exporter", "instance": name, **labels}


def pod(
    name: str = "web-0", namespace: str = "shop", *, on: Labels | None = None
) -> Labels:
    uid = f"uid-{name}"
    return {**(on or node()), "namespace": namespace, "pod": name, "uid": uid}


def container(name: str = "cache", *, on: Labels | None = None) -> Labels:
    """Return the labels of a container outside Kubernetes."""
    return {**(on or node()), "container": name}


def named_netns(name: str = "named/blue", *, on: Labels | None = None) -> Labels:
    return {**(on or node()), "netns": name}


def series(owner: Labels, name: str, values: str, **labels: str) -> Series:
    return Series(name, {**owner, **labels}, values)


def owner_labels(owner: Labels) -> dict[str, str]:
    """Return the labels that an alert about one owner keeps."""
    return {name: value for name, value in owner.items() if name != "job"}


def quiet(*minutes: int) -> tuple[At, ...]:
    return tuple(At(minute, ()) for minute in minutes)


def promtool_errors(
    rules: Path, tmp_path: Path, inputs: Iterable[Series], checks: Mapping[str, Any]
) -> str:
    """Return the output of a failed test, "" if it passes; *checks*: promtool keys."""
    test = {
        "interval": "1m",
        "input_series": [
            {"series": _selector(item), "values": item.values} for item in inputs
        ],
        **checks,
    }
    document = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [test],
    }
    file = tmp_path / "test.json"
    file.write_text(json.dumps(document))
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def alert_checks(alert: AlertName, times: Iterable[At]) -> list[dict[str, Any]]:
    """Return the value of promtool's alert_rule_test."""
    return [
        {
            "eval_time": f"{at.minute}m",
            "alertname": alert,
            "exp_alerts": [
                {
                    "exp_labels": dict(firing.labels),
                    "exp_annotations": {
                        "summary": firing.summary,
                        "description": firing.description,
                        "runbook_url": f"{RUNBOOKS}/{alert}.md",
                    },
                }
                for firing in at.firing
            ],
        }
        for at in times
    ]


def _selector(item: Series) -> str:
    labels = ",".join(
        f"{name}={json.dumps(value)}" for name, value in item.labels.items()
    )
    return f"{item.name}{{{labels}}}"
