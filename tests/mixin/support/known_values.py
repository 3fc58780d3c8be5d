"""The values that labels with a closed set of values may have."""

from collections.abc import Mapping
from typing import get_args

from exporter import catalog
from exporter.analysis.saturation import LimitOrigin
from exporter.counters import RESOURCES
from exporter.exposition.metrics import READ_ERROR_REASONS
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
from mixin.settings import ALERT_NAMES
from tests.mixin.support.problem_names import PROBLEMS, STAGES

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
    "collector": STAGES,
    "runtime": frozenset(),
    "sysctl": frozenset(sysctl.name for sysctl in _SYSCTLS),
    "field": frozenset({field for sysctl in _SYSCTLS for field in sysctl.fields})
    | {"pressure", "high"},
    "alertname": frozenset(ALERT_NAMES),
    "alertstate": frozenset({"pending", "firing"}),
}
"""By label; every label may also be empty."""

VALUES_OF_METRIC: Mapping[tuple[str, str], frozenset[str]] = {
    ("netns_read_errors_total", "reason"): frozenset(READ_ERROR_REASONS),
}
"""By metric and label, where they depend on the metric."""
