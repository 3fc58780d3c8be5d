"""The page of a namespace has the sentences of explain for each sysctl."""

import msgspec
import pytest

from exporter.model import Snapshot
from tests.support.pages import (
    KUBERNETES,
    NODES,
    ParsedPage,
    read,
    rendered,
)


def test_it_has_the_sentences_of_explain() -> None:
    page = read(KUBERNETES, "/netns/shop/cache-0")

    text = " ".join(page.text.split())
    golden = (NODES / "kubernetes/explain-overridden.txt").read_text()
    for sentence in (
        "Caps the accept queue of every listen(2) in the namespace",
        "Another value was declared in the pod specification",
        "queue 129, limit 128, full",
        "To set 65535: in the pod specification",
        "allowedUnsafeSysctls: [net.core.somaxconn]",
    ):
        assert sentence in text
        assert sentence in " ".join(golden.split())


def test_each_sysctl_is_on_the_page_once() -> None:
    page = read(KUBERNETES, "/netns/shop/old-0")

    ids = [a["id"] for _, a in page.found if a.get("class") == "sysctl"]
    assert ids[0] == "net.ipv4.tcp_rmem"
    snapshot = msgspec.json.decode(KUBERNETES, type=Snapshot)
    names = {sysctl.name for sysctl in (*snapshot.sysctls, *snapshot.shared)}
    assert {*ids} == names
    assert {f"#{name}" for name in names} <= {*page.all("a", "href")}


def highlighted(name: str) -> list[str]:
    page = read(KUBERNETES, f"/netns/{name}")
    found = [a for tag, a in page.found if tag == "article"]
    return [attrs["id"] for attrs in found]


def test_saturation_is_before_written_values() -> None:
    assert highlighted("db/tuned-1")[:4] == [
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_tw_reuse",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_congestion_control",
    ]


def test_a_written_value_is_highlighted_without_saturation() -> None:
    assert highlighted("joined-0")[0] == "net.ipv4.tcp_keepalive_time"
    assert "net.core.wmem_max" not in highlighted("joined-0")


def test_the_lines_to_copy_are_separate() -> None:
    made = rendered(KUBERNETES, "/netns/named/blue").body.decode()

    assert "<pre>ip netns exec blue sysctl -w net.core.somaxconn=65535\n</pre>" in made


@pytest.mark.parametrize("name", ["api-0", "cookie/104", "shop/api-0", "blue"])
def test_the_names_that_explain_accepts_are_found(name: str) -> None:
    assert read(KUBERNETES, f"/netns/{name}").text


def test_an_ambiguous_name_has_links_to_the_candidates() -> None:
    made = rendered(KUBERNETES, "/netns/web-0")

    page = ParsedPage(made.body)
    assert not made.found
    assert "Ambiguous name" in page.text
    assert "matches 2 network namespaces" in page.text
    assert page.links() == ["/netns/shop/web-0", "/netns/test/web-0"]


def test_an_unknown_name_has_a_suggestion() -> None:
    made = rendered(KUBERNETES, "/netns/web-9")

    text = ParsedPage(made.body).text
    assert not made.found
    assert "no network namespace matches 'web-9'" in text
