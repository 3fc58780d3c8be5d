"""Namespaces and sysctls are found by any of their names."""

import pytest

from exporter.catalog import UnknownSysctlError
from exporter.model import Namespace, Owner
from exporter.owner import display_name
from exporter.reports.lookup import (
    AmbiguousOwnerError,
    UnknownOwnerError,
    find_namespace,
    find_sysctl,
)
from tests.support.builders import (
    CONTAINER,
    OTHER_CONTAINER,
    OTHER_UID,
    UID,
    a_namespace,
    a_netns,
    an_owner,
    the_hosts_namespace,
)

HOST = the_hosts_namespace()
POD = a_namespace(netns=a_netns(7, ino=70))
DOCKER = a_namespace(
    netns=a_netns(8, ino=80),
    owner=an_owner(
        "container",
        namespace="",
        pod="",
        uid="",
        container="shop-db-1",
        container_id=OTHER_CONTAINER,
        project="shop",
        service="db",
    ),
)
NAMED = a_namespace(
    netns=a_netns(9, ino=90),
    owner=an_owner("named", namespace="", pod="", uid="", netns="named/blue"),
)
NODE = [HOST, POD, DOCKER, NAMED]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("host", HOST),
        ("web-0", POD),
        ("shop/web-0", POD),
        (UID, POD),
        (UID[:8], POD),
        ("cookie/7", POD),
        ("shop-db-1", DOCKER),
        ("db", DOCKER),
        ("shop/db", DOCKER),
        (OTHER_CONTAINER[:6], DOCKER),
        (OTHER_CONTAINER, DOCKER),
        ("blue", NAMED),
        ("named/blue", NAMED),
    ],
)
def test_a_namespace_has_many_names(wanted: str, found: Namespace) -> None:
    assert find_namespace(NODE, wanted) == found


def test_a_pid_is_found_by_its_inode() -> None:
    assert find_namespace(NODE, "4711", ino=80) == DOCKER


def test_fewer_than_six_digits_of_an_id_are_no_name() -> None:
    with pytest.raises(UnknownOwnerError):
        find_namespace(NODE, CONTAINER[:5])


def test_an_unknown_name_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UnknownOwnerError, match="did you mean 'web-0'"):
        find_namespace(NODE, "wbe-0")


def test_an_ambiguous_name_is_an_error_with_the_candidates() -> None:
    twin = a_namespace(netns=a_netns(10, ino=100), owner=an_owner(uid=OTHER_UID))

    with pytest.raises(
        AmbiguousOwnerError, match=r" 2 .*: .*\(cookie/7\), .*\(cookie/10\)"
    ):
        find_namespace([POD, twin], "web-0")
    assert find_namespace([POD, twin], "cookie/10") == twin


def test_an_owners_name_means_its_main_namespace() -> None:
    inner = a_namespace(netns=a_netns(11, ino=110), owner=an_owner(netns="cookie/11"))

    assert find_namespace([inner, POD], "web-0") == POD
    assert find_namespace([inner, POD], "cookie/11") == inner
    assert find_namespace([inner, POD], "4711", ino=110) == inner


def test_a_container_and_a_mount_of_the_same_name_are_ambiguous() -> None:
    blue = a_namespace(owner=an_owner("container", pod="", uid="", container="blue"))

    with pytest.raises(AmbiguousOwnerError):
        find_namespace([blue, NAMED], "blue")


@pytest.mark.parametrize(
    "chosen",
    [
        Owner(kind="named", netns="within/uid:1000/named/blue"),
        an_owner(netns="named/blue"),
        Owner(kind="unit", netns="within/user@1000.service/unit/blue"),
        Owner(kind="container", container="blue", netns="within/user@1000.service"),
    ],
    ids=["a user's mount", "a pod's mount", "a user's unit", "a user's container"],
)
def test_a_name_that_a_container_or_a_user_chose_hides_no_other(chosen: Owner) -> None:
    evil = a_namespace(netns=a_netns(12, ino=120), owner=chosen)

    assert find_namespace([evil, NAMED], "blue") == NAMED
    assert find_namespace([evil, NAMED], "named/blue") == NAMED
    assert find_namespace([evil, HOST], "blue") == evil
    assert find_namespace([evil, NAMED], chosen.netns) == (
        NAMED if chosen.netns == "named/blue" else evil
    )
    assert find_namespace([evil, NAMED], "cookie/12") == evil


def test_every_owner_has_a_display_name() -> None:
    nameless = a_namespace(
        owner=an_owner("process", namespace="", pod="", uid="", comm="")
    )

    assert display_name(nameless.owner) == "process"
    assert display_name(POD.owner) == "shop/web-0"


SYSCTLS = [
    "net.core.somaxconn",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.default.rp_filter",
    "net.ipv4.tcp_rmem",
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("net.core.somaxconn", "net.core.somaxconn"),
        ("net/core/somaxconn", "net.core.somaxconn"),
        ("somaxconn", "net.core.somaxconn"),
        ("all.rp_filter", "net.ipv4.conf.all.rp_filter"),
    ],
)
def test_the_end_of_a_name_is_enough(wanted: str, found: str) -> None:
    assert find_sysctl(SYSCTLS, wanted) == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("rp_filter", "several sysctls: .*all.rp_filter, .*default.rp_filter"),
        ("somaxcon", "did you mean 'somaxconn'"),
        ("tcp_rmen", "did you mean 'tcp_rmem'"),
        ("", "no sysctl ''$"),
        ("conn", "no sysctl 'conn'"),
    ],
)
def test_a_name_of_no_or_several_sysctls_is_an_error(wanted: str, message: str) -> None:
    with pytest.raises(UnknownSysctlError, match=message):
        find_sysctl(SYSCTLS, wanted)
