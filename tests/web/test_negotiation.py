"""What a scrape requests: any header is understood, never an error."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from exporter.web.negotiation import (
    accepts_gzip,
    choose_format,
    parse_names,
    parse_timeout,
)

MEDIA = st.lists(
    st.sampled_from(
        [
            "text/plain",
            "application/openmetrics-text",
            "*/*",
            ";version=1.0.0",
            ";version=0.0.1",
            ";version=2",
            ";escaping=allow-utf-8",
            ";escaping=dots",
            ";q=0.5",
            ",",
        ]
    )
).map("".join)


@given(st.text() | MEDIA)
def test_any_accept_header_gets_a_format(accept: str) -> None:
    encode, content_type = choose_format(accept)

    assert content_type.startswith(("text/plain", "application/openmetrics-text"))
    assert "\n" not in content_type
    assert encode(Nothing()) in {b"", b"# EOF\n"}


@pytest.mark.parametrize("scheme", ["dots", "values", "underscores", "allow-utf-8"])
@pytest.mark.parametrize("media", ["text/plain", "application/openmetrics-text"])
def test_no_escaping_scheme_changes_the_names(media: str, scheme: str) -> None:
    registry = CollectorRegistry()
    Gauge("netns_a_b", "A gauge.", registry=registry)

    encode, _ = choose_format(f"{media}; version=1.0.0; escaping={scheme};q=0.5")

    assert b"\nnetns_a_b 0.0\n" in encode(registry)


class Nothing:
    def collect(self) -> list[Any]:
        return []


@given(st.text())
def test_any_accept_encoding_is_accepted_or_not(header: str) -> None:
    assert accepts_gzip(header) in {True, False}


@given(st.text() | st.floats().map(str))
def test_any_timeout_becomes_a_valid_deadline(header: str) -> None:
    assert 0.5 <= parse_timeout(header) <= 120


@given(st.frozensets(st.text(min_size=1), min_size=1, max_size=100))
def test_names_are_decoded(chosen: frozenset[str]) -> None:
    query = "&".join(f"name[]={quote(name)}" for name in chosen)

    assert parse_names(query.encode()) == chosen


def test_too_many_names_are_refused() -> None:
    with pytest.raises(ValueError, match="fields"):
        parse_names(b"&".join([b"name[]=a"] * 101))
