"""Lines of the text exposition, byte for byte as prometheus_client's. Pure."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from prometheus_client.utils import floatToGoString

from exporter.exposition.metrics import MetricSpec
from exporter.exposition.samples import Sample

OPENMETRICS = "application/openmetrics-text"

_PLAIN = 1_000_000
"""From here on Go, and so the exposition, writes an exponent."""


def header(spec: MetricSpec, *, openmetrics: bool) -> bytes:
    """Return a family's HELP and TYPE; OpenMetrics has another name for a counter's."""
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
    """Return a line; *labels* are label_text's."""
    braces = f"{{{labels}}}" if labels else ""
    return f"{name}{braces} {number_text(value)}\n"


def label_text(labels: Mapping[str, str]) -> str:
    """Return labels as they stand between braces, without those that are empty."""
    return ",".join(
        f'{name}="{_escape(text)}"' for name, text in sorted(labels.items()) if text
    )


def number_text(value: float) -> str:
    """Return a number as Go writes it."""
    if isinstance(value, int) and 0 <= value < _PLAIN:
        return f"{value}.0"
    return _go_text(value)


@lru_cache(maxsize=4096)
def _go_text(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
