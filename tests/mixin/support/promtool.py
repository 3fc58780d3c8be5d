"""What `promtool test rules` is told, and the owners that series are of."""

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
    """One series, a sample a minute: `1x60`, `0+5x60`, `1x10 stale _x5 1x10`."""

    name: str
    labels: Labels
    values: str


class Fired(NamedTuple):
    """What an alert says; labels: beside its name."""

    labels: Labels
    summary: str
    description: str


class At(NamedTuple):
    """What of an alert fires so many minutes after the beginning."""

    minute: int
    fired: tuple[Fired, ...]


class Scenario(NamedTuple):
    """A claim, what is scraped, and what comes of it."""

    claim: str
    series: tuple[Series, ...]
    then: tuple[At, ...]


def node(name: str = "node-1", **more: str) -> Labels:
    """Return the labels of a target; *more*: cluster, or another job."""
    return {"job": "netns-sysctl-exporter", "instance": name, **more}


def pod(
    name: str = "web-0", namespace: str = "shop", *, on: Labels | None = None
) -> Labels:
    uid = f"uid-{name}"
    return {**(on or node()), "namespace": namespace, "pod": name, "uid": uid}


def container(name: str = "cache", *, on: Labels | None = None) -> Labels:
    """Return the labels of one outside Kubernetes."""
    return {**(on or node()), "container": name}


def named(name: str = "named/blue", *, on: Labels | None = None) -> Labels:
    return {**(on or node()), "netns": name}


def of(owner: Labels, name: str, values: str, **labels: str) -> Series:
    return Series(name, {**owner, **labels}, values)


def owner_of(labels: Labels) -> dict[str, str]:
    """Return what an alert keeps of the labels of an owner's series."""
    return {name: text for name, text in labels.items() if name != "job"}


def quiet(*minutes: int) -> tuple[At, ...]:
    return tuple(At(minute, ()) for minute in minutes)


def failures(
    rules: Path, tmp_path: Path, series: Iterable[Series], wanted: Mapping[str, Any]
) -> str:
    """Return what promtool has against it, "" for nothing; *wanted*: other keys."""
    test = {
        "interval": "1m",
        "input_series": [
            {"series": _text(one), "values": one.values} for one in series
        ],
        **wanted,
    }
    file = tmp_path / "test.json"
    file.write_text(
        json.dumps(
            {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
        )
    )
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def expected(alert: AlertName, then: Iterable[At]) -> list[dict[str, Any]]:
    return [
        {
            "eval_time": f"{at.minute}m",
            "alertname": alert,
            "exp_alerts": [
                {
                    "exp_labels": dict(fired.labels),
                    "exp_annotations": {
                        "summary": fired.summary,
                        "description": fired.description,
                        "runbook_url": f"{RUNBOOKS}/{alert}.md",
                    },
                }
                for fired in at.fired
            ],
        }
        for at in then
    ]


def _text(series: Series) -> str:
    labels = ",".join(
        f"{key}={json.dumps(text)}" for key, text in series.labels.items()
    )
    return f"{series.name}{{{labels}}}"
