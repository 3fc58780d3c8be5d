"""
A Prometheus that has scraped the fleet of the story for two hours, in a minute.

Pages are written into blocks with the times that they have in the story, and the rules
are evaluated at those times too, by promtool: nothing is waited for, and the pictures
are the same whenever they are taken.
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
from tests.screenshots.story import BEFORE, DOWN, END, MINUTES, NODES, START, STEP, Told

_COMMENT = re.compile(r"^#.*\n", re.MULTILINE)
_WITH_LABELS = re.compile(r"^(\w+)\{", re.MULTILINE)
_WITHOUT = re.compile(r"^(\w+) ", re.MULTILINE)
_END_OF_LINE = re.compile(r"$(?=\n)", re.MULTILINE)


@contextlib.contextmanager
def remembering(directory: Path) -> Iterator[Prometheus]:
    """Run one that has all of it, recorded series and alerts too."""
    data, pages = directory / "data", directory / "pages.txt"
    _write(pages)
    promtool("create-blocks-from", "openmetrics", pages, data)
    firing = directory / "firing.yaml"
    firing.write_text(as_records(RULES.read_text()))
    for rules in (RULES, firing):  # some alerts are of what is recorded
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


def as_records(rules: str) -> str:
    """
    Return rules that record what the alerts among *rules* would be while they fire.

    promtool evaluates no alerts in the past. How long they wait is left out: in the
    end, of which the table of alerts is, what is wrong has been so for longer.
    """
    groups: list[dict[str, Any]] = msgspec.yaml.decode(rules)["groups"]
    made = [
        {"record": "ALERTS", "expr": rule["expr"], "labels": _labels(rule)}
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    encoded = msgspec.yaml.encode({"groups": [{"name": "firing", "rules": made}]})
    return encoded.decode()


def _labels(rule: dict[str, Any]) -> dict[str, str]:
    """Return an alert's labels; a template is of a label that its series have."""
    own = {name: one for name, one in rule["labels"].items() if "{{" not in one}
    return {"alertname": rule["alert"], "alertstate": "firing", **own}


def promtool(*arguments: str | Path) -> None:
    """Run one of its commands; it says a line of each rule, which nobody wants."""
    command = ["promtool", "tsdb", *map(str, arguments)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _write(file: Path) -> None:
    with file.open("w") as out:
        for number in NODES:
            told = Told(number)
            labels = f'instance="{told.name}",job="{JOB}"'
            for now, page in told.pages():
                out.write(_stamped(page, labels, now))
            for minute in range(-BEFORE, MINUTES + 1):
                up = int(minute < DOWN.get(number, MINUTES + 1))
                out.write(f"up{{{labels}}} {up} {START + STEP * minute:.0f}\n")
        out.write("# EOF\n")


def _stamped(page: str, labels: str, now: float) -> str:
    """Return a page's samples as Prometheus keeps them: with the target and time."""
    lines = _COMMENT.sub("", page)
    count = lines.count("\n")
    lines += f"scrape_samples_scraped {count}\n"
    lines = _WITH_LABELS.sub(rf"\1{{{labels},", lines)
    lines = _WITHOUT.sub(rf"\1{{{labels}}} ", lines)
    return _END_OF_LINE.sub(f" {now:.0f}", lines)


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
        # pages that are written afterwards don't say that a series has ended
        f"--query.lookback-delta={STEP + 1}s",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with run_process(command):
        server = Prometheus(port)
        wait_until(lambda: server.query("vector(1)"))
        yield server
