"""What a scrape requests: format, metrics, compression, deadline. Pure."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.exposition import generate_latest as generate_text

from exporter.exposition.text_format import OPENMETRICS

DEFAULT_TIMEOUT_SECONDS = 9.0
"""Below Prometheus's default scrape timeout, 10 s, so that it receives the reason."""

MAX_TIMEOUT_SECONDS = 120.0
MIN_TIMEOUT_SECONDS = 0.5
RESPONSE_SECONDS = 0.5
"""The part of a scrape's timeout that is left for the response to arrive."""

MAX_NAMES = 100


_ESCAPING = re.compile(r"escaping=(?!allow-utf-8)[^;,]*")
"""How to write names that are not plain words. The exporter's are, and `dots` would
double each underscore."""

Encoder = Callable[[Any], bytes]
"""Formats the families of a registry."""


@dataclass(frozen=True, kw_only=True)
class ScrapeRequest:
    """
    The form of an exposition.

    Requests that differ only in the version of the format have the same exposition; a
    client may invent any number of versions.

    Attributes:
        content_type: of the response.
        encode: formats prometheus_client's families so.
        openmetrics: whether the format is OpenMetrics, by *content_type*.
        names: of the metrics to include; None for all.
        gzip: whether to compress it.
    """

    content_type: str = field(compare=False)
    encode: Encoder = field(compare=False)
    openmetrics: bool = field(init=False)
    names: frozenset[str] | None = None
    gzip: bool = False

    def __post_init__(self) -> None:
        """Derive *openmetrics*."""
        is_openmetrics = self.content_type.startswith(OPENMETRICS)
        object.__setattr__(self, "openmetrics", is_openmetrics)

    @property
    def is_selection(self) -> bool:
        """Whether it selects some metrics by name."""
        return self.names is not None


def choose_format(accept: str) -> tuple[Encoder, str]:
    """Return encoder and content type for an Accept header, plain text if malformed."""
    try:
        return choose_encoder(_ESCAPING.sub("escaping=underscores", accept))
    except (TypeError, ValueError):  # a version that is not a number
        return generate_text, CONTENT_TYPE_PLAIN_0_0_4


def accepts_gzip(header: str) -> bool:
    """
    Return whether an Accept-Encoding header allows gzip; RFC 9110, 12.5.3.

    >>> accepts_gzip("br, gzip;q=0.5"), accepts_gzip("*;q=0, gzip")
    (True, True)
    >>> accepts_gzip("gzip;q=0.00"), accepts_gzip("")
    (False, False)
    """
    codings = {}
    for item in header.lower().split(","):
        coding, _, quality = item.replace(" ", "").partition(";")
        codings[coding] = quality.rstrip("0.") not in {"q=", "q"}
    return codings.get("gzip", codings.get("*", False))


def parse_timeout(timeout: str) -> float:
    """
    Return the deadline of a scrape in seconds, by the header of Prometheus.

    >>> parse_timeout("5"), parse_timeout("0.1"), parse_timeout("9e9")
    (4.5, 0.5, 120.0)
    >>> {parse_timeout(text) for text in ("", "soon", "nan", "inf", "-1")}
    {9.0}
    """
    try:
        seconds = float(timeout)
    except ValueError:
        return DEFAULT_TIMEOUT_SECONDS
    if not math.isfinite(seconds) or seconds < 0:
        return DEFAULT_TIMEOUT_SECONDS
    return min(
        max(seconds - RESPONSE_SECONDS, MIN_TIMEOUT_SECONDS), MAX_TIMEOUT_SECONDS
    )


def parse_names(query: bytes) -> frozenset[str] | None:
    """
    Return the metrics of `name[]=`, None without any; ValueError for too many.

    >>> sorted(parse_names(b"name[]=a&name%5B%5D=b_total&x=y"))
    ['a', 'b_total']
    >>> parse_names(b"")
    """
    fields = parse_qs(query.decode("latin-1"), max_num_fields=MAX_NAMES)
    return frozenset(fields["name[]"]) if "name[]" in fields else None
