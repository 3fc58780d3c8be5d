"""What operators change of the rules and dashboards: a YAML file over defaults."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import msgspec

from exporter.config import NOT_YAML, said_of
from exporter.model import Frozen, Severity

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
ALERTS: tuple[AlertName, ...] = get_args(AlertName)

_UNITS = r"(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?"
Duration = Annotated[str, msgspec.Meta(pattern=rf"\A(?=\d){_UNITS}\Z")]
"""As Prometheus writes it: 5m, 1h30m."""

Ratio = Annotated[float, msgspec.Meta(gt=0, le=1)]
LabelName = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z_][a-zA-Z0-9_]*\Z")]

_UNKNOWN = re.compile(r"unknown field `(.*?)`|Invalid enum value '(.*?)'")


class SettingsError(ValueError):
    """Settings that cannot be used; says where and what to do."""


class Tuning(Frozen, frozen=True, kw_only=True):
    """
    What to change of one alert; None: as it is.

    wait: its `for`; keep: its `keep_firing_for`, "0s" for none.
    """

    enabled: bool = True
    wait: Duration | None = msgspec.field(name="for", default=None)
    keep: Duration | None = msgspec.field(name="keep_firing_for", default=None)
    severity: Severity | None = None


class Settings(Frozen, frozen=True, kw_only=True):
    """
    The whole of it; the YAML file has the same shape.

    job: the exporter's in the scrape configuration; runbooks: where they are read,
    the URL of the directory; window: of rates in alerts, at least four times the
    scrape interval; gap: for how long what was last scraped still counts, so that one
    failed scrape ends no alert; accept_queue, conntrack, ports: how full is nearly
    full, 1 is full; silence: seconds after which what a runtime said is old; examples:
    how many pods a description names at most; alerts: by name, what to change of it;
    labels: to put on every alert, a team's name say.
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
    alerts: Mapping[AlertName, Tuning] = msgspec.field(default_factory=dict)
    labels: Mapping[LabelName, str] = msgspec.field(default_factory=dict)


def parse(text: bytes, file: str) -> Settings:
    """Return the settings in *text* over the defaults; *file* is for the message."""
    try:
        return msgspec.yaml.decode(text, type=Settings | None) or Settings()
    except NOT_YAML as error:
        said = said_of(error)
        raise SettingsError(f"{file}: {said}{_nearest(said)}") from error


def _nearest(message: str) -> str:
    found = _UNKNOWN.search(message)
    if not found:
        return ""
    known = [*_keys(Settings), *_keys(Tuning), *ALERTS]
    near = difflib.get_close_matches(found[1] or found[2], known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _keys(kind: Any) -> list[str]:  # noqa: ANN401
    return [key.encode_name for key in msgspec.structs.fields(kind)]
