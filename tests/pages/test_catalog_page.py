"""The page of the catalog describes every sysctl."""

from tests.support.pages import (
    KUBERNETES,
    read,
)


def test_it_describes_every_sysctl() -> None:
    page = read(KUBERNETES, "/catalog")

    assert "read these 446 sysctls and no others; 18 of them are read" in page.text
    assert "446 of 446 sysctls are shown." in page.text
    assert "the pod specification: on the kubelet's safe list" in page.text
    assert "constant: the kernel's built-in value, independent of the host" in page.text
    signals = {h.removeprefix("#") for h in page.all("a", "href") if h[0] == "#"}
    assert signals == {*page.all("dt", "id")}


def test_a_search_reduces_the_table() -> None:
    page = read(KUBERNETES, "/catalog?q=somaxconn")

    assert "1 of 446 sysctls are shown." in page.text
    assert "net.core.somaxconn" in page.text
    assert "net.ipv4.tcp_rmem" not in page.text
