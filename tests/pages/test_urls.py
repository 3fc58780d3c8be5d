"""Every namespace has a URL, and none can take the URL of another."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Namespace, Owner
from exporter.pages.urls import NAMESPACE_PREFIX, NamespaceUrls, namespace_path
from exporter.reports.lookup import AmbiguousOwnerError, UnknownOwnerError
from tests.support.builders import a_namespace, a_netns, an_owner, the_hosts_namespace


def of(*owners: Owner, cookies: bool = True) -> list[Namespace]:
    return [
        a_namespace(
            netns=a_netns(10 + at if cookies else None, ino=4000 + at), owner=owner
        )
        for at, owner in enumerate(owners)
    ]


def paths(namespaces: list[Namespace]) -> list[str]:
    urls = NamespaceUrls(namespaces)
    return [urls.path(namespace) for namespace in namespaces]


def no_pod(netns: str = "", container: str = "", project: str = "") -> Owner:
    return an_owner(
        "container" if container else "named",
        namespace="",
        pod="",
        uid="",
        container=container,
        container_id="",
        netns=netns,
        project=project,
    )


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (an_owner(), "/netns/shop/web-0"),
        (an_owner(namespace="", pod=""), f"/netns/{an_owner().uid}"),
        (no_pod(container="proxy"), "/netns/proxy"),
        (no_pod("unit/backup.service"), "/netns/unit/backup.service"),
        (no_pod("named/blue"), "/netns/named/blue"),
        (no_pod("named/<img src=x>"), "/netns/named/%3Cimg%20src%3Dx%3E"),
        (no_pod("cookie/10"), "/netns/cookie/10"),
        (no_pod(container=".."), "/netns/cookie/10"),
        (no_pod("named/a//b"), "/netns/cookie/10"),
        (an_owner("process", namespace="", pod="", uid=""), "/netns/cookie/10"),
    ],
)
def test_a_url_contains_the_name_where_a_browser_leaves_it(
    owner: Owner, expected: str
) -> None:
    assert paths(of(owner)) == [expected]


def test_the_host_has_a_url() -> None:
    assert paths([the_hosts_namespace()]) == ["/netns/host"]


def test_a_second_namespace_of_a_pod_does_not_take_its_name() -> None:
    second = an_owner(netns="within/a/b")

    assert paths(of(an_owner(), second)) == [
        "/netns/shop/web-0",
        "/netns/within/a/b",
    ]


def test_the_urls_of_owners_with_the_same_name_contain_cookies() -> None:
    both = of(an_owner(), no_pod(container="web-0", project="shop"))

    assert paths(both) == ["/netns/cookie/10", "/netns/cookie/11"]
    urls = NamespaceUrls(both)
    with pytest.raises(AmbiguousOwnerError, match="matches 2"):
        urls.find("shop/web-0")
    assert urls.namespaces_named("shop/web-0") == both


@pytest.mark.parametrize("cookies", [True, False])
def test_a_container_cannot_take_a_url(cookies: bool) -> None:  # noqa: FBT001
    names = ["cookie/10", "ino/4000", "seen/1700000000.000", "host"]
    owners = of(
        an_owner(), *(no_pod(container=name) for name in names), cookies=cookies
    )
    urls = NamespaceUrls([*owners, the_hosts_namespace()])

    for owner in owners:
        name = unquote(urls.path(owner)).removeprefix(NAMESPACE_PREFIX)
        assert urls.find(name) is owner


def test_a_cookie_is_unique_even_if_a_container_has_it_as_name() -> None:
    first, second = both = of(an_owner(), no_pod(container="cookie/10"))
    urls = NamespaceUrls(both)

    assert urls.find("cookie/10") is first
    assert urls.path(second) == "/netns/cookie/11"


@pytest.mark.parametrize("wanted", ["web-0", "shop/web-0", "cookie/10", "a1a1a1"])
def test_the_names_that_explain_accepts_are_found(wanted: str) -> None:
    (pod,) = of(an_owner())

    assert NamespaceUrls([pod]).find(wanted) is pod


def test_an_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(UnknownOwnerError, match="did you mean 'web-0'"):
        NamespaceUrls(of(an_owner())).find("web-o")


WORDS = st.sampled_from(["", "a", "b", "host", "cookie/10", "ino/4001", "..", "a/b"])
WORDS |= st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
OWNER = st.builds(
    an_owner,
    namespace=WORDS,
    pod=WORDS,
    uid=WORDS,
    container=WORDS,
    netns=WORDS,
    project=WORDS,
    service=WORDS,
)


@given(st.lists(OWNER, max_size=6), st.booleans())
def test_each_url_leads_to_its_namespace(owners: list[Owner], cookies: bool) -> None:  # noqa: FBT001
    namespaces = of(*owners, cookies=cookies)
    urls = NamespaceUrls(namespaces)

    found = paths(namespaces)

    assert len({*found}) == len(found)
    for namespace, path in zip(namespaces, found, strict=True):
        assert path.isascii()
        assert urls.find(unquote(path).removeprefix(NAMESPACE_PREFIX)) is namespace
        assert not {".", "..", ""} & {*unquote(path).split("/")[1:]}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_path_contains_the_name(name: str) -> None:
    assert unquote(namespace_path(name)) == NAMESPACE_PREFIX + name
