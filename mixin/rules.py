"""The types that rules are made of, and their YAML. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]

from exporter.model import Frozen
from mixin.settings import AlertName

_WIDTH = 100


class Record(Frozen, frozen=True, kw_only=True):
    """A recording rule; record: level:metric:operation."""

    record: str
    expr: str


class Alert(Frozen, frozen=True, kw_only=True):
    """
    An alerting rule.

    wait: its `for`; keep: its `keep_firing_for`, "" for none; severity, summary and
    description are Go templates; runbook: a URL; labels: others, on every alert.
    """

    name: AlertName
    expr: str
    wait: str
    keep: str = ""
    severity: str
    summary: str
    description: str
    runbook: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class Group(Frozen, frozen=True, kw_only=True):
    """Rules that are evaluated one after another."""

    name: str
    rules: Sequence[Record | Alert]


def rule_file(groups: Sequence[Group], head: str) -> str:
    """Return a rule file of Prometheus; *head*: of its first lines, a comment."""
    return _commented(head) + _yaml({"groups": [_of_group(group) for group in groups]})


def prometheus_rule(
    groups: Sequence[Group], head: str, *, name: str, labels: Mapping[str, str]
) -> str:
    """Return the same as a PrometheusRule of the Prometheus Operator."""
    return _commented(head) + _yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name, "labels": dict(labels)},
            "spec": {"groups": [_of_group(group) for group in groups]},
        }
    )


def _of_group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "rules": [dict(_of_rule(rule)) for rule in group.rules],
    }


def _of_rule(rule: Record | Alert) -> Iterator[tuple[str, Any]]:
    if isinstance(rule, Record):
        yield "record", rule.record
        yield "expr", rule.expr
        return
    yield "alert", rule.name
    yield "expr", rule.expr
    yield "for", rule.wait
    if rule.keep:
        yield "keep_firing_for", rule.keep
    yield "labels", {**rule.labels, "severity": rule.severity}
    yield (
        "annotations",
        {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": rule.runbook,
        },
    )


def _commented(head: str) -> str:
    return "".join(f"# {line}\n" for line in head.splitlines())


def _yaml(document: Mapping[str, Any]) -> str:
    return str(yaml.dump(document, Dumper=_Readable, sort_keys=False, width=_WIDTH))


class _Readable(yaml.SafeDumper):  # type: ignore[misc]
    """Long texts are blocks: as they are where they have lines, else folded."""

    def represent_text(self, text: str) -> yaml.Node:
        long = len(text) > _WIDTH and " " in text
        style = "|" if "\n" in text else ">" if long else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Indent lists in mappings too, as people do."""
        super().increase_indent(flow, False)  # noqa: FBT003


_Readable.add_representer(str, _Readable.represent_text)
