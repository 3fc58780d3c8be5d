"""The page of a node has the content of the report, and the requested table."""

from urllib.parse import unquote

from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    the_hosts_namespace,
)
from tests.support.pages import (
    KUBERNETES,
    NODES,
    ParsedPage,
    encoded,
    read,
)


def many_pods(number: int) -> bytes:
    pods = [
        a_namespace(
            netns=a_netns(100 + at, ino=5000 + at),
            owner=an_owner(pod=f"web-{at:04}", uid=f"{at:032x}"),
            readings=[str(128 + at % 3)],
        )
        for at in range(number)
    ]
    return encoded(an_encoded_snapshot(the_hosts_namespace(), *pods, fresh=["4096"]))


def test_saturation_and_drops_are_described_as_on_the_terminal() -> None:
    page = read(KUBERNETES)

    section = page.text.partition("Values that deviate")[0]
    golden = (NODES / "kubernetes/report.txt").read_text()
    for owner in ("shop/cache-0", "shop/api-0", "db/tuned-1", "named/blue"):
        assert owner in section
        assert owner in golden
    assert "queue 129, limit 128, full" in section
    assert "a security module (AppArmor, SELinux, Yama)" in section
    assert "1 network namespace unreadable (refused_by_policy)" in section


def test_each_sysctl_that_deviates_has_a_histogram() -> None:
    page = read(KUBERNETES)

    charts = [a for tag, a in page.found if tag == "svg" and "role" in a]
    names = [attrs["aria-label"] for attrs in charts]
    assert "Distribution of net.core.somaxconn" in names
    assert len(names) == 9


def table_owners(page: ParsedPage) -> list[str]:
    table = next(a for _, a in page.found if a.get("id") == "owners")
    rows = page.found[[attrs for _, attrs in page.found].index(table) :]
    paths = [attrs["href"] for tag, attrs in rows if tag == "a"]
    return [
        unquote(path).removeprefix("/netns/")
        for path in paths
        if path.startswith("/netns/")
    ]


def test_what_is_not_listed_is_counted() -> None:
    signals = some_signals(a_listener(queue=129))
    pods = [
        a_namespace(
            netns=a_netns(100 + at, ino=5000 + at),
            owner=an_owner(pod=f"web-{at}", uid=f"{at:032x}"),
            readings=[str(at)],
        )
        for at in range(12)
    ]
    page = read(
        encoded(an_encoded_snapshot(*pods, fresh=["4096"], signals=[signals] * 12))
    )

    assert "And 2 more: the table lists them first" in page.text
    assert "and 6 more values, of 6 namespaces" in page.text
    assert len(table_owners(page)) == 12


def test_an_ambiguous_name_is_no_link() -> None:
    both = [
        a_namespace(
            netns=a_netns(at, ino=at),
            owner=an_owner(uid=f"{at:032x}"),
            readings=["1"],
        )
        for at in (20, 21)
    ]
    page = read(encoded(an_encoded_snapshot(*both, fresh=["4096"])))

    assert page.links() == ["/netns/cookie/20", "/netns/cookie/21"]
    assert "shop/web-0, shop/web-0" in page.text


def test_a_part_of_many_has_its_numbers() -> None:
    raw = many_pods(1000)
    page = read(raw, "/?sort=name")
    owners = table_owners(page)

    assert len(owners) == 100
    assert owners == sorted(owners)
    assert "1 to 100 of 1001." in page.text
    last = read(raw, "/?sort=name&page=11")
    assert table_owners(last) == ["shop/web-0999"]
    assert "1001 to 1001 of 1001." in last.text
    assert "None shown: 1001 match" in read(raw, "/?page=12").text
    queries = [href for href in page.all("a", "href") if "page=" in href]
    assert len(queries) == 10


def test_a_search_matches_any_name_and_keeps_the_order() -> None:
    raw = many_pods(30)

    page = read(raw, "/?q=SHOP+web-000&sort=name")

    assert table_owners(page) == [f"shop/web-000{at}" for at in range(10)]
    assert "1 to 10 of 10 that match, 31 in total." in page.text
    assert page.all("input", "value") == ["name", "SHOP web-000"]
    assert all(
        "q=SHOP+web-000" in href
        for href in page.all("a", "href")
        if href.startswith("?sort=")
    )
    for query in ("cookie/105", "5000000", f"{5:032x}", "host", "pause shop/web-0"):
        found = read(raw, f"/?q={query}").text
        assert ("None shown" in found) == (query == "5000000")


def test_the_table_has_the_requested_order() -> None:
    worst = table_owners(read(KUBERNETES))
    values = table_owners(read(KUBERNETES, "/?sort=values"))
    kinds = table_owners(read(KUBERNETES, "/?sort=kind"))
    states = table_owners(read(KUBERNETES, "/?sort=state"))

    assert worst[:4] == ["shop/cache-0", "shop/api-0", "db/tuned-1", "host"]
    assert values[0] in {"db/tuned-0", "db/tuned-1", "named/blue"}
    assert kinds[0] == "host"
    assert kinds[-1] == "unit/backup.service"
    assert states[-1] == "cookie/114"
    assert sorted(worst) == sorted(values) == sorted(kinds) == sorted(states)
