"""The scenarios of each alert."""

from mixin.settings import AlertName
from tests.mixin.alerts.scenarios import (
    drift_overflows,
    exporter,
    overflows,
    saturation,
    somaxconn_drift,
    values,
)
from tests.mixin.support.promtool import Scenario

SCENARIOS: dict[AlertName, tuple[Scenario, ...]] = {
    "NetnsSomaxconnDrift": somaxconn_drift.SOMAXCONN_DRIFT,
    "NetnsSomaxconnDriftOverflows": drift_overflows.DRIFT_OVERFLOWS,
    "NetnsListenOverflows": overflows.OVERFLOWS,
    "NetnsListenerNearlyFull": saturation.NEARLY_FULL,
    "NetnsListenerStale": saturation.STALE,
    "NetnsPolicyViolation": values.POLICY_VIOLATION,
    "NetnsConntrackNearlyFull": saturation.CONNTRACK,
    "NetnsPortsNearlyExhausted": saturation.PORTS,
    "NetnsSysctlInheritedStale": values.INHERITED_STALE,
    "NetnsFreshDefaultsDiffer": values.FRESH_DEFAULTS_DIFFER,
    "NetnsSysctlExporterDown": exporter.DOWN,
    "NetnsSysctlExporterBlind": exporter.BLIND,
    "NetnsSysctlExporterStale": exporter.STALE,
    "NetnsSysctlExporterStageFailed": exporter.STAGE_FAILED,
    "NetnsSysctlExporterOverBudget": exporter.OVER_BUDGET,
    "NetnsSysctlExporterProblem": exporter.PROBLEM,
}
