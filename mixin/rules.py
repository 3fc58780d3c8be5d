"""Alerting and recording rules, and their YAML. Pure: no I/O."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]

from exporter.model import Frozen
from mixin.settings import AlertName

_LINE_WIDTH = 100


class RecordingRule(Frozen, frozen=True, kw_only=True):
    """
    A recording rule.

    Attributes:
        record: name of the recorded series, level:metric:operation.
        expr: PromQL expression.
    """

    record: str
    expr: str


class Alert(Frozen, frozen=True, kw_only=True):
    """
    An alerting rule. `severity`, `summary` and `description` are Go templates.

    Attributes:
        name: alert name, also the file name of its runbook.
        expr: PromQL expression; each resulting series is an alert.
        pending_for: value of `for`, a Prometheus duration.
        keep_firing_for: Prometheus duration; "" omits the key.
        severity: value of the label `severity`.
        summary: annotation, one line.
        description: annotation with the numbers of this alert.
        runbook_url: annotation, URL of the runbook.
        labels: labels added to every alert.
    """

    name: AlertName
    expr: str
    pending_for: str
    keep_firing_for: str = ""
    severity: str
    summary: str
    description: str
    runbook_url: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class RuleGroup(Frozen, frozen=True, kw_only=True):
    """
    Rules that a ruler evaluates in order.

    Attributes:
        name: name of the group.
        rules: its alerts or recording rules.
    """

    name: str
    rules: Sequence[RecordingRule | Alert]


def rule_file(groups: Sequence[RuleGroup], header: str) -> str:
    """Return a Prometheus rule file that starts with *header* as a comment."""
    return _comment(header) + _yaml({"groups": [_group(group) for group in groups]})


def prometheus_rule(
    groups: Sequence[RuleGroup], header: str, *, name: str, labels: Mapping[str, str]
) -> str:
    """Return the same rules as a PrometheusRule of the Prometheus Operator."""
    return _comment(header) + _yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name, "labels": dict(labels)},
            "spec": {"groups": [_group(group) for group in groups]},
        }
    )


def _group(group: RuleGroup) -> dict[str, Any]:
    return {"name": group.name, "rules": [dict(_rule(rule)) for rule in group.rules]}


def _rule(rule: RecordingRule | Alert) -> Iterator[tuple[str, Any]]:
    if isinstance(rule, RecordingRule):
        yield "record", rule.record
        yield "expr", rule.expr
        return
    yield "alert", rule.name
    yield "expr", rule.expr
    yield "for", rule.pending_for
    if rule.keep_firing_for:
        yield "keep_firing_for", rule.keep_firing_for
    yield "labels", {**rule.labels, "severity": rule.severity}
    yield (
        "annotations",
        {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": rule.runbook_url,
        },
    )


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def _yaml(document: Mapping[str, Any]) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_LINE_WIDTH))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Dump multi-line texts as literal blocks and long lines as folded blocks."""

    def represent_text(self, text: str) -> yaml.Node:
        is_long = len(text) > _LINE_WIDTH and " " in text
        style = "|" if "\n" in text else ">" if is_long else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent lists within mappings, the usual style of rule files."""
        super().increase_indent(flow, False)  # noqa: FBT003


_Dumper.add_representer(str, _Dumper.represent_text)
