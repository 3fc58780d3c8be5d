"""A URL is a request for a page only if a link or a form could contain it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.pages.query import (
    MAX_TEXT,
    SORTS,
    BadQueryError,
    PageRequest,
    Sort,
    parse_request,
)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/", b"", PageRequest(page="node")),
        ("/", b"q=", PageRequest(page="node")),
        ("/", b"q=+shop++web+", PageRequest(page="node", search="shop web")),
        ("/", b"sort=name&page=3", PageRequest(page="node", sort="name", part=3)),
        ("/", b"q=%F0%9F%92%A5&x=y", PageRequest(page="node", search="\U0001f4a5")),
        ("/catalog", b"q=tcp", PageRequest(page="catalog", search="tcp")),
        (
            "/netns/shop/web-0",
            b"q=x",
            PageRequest(page="namespace", owner="shop/web-0"),
        ),
        ("/netns/", b"", PageRequest(page="namespace")),
        ("/netns", b"", None),
        ("/catalog/", b"", None),
        ("//", b"", None),
    ],
)
def test_a_path_is_a_page(
    path: str, query: bytes, expected: PageRequest | None
) -> None:
    assert parse_request(path, query, gzip=False) == expected


@pytest.mark.parametrize(
    "query",
    [
        b"sort=x",
        b"page=0",
        b"page=-1",
        b"page=1e3",
        b"page=99999999999999999999",
        b"page=\xb2",
        b"q=" + b"x" * (MAX_TEXT + 1),
        b"&".join([b"q=x"] * 21),
    ],
)
def test_a_query_that_no_link_contains_is_refused(query: bytes) -> None:
    with pytest.raises(BadQueryError):
        parse_request("/", query, gzip=False)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    st.sampled_from(SORTS),
    st.integers(1, 100),
)
def test_a_link_leads_to_the_request_it_was_built_for(
    text: str, sort: Sort, number: int
) -> None:
    made = PageRequest(page="node", search=" ".join(text.split()), sort=sort)

    query = made.query(part=number).removeprefix("?").encode()

    again = parse_request("/", query, gzip=False)
    assert again == PageRequest(page="node", search=made.search, sort=sort, part=number)
