"""Every namespace has an address, and nobody can take another's."""

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
    addresses = NamespaceUrls(namespaces)
    return [addresses.path(one) for one in namespaces]


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
def test_an_address_is_the_name_where_a_browser_leaves_it(
    owner: Owner, expected: str
) -> None:
    assert paths(of(owner)) == [expected]


def test_the_host_is_called_so() -> None:
    assert paths([the_hosts_namespace()]) == ["/netns/host"]


def test_a_second_namespace_of_a_pod_leaves_it_its_name() -> None:
    second = an_owner(netns="within/a/b")

    assert paths(of(an_owner(), second)) == [
        "/netns/shop/web-0",
        "/netns/within/a/b",
    ]


def test_who_shares_a_name_has_a_cookie() -> None:
    both = of(an_owner(), no_pod(container="web-0", project="shop"))

    assert paths(both) == ["/netns/cookie/10", "/netns/cookie/11"]
    addresses = NamespaceUrls(both)
    with pytest.raises(AmbiguousOwnerError, match="matches 2"):
        addresses.find("shop/web-0")
    assert addresses.namespaces_named("shop/web-0") == both


@pytest.mark.parametrize("cookies", [True, False])
def test_a_container_cannot_take_an_address(cookies: bool) -> None:  # noqa: FBT001
    names = ["cookie/10", "ino/4000", "seen/1700000000.000", "host"]
    every = of(an_owner(), *(no_pod(container=name) for name in names), cookies=cookies)
    addresses = NamespaceUrls([*every, the_hosts_namespace()])

    for one in every:
        name = unquote(addresses.path(one)).removeprefix(NAMESPACE_PREFIX)
        assert addresses.find(name) is one


def test_a_cookie_is_its_own_even_where_a_container_is_called_so() -> None:
    first, second = every = of(an_owner(), no_pod(container="cookie/10"))
    addresses = NamespaceUrls(every)

    assert addresses.find("cookie/10") is first
    assert addresses.path(second) == "/netns/cookie/11"


@pytest.mark.parametrize("wanted", ["web-0", "shop/web-0", "cookie/10", "a1a1a1"])
def test_what_explain_takes_is_taken(wanted: str) -> None:
    (one,) = every = of(an_owner())

    assert NamespaceUrls(every).find(wanted) is one


def test_nobody_is_told_who_is_near() -> None:
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
def test_each_address_leads_to_its_owner(owners: list[Owner], cookies: bool) -> None:  # noqa: FBT001
    every = of(*owners, cookies=cookies)
    addresses = NamespaceUrls(every)

    found = paths(every)

    assert len({*found}) == len(found)
    for one, address in zip(every, found, strict=True):
        assert address.isascii()
        assert addresses.find(unquote(address).removeprefix(NAMESPACE_PREFIX)) is one
        assert not {".", "..", ""} & {*unquote(address).split("/")[1:]}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_path_is_the_name(name: str) -> None:
    assert unquote(namespace_path(name)) == NAMESPACE_PREFIX + name
