"""Settings of the rules and dashboards: defaults, overridden by a YAML file."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec

from exporter.config.yaml_decoder import YamlError, decode_yaml
from exporter.model import Frozen, Severity
from exporter.suggestions import did_you_mean

REPOSITORY = "https://github.com/netns-sysctl-exporter/netns-sysctl-exporter"

AlertName = Literal[
    "NetnsSomaxconnDrift",
    "NetnsSomaxconnDriftOverflows",
    "NetnsListenOverflows",
    "NetnsListenerNearlyFull",
    "NetnsListenerStale",
    "NetnsPolicyViolation",
    "NetnsConntrackNearlyFull",
    "NetnsPortsNearlyExhausted",
    "NetnsSysctlInheritedStale",
    "NetnsFreshDefaultsDiffer",
    "NetnsSysctlExporterDown",
    "NetnsSysctlExporterBlind",
    "NetnsSysctlExporterStale",
    "NetnsSysctlExporterStageFailed",
    "NetnsSysctlExporterOverBudget",
    "NetnsSysctlExporterProblem",
]
ALERT_NAMES: tuple[AlertName, ...] = get_args(AlertName)

_UNITS = r"(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?"
Duration = Annotated[str, msgspec.Meta(pattern=rf"\A(?=\d){_UNITS}\Z")]
"""A Prometheus duration: 5m, 1h30m."""

Ratio = Annotated[float, msgspec.Meta(gt=0, le=1)]
LabelName = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z_][a-zA-Z0-9_]*\Z")]

_UNKNOWN = re.compile(r"unknown field `(.*?)`|Invalid enum value '(.*?)'")


class SettingsError(ValueError):
    """Invalid settings; the message names the file and the cause."""


class AlertOverride(Frozen, frozen=True, kw_only=True):
    """
    Changes to one alert; None keeps its default.

    Attributes:
        enabled: false omits the alert.
        pending_for: `for`, how long the condition must hold before it fires.
        keep_firing_for: how long it fires after the condition ends; "0s": not at all.
        severity: critical, warning or info.
    """

    enabled: bool = True
    pending_for: Duration | None = msgspec.field(name="for", default=None)
    keep_firing_for: Duration | None = None
    severity: Severity | None = None


class Settings(Frozen, frozen=True, kw_only=True):
    """
    All settings; the YAML file has the same shape.

    Attributes:
        job: job of the exporter in the scrape configuration.
        runbooks: URL of the directory of the runbooks.
        window: range of rates in alerts, at least four times the scrape interval.
        gap: how long the last sample counts, so that one failed scrape ends no alert.
        accept_queue: fill ratio of an accept queue above which an alert fires; 1: full.
        conntrack: the same for connection tracking.
        ports: the same for ephemeral ports.
        silence: seconds after which the last response of a runtime is outdated.
        examples: maximum number of pods named in a description.
        alerts: changes to single alerts, by name.
        labels: labels added to every alert, such as a team.
    """

    job: str = "netns-sysctl-exporter"
    runbooks: str = f"{REPOSITORY}/blob/main/docs/runbooks"
    window: Duration = "5m"
    gap: Duration = "3m"
    accept_queue: Ratio = 0.8
    conntrack: Ratio = 0.8
    ports: Ratio = 0.8
    silence: Annotated[int, msgspec.Meta(gt=0)] = 900
    examples: Annotated[int, msgspec.Meta(ge=1)] = 5
    alerts: Mapping[AlertName, AlertOverride] = msgspec.field(default_factory=dict)
    labels: Mapping[LabelName, str] = msgspec.field(default_factory=dict)


def parse_settings(text: bytes, file: str) -> Settings:
    """Parse YAML over the defaults; *file* is named in error messages."""
    try:
        return decode_yaml(text, Settings)
    except YamlError as error:
        raise SettingsError(f"{file}: {error}{_suggestion(str(error))}") from error


def _suggestion(message: str) -> str:
    unknown = _UNKNOWN.search(message)
    if not unknown:
        return ""
    names = [*_keys(Settings), *_keys(AlertOverride), *ALERT_NAMES]
    return did_you_mean(unknown[1] or unknown[2], names)


def _keys(struct: Any) -> list[str]:  # noqa: ANN401
    return [field.encode_name for field in msgspec.structs.fields(struct)]
