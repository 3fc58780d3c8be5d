"""Format lines of the text exposition, byte for byte as prometheus_client's. Pure."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from prometheus_client.utils import floatToGoString

from exporter.exposition.metrics import MetricSpec
from exporter.exposition.samples import Sample

OPENMETRICS = "application/openmetrics-text"

_EXPONENT_FROM = 1_000_000
"""The smallest number that Go, and so the exposition, writes with an exponent."""


def header(spec: MetricSpec, *, openmetrics: bool) -> bytes:
    """Return a family's HELP and TYPE; OpenMetrics drops a counter's `_total`."""
    name = spec.name
    if spec.type == "counter" and openmetrics:
        name = name.removesuffix("_total")
    return f"# HELP {name} {spec.help}\n# TYPE {name} {spec.type}\n".encode()


def format_samples(name: str, samples: Iterable[Sample]) -> bytes:
    """Return a line for each of *samples*."""
    return "".join(
        format_sample(name, label_text(labels), value) for labels, value in samples
    ).encode()


def format_sample(name: str, labels: str, value: float) -> str:
    """Return a line; *labels* are formatted by label_text."""
    braces = f"{{{labels}}}" if labels else ""
    return f"{name}{braces} {_number_text(value)}\n"


def label_text(labels: Mapping[str, str]) -> str:
    """Return labels as they are written between braces; empty ones are left out."""
    return ",".join(
        f'{name}="{_escape(text)}"' for name, text in sorted(labels.items()) if text
    )


def _number_text(value: float) -> str:
    """Return a number as Go writes it."""
    if isinstance(value, int) and 0 <= value < _EXPONENT_FROM:
        return f"{value}.0"
    return _go_text(value)


@lru_cache(maxsize=4096)
def _go_text(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
