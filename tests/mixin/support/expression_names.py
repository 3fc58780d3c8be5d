"""
Whether what an expression names exists: metrics, labels, and values of labels.

Each expression is walked as a tree, from the metrics up: what labels they have, which
of them an aggregation keeps, and which a join or a function adds.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, get_args

import promql_parser as promql

from exporter import catalog
from exporter.analysis.saturation import LimitOrigin
from exporter.counters import RESOURCES
from exporter.exposition.metrics import METRICS, READ_ERROR_REASONS
from exporter.model import (
    Class,
    DeclaredBy,
    Detail,
    Origin,
    OwnerKind,
    Protocol,
    SettableBy,
    Severity,
    State,
)
from mixin import alerts
from mixin import recording_rules as records
from mixin.rules import Alert
from mixin.settings import ALERTS, Settings
from tests.mixin.support.problem_names import PARTS, PROBLEMS

TARGET = frozenset({"job", "instance", "cluster", "node"})

ANYTHING: Final = "\N{WHITE SQUARE}"
"""Stands for what is known only when it is asked: a variable, an alert's label."""

PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
SCRAPE = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
)
OTHERS = re.compile(r"(prometheus|alertmanager|kube|node|container)_\w+")
"""Metrics of other programs, whose labels nobody here knows."""

_SYSCTLS = catalog.load()

VALUES: Mapping[str, frozenset[str]] = {
    "origin": frozenset(get_args(Origin)),
    "state": frozenset(get_args(State)),
    "resource": frozenset(RESOURCES),
    "class": frozenset(get_args(Class)),
    "settable_by": frozenset(get_args(SettableBy)),
    "backlog": frozenset(get_args(LimitOrigin)),
    "severity": frozenset(get_args(Severity)),
    "detail": frozenset(get_args(Detail)),
    "to": frozenset({"summary", "nothing"}),
    "kind": frozenset(get_args(OwnerKind)),
    "protocol": frozenset({*get_args(Protocol), "udp"}),
    "source": frozenset(get_args(DeclaredBy)),
    "way": frozenset({"bound", "visit"}),
    "problem": PROBLEMS,
    "collector": PARTS,
    "runtime": frozenset(),
    "sysctl": frozenset(one.name for one in _SYSCTLS),
    "field": frozenset({field for one in _SYSCTLS for field in one.fields})
    | {"pressure", "high"},
    "alertname": frozenset(ALERTS),
    "alertstate": frozenset({"pending", "firing"}),
}
"""Of the labels whose values are a closed set; any label may be empty."""

OF_METRIC: Mapping[tuple[str, str], frozenset[str]] = {
    ("netns_read_errors_total", "reason"): frozenset(READ_ERROR_REASONS),
}

Labels = frozenset[str] | None
"""The labels that a result may have; None: of another's metric, nobody knows."""


class UnknownNameError(AssertionError):
    """A metric, a label or a value that does not exist; says which and where."""


def labels_of(expression: str, known: Mapping[str, Labels]) -> Labels:
    """Return the labels of a result; raise for a name that is not *known*."""
    try:
        tree = promql.parse(expression)
        return _of(tree, known)
    except (ValueError, UnknownNameError) as error:
        raise UnknownNameError(f"{error}\n in {expression}") from error


def metrics() -> dict[str, Labels]:
    """Return every metric there is with its labels."""
    known: dict[str, Labels] = {
        spec.name: frozenset(spec.labels) | TARGET for spec in METRICS
    }
    known.update(dict.fromkeys((*SCRAPE, *PROCESS), TARGET))
    scraped = dict(known)
    known.update(
        (rule.record, labels_of(rule.expr, scraped)) for rule in records.rules()
    )
    of_alerts = [labels_of(one.expr, known) for one in every_alert()]
    told = frozenset[str]().union(*(one for one in of_alerts if one))
    known["ALERTS"] = told | {"alertname", "alertstate", "severity"}
    known["ALERTS_FOR_STATE"] = known["ALERTS"]
    return known


def every_alert() -> list[Alert]:
    return [
        one
        for group in alerts.groups(Settings())
        for one in group.rules
        if isinstance(one, Alert)
    ]


def _of(node: Any, known: Mapping[str, Labels]) -> Labels:  # noqa: ANN401, PLR0911
    match node:
        case promql.VectorSelector():
            return _of_selector(node, known)
        case promql.MatrixSelector():
            return _of_selector(node.vector_selector, known)
        case promql.AggregateExpr():
            return _of_aggregation(node, _of(node.expr, known))
        case promql.BinaryExpr():
            return _of_pair(node, known)
        case promql.Call():
            return _of_call(node, known)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _of(node.expr, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    raise UnknownNameError(f"cannot walk {type(node)}")


def _of_selector(node: Any, known: Mapping[str, Labels]) -> Labels:  # noqa: ANN401
    if node.matchers.or_matchers:
        raise UnknownNameError("`or` between matchers is VictoriaMetrics' alone")
    matchers = {one.name: one for one in node.matchers.matchers}
    name = node.name or getattr(matchers.get("__name__"), "value", "")
    if name not in known:
        if OTHERS.fullmatch(name):
            return None
        raise UnknownNameError(f"no metric {name!r}")
    labels = known[name]
    for one in node.matchers.matchers:
        if one.name != "__name__" and labels is not None:
            _exists([one.name], labels, f"of {name}")
            _may_be(one, OF_METRIC.get((name, one.name), VALUES.get(one.name)))
    return labels


def _exists(names: Iterable[str], labels: Labels, where: str) -> None:
    missing = set(names) - labels if labels is not None else None
    if missing:
        raise UnknownNameError(f"no label {sorted(missing)} {where}")


def _may_be(matcher: Any, values: frozenset[str] | None) -> None:  # noqa: ANN401
    if not values or ANYTHING in matcher.value:
        return
    exact = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual)
    wanted = [matcher.value] if exact else _alternatives(matcher.value)
    for one in wanted:
        found = one in values if exact else any(re.fullmatch(one, v) for v in values)
        if one and not found:
            raise UnknownNameError(f"{matcher.name} is never {one!r}")


def _alternatives(pattern: str) -> list[str]:
    """Return each of `a|b`; of a group the whole pattern."""
    return [pattern] if "(" in pattern else pattern.split("|")


def _of_aggregation(node: Any, inner: Labels) -> Labels:  # noqa: ANN401
    operation = str(node.op)
    if operation in {"topk", "bottomk", "limitk", "limit_ratio"}:
        return inner
    kept = _kept(node.modifier, inner)
    if operation == "count_values":
        kept |= {node.param.val}
    return kept


def _kept(modifier: Any, inner: Labels) -> frozenset[str]:  # noqa: ANN401
    if modifier is None:
        return frozenset()
    named = frozenset(modifier.labels)
    _exists(named, inner, "to aggregate by")
    if modifier.type == promql.AggModifierType.By:
        return named
    return (inner or frozenset()) - named


def _of_pair(node: Any, known: Mapping[str, Labels]) -> Labels:  # noqa: ANN401
    left, right = _of(node.lhs, known), _of(node.rhs, known)
    if _is_number(node.lhs) or _is_number(node.rhs):
        return right if _is_number(node.lhs) else left
    matching = getattr(node.modifier, "matching", None)
    if matching:
        for side, labels in (("left", left), ("right", right)):
            _exists(matching.labels, labels, f"to match by on the {side}")
    operation = str(node.op)
    if operation in {"and", "unless"}:
        return left
    if left is None or right is None:
        return None
    return left | right if operation == "or" else _matched(node, left, right)


def _matched(node: Any, left: frozenset[str], right: frozenset[str]) -> Labels:  # noqa: ANN401
    modifier = node.modifier
    if modifier is None:
        return left & right
    card = modifier.card
    many, one = (left, right), (right, left)
    if card in (
        promql.VectorMatchCardinality.ManyToOne,
        promql.VectorMatchCardinality.OneToMany,
    ):
        to_one = card == promql.VectorMatchCardinality.ManyToOne
        mine, theirs = many if to_one else one
        added = frozenset(modifier.group_labels or ())
        _exists(added, theirs, "to take from the other side")
        return mine | added
    if modifier.matching is None:
        return left & right
    named = frozenset(modifier.matching.labels)
    if modifier.matching.type == promql.LabelModifierType.Include:
        return named
    return left - named


def _is_number(node: Any) -> bool:  # noqa: ANN401
    match node:
        case promql.NumberLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return _is_number(node.expr)
        case promql.BinaryExpr():
            return _is_number(node.lhs) and _is_number(node.rhs)
        case promql.Call():
            return bool(node.func.return_type == promql.ValueType.Scalar)
    return False


def _of_call(node: Any, known: Mapping[str, Labels]) -> Labels:  # noqa: ANN401
    of_each = [_of(one, known) for one in node.args]
    texts = [one.val for one in node.args if isinstance(one, promql.StringLiteral)]
    vectors = [
        labels
        for one, labels in zip(node.args, of_each, strict=True)
        if not isinstance(one, promql.StringLiteral) and not _is_number(one)
    ]
    labels = vectors[0] if vectors else frozenset()
    match node.func.name:
        case "label_replace":
            target, _, source, _ = texts
            _exists([source] if source else [], labels, "to replace from")
            return None if labels is None else labels | {target}
        case "label_join":
            target, _, *sources = texts
            _exists(sources, labels, "to join")
            return None if labels is None else labels | {target}
        case "scalar" | "vector":
            return frozenset()
    return labels


# --- where expressions stand -------------------------------------------------


def of_templates(text: str) -> Iterator[str]:
    """Yield the expressions that a Go template asks, with ANYTHING for arguments."""
    for found in re.findall(r"printf `([^`]*netns_[^`]*)`", text):
        whole = found.replace("%q", f'"{ANYTHING}"').replace('"%s"', f'"{ANYTHING}"')
        yield re.sub(r"(==) %s", r"\1 1", whole).replace("%s", f'instance="{ANYTHING}"')


def label_references(text: str) -> set[str]:
    """Return the labels of the alert that a Go template speaks of."""
    return set(re.findall(r"\$labels\.(\w+)", text))


_VARIABLE = re.compile(r"\$\{\w+(?::\w+)?\}|\[\[\w+\]\]|\$[a-zA-Z_]\w*")
_DURATION = re.compile(rf"(\[|:)(?:{_VARIABLE.pattern})(?=[\]:])")


def substituted(expression: str) -> str:
    """
    Return an expression of Grafana with something in each variable's place.

    >>> substituted('rate(a{b=~"$c"}[$__rate_interval]) > $d')
    'rate(a{b=~"\N{WHITE SQUARE}"}[5m]) > 1'
    """
    timed = _DURATION.sub(r"\g<1>5m", expression)
    quoted = re.split(r'("(?:[^"\\]|\\.)*")', timed)
    return "".join(
        _VARIABLE.sub(ANYTHING if part.startswith('"') else "1", part)
        for part in quoted
    )


def found_in(document: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401
    """Yield every mapping of a JSON document, itself too."""
    if isinstance(document, Mapping):
        yield document
        yield from itertools.chain.from_iterable(map(found_in, document.values()))
    elif isinstance(document, list):
        yield from itertools.chain.from_iterable(map(found_in, document))
