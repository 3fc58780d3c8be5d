"""
Derive the labels of a PromQL result, and check the names within the expression.

An expression is walked as a tree, from the selectors up: the labels of each metric,
those that an aggregation keeps, and those that a join or a function adds.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import promql_parser as promql

from tests.mixin.support.known_values import VALUES, VALUES_OF_METRIC

ANYTHING: Final = "\N{WHITE SQUARE}"
"""Stands for a value known only at query time: a variable, a label of an alert."""

OTHER_METRICS = re.compile(r"(prometheus|alertmanager|kube|node|container)_\w+")
"""Metrics of other programs, whose labels are unknown."""

Labels = frozenset[str] | None
"""The labels that a result may have; None: unknown, of another program's metric."""


class UnknownNameError(AssertionError):
    """A metric, label or value that does not exist; the message has the expression."""


def result_labels(expression: str, metrics: Mapping[str, Labels]) -> Labels:
    """Return the labels of a result; raise for a name that is not in *metrics*."""
    try:
        return _labels(promql.parse(expression), metrics)
    except (ValueError, UnknownNameError) as error:
        raise UnknownNameError(f"{error}\n in {expression}") from error


def _labels(node: Any, metrics: Mapping[str, Labels]) -> Labels:  # noqa: ANN401, PLR0911
    match node:
        case promql.VectorSelector():
            return _selector_labels(node, metrics)
        case promql.MatrixSelector():
            return _selector_labels(node.vector_selector, metrics)
        case promql.AggregateExpr():
            return _aggregation_labels(node, _labels(node.expr, metrics))
        case promql.BinaryExpr():
            return _binary_labels(node, metrics)
        case promql.Call():
            return _call_labels(node, metrics)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr, metrics)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    raise UnknownNameError(f"cannot walk {type(node)}")


def _selector_labels(node: Any, metrics: Mapping[str, Labels]) -> Labels:  # noqa: ANN401
    if node.matchers.or_matchers:
        raise UnknownNameError("`or` between matchers exists in VictoriaMetrics only")
    matchers = {matcher.name: matcher for matcher in node.matchers.matchers}
    name = node.name or getattr(matchers.get("__name__"), "value", "")
    if name not in metrics:
        if OTHER_METRICS.fullmatch(name):
            return None
        raise UnknownNameError(f"no metric {name!r}")
    labels = metrics[name]
    for matcher in node.matchers.matchers:
        if matcher.name != "__name__" and labels is not None:
            _check_labels([matcher.name], labels, f"of {name}")
            key = (name, matcher.name)
            _check_value(matcher, VALUES_OF_METRIC.get(key, VALUES.get(matcher.name)))
    return labels


def _check_labels(names: Iterable[str], labels: Labels, where: str) -> None:
    missing = set(names) - labels if labels is not None else None
    if missing:
        raise UnknownNameError(f"no label {sorted(missing)} {where}")


def _check_value(matcher: Any, values: frozenset[str] | None) -> None:  # noqa: ANN401
    if not values or ANYTHING in matcher.value:
        return
    exact = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual)
    for text in [matcher.value] if exact else _alternatives(matcher.value):
        found = text in values if exact else any(re.fullmatch(text, v) for v in values)
        if text and not found:
            raise UnknownNameError(f"{matcher.name} is never {text!r}")


def _alternatives(pattern: str) -> list[str]:
    """Return each alternative of `a|b`; the whole pattern if it has groups."""
    return [pattern] if "(" in pattern else pattern.split("|")


def _aggregation_labels(node: Any, inner: Labels) -> Labels:  # noqa: ANN401
    operator = str(node.op)
    if operator in {"topk", "bottomk", "limitk", "limit_ratio"}:
        return inner
    labels = _kept_labels(node.modifier, inner)
    if operator == "count_values":
        labels |= {node.param.val}
    return labels


def _kept_labels(modifier: Any, inner: Labels) -> frozenset[str]:  # noqa: ANN401
    if modifier is None:
        return frozenset()
    named = frozenset(modifier.labels)
    _check_labels(named, inner, "to aggregate by")
    if modifier.type == promql.AggModifierType.By:
        return named
    return (inner or frozenset()) - named


def _binary_labels(node: Any, metrics: Mapping[str, Labels]) -> Labels:  # noqa: ANN401
    left, right = _labels(node.lhs, metrics), _labels(node.rhs, metrics)
    if _is_number(node.lhs) or _is_number(node.rhs):
        return right if _is_number(node.lhs) else left
    matching = getattr(node.modifier, "matching", None)
    if matching:
        for side, labels in (("left", left), ("right", right)):
            _check_labels(matching.labels, labels, f"to match by on the {side}")
    operator = str(node.op)
    if operator in {"and", "unless"}:
        return left
    if left is None or right is None:
        return None
    return left | right if operator == "or" else _joined_labels(node, left, right)


def _joined_labels(
    node: Any,  # noqa: ANN401
    left: frozenset[str],
    right: frozenset[str],
) -> Labels:
    modifier = node.modifier
    if modifier is None:
        return left & right
    cardinality = promql.VectorMatchCardinality
    if modifier.card in (cardinality.ManyToOne, cardinality.OneToMany):
        many_first = modifier.card == cardinality.ManyToOne
        many, single = (left, right) if many_first else (right, left)
        gained = frozenset(modifier.group_labels or ())
        _check_labels(gained, single, "to take from the other side")
        return many | gained
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


def _call_labels(node: Any, metrics: Mapping[str, Labels]) -> Labels:  # noqa: ANN401
    labels_of_arguments = [_labels(argument, metrics) for argument in node.args]
    texts = [arg.val for arg in node.args if isinstance(arg, promql.StringLiteral)]
    vectors = [
        labels
        for argument, labels in zip(node.args, labels_of_arguments, strict=True)
        if not isinstance(argument, promql.StringLiteral) and not _is_number(argument)
    ]
    labels = vectors[0] if vectors else frozenset()
    match node.func.name:
        case "label_replace":
            target, _, source, _ = texts
            _check_labels([source] if source else [], labels, "to replace from")
            return None if labels is None else labels | {target}
        case "label_join":
            target, _, *sources = texts
            _check_labels(sources, labels, "to join")
            return None if labels is None else labels | {target}
        case "scalar" | "vector":
            return frozenset()
    return labels
