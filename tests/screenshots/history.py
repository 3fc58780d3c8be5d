"""
A Prometheus with two hours of history of the story's fleet, made within a minute.

promtool writes the expositions into blocks with the timestamps of the story, and
evaluates the rules at those times: nothing has to wait, and the screenshots do not
depend on when they are taken.
"""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from testing.lab import wait_until
from testing.monitoring import JOB, RULES, Prometheus, free_port, run_process
from tests.screenshots.story import (
    DOWN,
    END,
    LEAD_MINUTES,
    MINUTES,
    NODES,
    START,
    STEP,
    NodeStory,
)

_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)
_WITH_LABELS = re.compile(r"^(\w+)\{", re.MULTILINE)
_WITHOUT = re.compile(r"^(\w+) ", re.MULTILINE)
_END_OF_LINE = re.compile(r"$(?=\n)", re.MULTILINE)


@contextlib.contextmanager
def run_with_history(directory: Path) -> Iterator[Prometheus]:
    """Run a Prometheus with the history, including recorded series and alerts."""
    data, samples = directory / "data", directory / "samples.txt"
    _write(samples)
    promtool("create-blocks-from", "openmetrics", samples, data)
    firing = directory / "firing.yaml"
    firing.write_text(alerts_as_records(RULES.read_text()))
    for rules in (RULES, firing):  # some alerts are on recorded series
        with _serving(directory, data) as server:
            promtool(
                "create-blocks-from",
                "rules",
                f"--url=http://127.0.0.1:{server.port}",
                f"--start={START:.0f}",
                f"--end={END:.0f}",
                f"--output-dir={data}",
                rules,
            )
    with _serving(directory, data) as server:
        yield server


def alerts_as_records(rules: str) -> str:
    """
    Return rules that record the alerts among *rules* while they fire.

    promtool does not evaluate alerts in the past. Their `for` is left out: at the end
    of the story, which the table of alerts shows, all conditions have held for longer.
    """
    groups: list[dict[str, Any]] = msgspec.yaml.decode(rules)["groups"]
    records = [
        {"record": "ALERTS", "expr": rule["expr"], "labels": _labels(rule)}
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    encoded = msgspec.yaml.encode({"groups": [{"name": "firing", "rules": records}]})
    return encoded.decode()


def _labels(rule: dict[str, Any]) -> dict[str, str]:
    """Return the labels of an alert; series already have the templated ones."""
    fixed = {name: text for name, text in rule["labels"].items() if "{{" not in text}
    return {"alertname": rule["alert"], "alertstate": "firing", **fixed}


def promtool(*arguments: str | Path) -> None:
    """Run a tsdb command of promtool; its output is shown only if it fails."""
    command = ["promtool", "tsdb", *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _write(file: Path) -> None:
    with file.open("w") as out:
        for number in NODES:
            story = NodeStory(number)
            labels = f'instance="{story.name}",job="{JOB}"'
            for time, exposition in story.expositions():
                out.write(_stamped(exposition, labels, time))
            for minute in range(-LEAD_MINUTES, MINUTES + 1):
                up = int(minute < DOWN.get(number, MINUTES + 1))
                out.write(f"up{{{labels}}} {up} {START + STEP * minute:.0f}\n")
        out.write("# EOF\n")


def _stamped(exposition: str, labels: str, time: float) -> str:
    """Return the samples of an exposition with target labels and a timestamp."""
    lines = _COMMENT.sub("", exposition)
    count = lines.count("\n")
    lines += f"scrape_samples_scraped {count}\n"
    lines = _WITH_LABELS.sub(rf"\1{{{labels},", lines)
    lines = _WITHOUT.sub(rf"\1{{{labels}}} ", lines)
    return _END_OF_LINE.sub(f" {time:.0f}", lines)


@contextlib.contextmanager
def _serving(directory: Path, data: Path) -> Iterator[Prometheus]:
    config = directory / "prometheus.yml"
    config.write_text("")
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=100y",
        # blocks written this way have no staleness markers
        f"--query.lookback-delta={STEP + 1}s",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with run_process(command):
        server = Prometheus(port)
        wait_until(lambda: server.query("vector(1)"))
        yield server
