"""The pages: what they show, and that every name in them is only text."""

import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.escaping import escape_control
from exporter.model import Declared, EncodedSnapshot, HostValue, Snapshot, Unreadable
from exporter.pages.query import PageRequest, RenderedPage, parse_request
from exporter.pages.render import HEADERS, STYLE_PATH, PageRenderer
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_netns,
    a_problem,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    some_stats,
    the_hosts_namespace,
)

NODES = Path(__file__).parents[1] / "nodes"
KUBERNETES = (NODES / "kubernetes/snapshot.json").read_bytes()
RENDERER = PageRenderer("1.2.3")

VOID = {"meta", "link", "input", "br"}
TAGS = {"html", "head", "meta", "title", "link", "body", "header", "nav", "main"}
TAGS |= {"h1", "h2", "h3", "h4", "a", "p", "b", "bdi", "time", "span"}
TAGS |= {"section", "article", "div", "details", "summary", "ul", "li", "dl", "dt"}
TAGS |= {"dd", "table", "thead", "tbody", "tr", "th", "td", "code", "pre"}
TAGS |= {"form", "input", "label", "button", "svg", "rect", "line"}
NUMBERS = {"x", "y", "x1", "x2", "y1", "y2", "width", "height"}


class ParsedPage(HTMLParser):
    """A page, parsed: its tags with their attributes, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.parts: list[str] = []
        self._open: list[str] = []
        self.feed(page.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"rect", "line"}
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def all(self, tag: str, name: str) -> list[str]:
        return [attrs[name] for found, attrs in self.found if found == tag]

    def links(self) -> list[str]:
        return [href for href in self.all("a", "href") if href.startswith("/netns/")]


def rendered(raw: bytes, target: str = "/") -> RenderedPage:
    parts = urlsplit(target)
    request = parse_request(unquote(parts.path), parts.query.encode(), gzip=False)
    assert request
    return RENDERER.render(request, raw)


def read(raw: bytes, target: str = "/") -> ParsedPage:
    made = rendered(raw, target)
    assert made.found, made.body.decode()
    return ParsedPage(made.body)


def encoded(parcel: EncodedSnapshot) -> bytes:
    return msgspec.json.encode(parcel)


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


@pytest.mark.parametrize("node", ["kubernetes", "docker"])
def test_every_page_of_a_recorded_node_is_valid(node: str) -> None:
    raw = (NODES / node / "snapshot.json").read_bytes()
    namespaces = msgspec.json.decode(raw, type=Snapshot).namespaces

    first = read(raw)
    owners = {link.partition("#")[0] for link in first.links()}
    assert len(owners) == len(namespaces)
    for target in ("/", "/catalog", "/?q=web&sort=name", *owners):
        page = read(raw, target)
        assert {tag for tag, _ in page.tags} <= TAGS
        check_attributes(page)
        ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
        assert len(ids) == len({*ids})


def check_attributes(page: ParsedPage) -> None:
    for tag, attrs in page.found:
        for name, value in attrs.items():
            assert name != "style"
            assert not name.startswith("on")
            if tag in {"svg", "rect", "line"} and name in NUMBERS:
                float(value)
        if tag == "a":
            assert attrs["href"].startswith(("/", "#", "?"))


@pytest.mark.parametrize(
    "parcel",
    [
        an_encoded_snapshot(),
        an_encoded_snapshot(the_hosts_namespace()),
        an_encoded_snapshot(a_namespace()),
        an_encoded_snapshot(the_hosts_namespace(), a_namespace(state="pending")),
        an_encoded_snapshot(a_namespace(state="unreadable", reason="denied")),
        an_encoded_snapshot(a_namespace(owner=an_owner(sandbox="gvisor"))),
        an_encoded_snapshot(a_namespace(readings=[Unreadable(unreadable="missing")])),
        an_encoded_snapshot(
            problems=[a_problem()], stats=some_stats(hidden={"denied": 3})
        ),
        an_encoded_snapshot(
            a_namespace(readings=["1 2"]),
            sysctls=[a_sysctl(kind="ints", fields=("low", "high"))],
            time=1e20,
        ),
        an_encoded_snapshot(
            the_hosts_namespace(),
            a_namespace(),
            signals=[some_signals(), some_signals(a_listener(queue=129))],
            earlier=[HostValue(sysctl="net.core.somaxconn", value="4096", until=1.0)],
        ),
    ],
)
def test_every_page_of_any_node_is_rendered(parcel: EncodedSnapshot) -> None:
    raw = encoded(parcel)
    page = read(raw)

    for target in ("/catalog", *{link.partition("#")[0] for link in page.links()}):
        assert read(raw, target).text


class TestHead:
    @pytest.mark.parametrize("target", ["/", "/catalog", "/netns/shop/api-0"])
    def test_each_page_has_the_node_and_the_time(self, target: str) -> None:
        page = read(KUBERNETES, target)

        assert {"/", "/catalog", "/metrics"} <= {*page.all("a", "href")}
        text = " ".join(page.text.split())
        assert "worker-1, Linux 6.12.57, 2023-11-14 22:13:20 UTC" in text
        assert "netns-sysctl-exporter 1.2.3" in text
        (style,) = [href for href in page.all("link", "href") if STYLE_PATH in href]
        assert style == f"{STYLE_PATH}?{RENDERER.style_hash}"

    def test_the_policy_forbids_what_pages_do_not_need(self) -> None:
        policy = HEADERS["Content-Security-Policy"]

        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy
        assert b"url(" not in RENDERER.style
        assert b"@import" not in RENDERER.style


class TestNodePage:
    def test_saturation_and_drops_are_described_as_on_the_terminal(self) -> None:
        page = read(KUBERNETES)

        section = page.text.partition("Values that deviate")[0]
        golden = (NODES / "kubernetes/report.txt").read_text()
        for owner in ("shop/cache-0", "shop/api-0", "db/tuned-1", "named/blue"):
            assert owner in section
            assert owner in golden
        assert "queue 129, limit 128, full" in section
        assert "a security module (AppArmor, SELinux, Yama)" in section
        assert "1 network namespace unreadable (refused_by_policy)" in section

    def test_each_sysctl_that_deviates_has_a_histogram(self) -> None:
        page = read(KUBERNETES)

        charts = [a for tag, a in page.found if tag == "svg" and "role" in a]
        names = [attrs["aria-label"] for attrs in charts]
        assert "Distribution of net.core.somaxconn" in names
        assert len(names) == 9

    def owners(self, page: ParsedPage) -> list[str]:
        table = next(a for _, a in page.found if a.get("id") == "owners")
        rows = page.found[[attrs for _, attrs in page.found].index(table) :]
        paths = [attrs["href"] for tag, attrs in rows if tag == "a"]
        return [
            unquote(path).removeprefix("/netns/")
            for path in paths
            if path.startswith("/netns/")
        ]

    def test_what_is_not_listed_is_counted(self) -> None:
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
        assert len(self.owners(page)) == 12

    def test_an_ambiguous_name_is_no_link(self) -> None:
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

    def test_a_part_of_many_has_its_numbers(self) -> None:
        raw = many_pods(1000)
        page = read(raw, "/?sort=name")
        owners = self.owners(page)

        assert len(owners) == 100
        assert owners == sorted(owners)
        assert "1 to 100 of 1001." in page.text
        last = read(raw, "/?sort=name&page=11")
        assert self.owners(last) == ["shop/web-0999"]
        assert "1001 to 1001 of 1001." in last.text
        assert "None shown: 1001 match" in read(raw, "/?page=12").text
        queries = [href for href in page.all("a", "href") if "page=" in href]
        assert len(queries) == 10

    def test_a_search_matches_any_name_and_keeps_the_order(self) -> None:
        raw = many_pods(30)

        page = read(raw, "/?q=SHOP+web-000&sort=name")

        assert self.owners(page) == [f"shop/web-000{at}" for at in range(10)]
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

    def test_the_table_has_the_requested_order(self) -> None:
        worst = self.owners(read(KUBERNETES))
        values = self.owners(read(KUBERNETES, "/?sort=values"))
        kinds = self.owners(read(KUBERNETES, "/?sort=kind"))
        states = self.owners(read(KUBERNETES, "/?sort=state"))

        assert worst[:4] == ["shop/cache-0", "shop/api-0", "db/tuned-1", "host"]
        assert values[0] in {"db/tuned-0", "db/tuned-1", "named/blue"}
        assert kinds[0] == "host"
        assert kinds[-1] == "unit/backup.service"
        assert states[-1] == "cookie/114"
        assert sorted(worst) == sorted(values) == sorted(kinds) == sorted(states)


class TestNamespacePage:
    def test_it_has_the_sentences_of_explain(self) -> None:
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

    def test_each_sysctl_is_on_the_page_once(self) -> None:
        page = read(KUBERNETES, "/netns/shop/old-0")

        ids = [a["id"] for _, a in page.found if a.get("class") == "sysctl"]
        assert ids[0] == "net.ipv4.tcp_rmem"
        snapshot = msgspec.json.decode(KUBERNETES, type=Snapshot)
        names = {sysctl.name for sysctl in (*snapshot.sysctls, *snapshot.shared)}
        assert {*ids} == names
        assert {f"#{name}" for name in names} <= {*page.all("a", "href")}

    def highlighted(self, name: str) -> list[str]:
        page = read(KUBERNETES, f"/netns/{name}")
        found = [a for tag, a in page.found if tag == "article"]
        return [attrs["id"] for attrs in found]

    def test_saturation_is_before_written_values(self) -> None:
        assert self.highlighted("db/tuned-1")[:4] == [
            "net.ipv4.ip_local_port_range",
            "net.ipv4.tcp_tw_reuse",
            "net.ipv4.ip_local_reserved_ports",
            "net.ipv4.tcp_congestion_control",
        ]

    def test_a_written_value_is_highlighted_without_saturation(self) -> None:
        assert self.highlighted("joined-0")[0] == "net.ipv4.tcp_keepalive_time"
        assert "net.core.wmem_max" not in self.highlighted("joined-0")

    def test_the_lines_to_copy_are_separate(self) -> None:
        made = rendered(KUBERNETES, "/netns/named/blue").body.decode()

        assert (
            "<pre>ip netns exec blue sysctl -w net.core.somaxconn=65535\n</pre>" in made
        )

    @pytest.mark.parametrize("name", ["api-0", "cookie/104", "shop/api-0", "blue"])
    def test_the_names_that_explain_accepts_are_found(self, name: str) -> None:
        assert read(KUBERNETES, f"/netns/{name}").text

    def test_an_ambiguous_name_has_links_to_the_candidates(self) -> None:
        made = rendered(KUBERNETES, "/netns/web-0")

        page = ParsedPage(made.body)
        assert not made.found
        assert "Ambiguous name" in page.text
        assert "matches 2 network namespaces" in page.text
        assert page.links() == ["/netns/shop/web-0", "/netns/test/web-0"]

    def test_an_unknown_name_has_a_suggestion(self) -> None:
        made = rendered(KUBERNETES, "/netns/web-9")

        text = ParsedPage(made.body).text
        assert not made.found
        assert "no network namespace matches 'web-9'" in text


class TestCatalogPage:
    def test_it_describes_every_sysctl(self) -> None:
        page = read(KUBERNETES, "/catalog")

        assert "read these 446 sysctls and no others; 18 of them are read" in page.text
        assert "446 of 446 sysctls are shown." in page.text
        assert "the pod specification: on the kubelet's safe list" in page.text
        assert (
            "constant: the kernel's built-in value, independent of the host"
            in page.text
        )
        signals = {h.removeprefix("#") for h in page.all("a", "href") if h[0] == "#"}
        assert signals == {*page.all("dt", "id")}

    def test_a_search_reduces_the_table(self) -> None:
        page = read(KUBERNETES, "/catalog?q=somaxconn")

        assert "1 of 446 sysctls are shown." in page.text
        assert "net.core.somaxconn" in page.text
        assert "net.ipv4.tcp_rmem" not in page.text


ODD = st.sampled_from(
    [
        '"><script>x',
        "<img src=x onerror=alert(1)>",
        "' onmouseover='x",
        "</title><script>x</script>",
        "</pre><b>",
        "{{ 7*7 }}{% raw %}",
        "&lt;&amp;&#60;",
        "\u202egpj.exe",
        "\x1b[31m\x00\r\n",
        "javascript:alert(1)",
        "--><!--",
    ]
)
TEXT = ODD | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def hostile(text: str) -> bytes:
    """Return a node where every free text is *text*."""
    owner = an_owner(
        namespace=text,
        pod=text,
        uid=text,
        container=text,
        runtime=text,
        container_id=text,
        project=text,
        service=text,
        comm=text,
    )
    named = an_owner(
        "named",
        namespace="",
        pod="",
        uid="",
        netns=f"named/{text}",
        comm=text,
        container_id="",
    )
    sandboxed = an_owner(pod="box", uid="box", sandbox=text)
    kind = a_sysctl("net.ipv4.tcp_congestion_control", kind="text")
    declared = Declared(
        sysctl=kind.name, value="bbr", source="container", container=text
    )
    socket = a_listener(0, address=text, queue=129, protocol="unix")
    parcel = an_encoded_snapshot(
        the_hosts_namespace(readings=["cubic", "4096"]),
        a_namespace(
            netns=a_netns(20, ino=20),
            owner=owner,
            readings=[f"x{text}", "1"],
            declared=[declared],
        ),
        a_namespace(netns=a_netns(21, ino=21), owner=named, readings=["reno", "1"]),
        a_namespace(netns=a_netns(22, ino=22), owner=sandboxed, readings=["reno", "1"]),
        a_namespace(
            netns=a_netns(23, ino=23),
            owner=an_owner(pod="dark", uid="dark"),
            state="unreadable",
            reason=text,
        ),
        node=text,
        kernel=text,
        sysctls=[kind, a_sysctl()],
        fresh=["cubic", "4096"],
        problems=[a_problem(text, detail=text, remedy=text)],
        signals=[some_signals(socket) for _ in range(5)],
        stats=some_stats(hidden={text: 1}),
    )
    return encoded(parcel)


PLACES = ("/", *(f"/netns/cookie/{at}" for at in (1, 20, 21, 22, 23)), "/catalog")
BENIGN = {place: read(hostile("text"), place).tags for place in PLACES}


@given(TEXT)
def test_names_are_only_text_on_every_page(text: str) -> None:
    raw = hostile(text)

    for place in PLACES:
        page = read(raw, place)
        assert page.tags == BENIGN[place]
        check_attributes(page)
        assert spelled(text) in spelled(page.text)
        assert not [char for char in page.text if char != "\n" and hides(char)]


def spelled(text: str) -> str:
    """Return *text* as a parser of HTML shows it: white space is collapsed."""
    return " ".join(escape_control(text).split())


def hides(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"


@given(TEXT)
def test_searches_and_requested_names_are_only_text(text: str) -> None:
    assume(text.split())
    pages: tuple[Literal["node", "catalog", "namespace"], ...]
    pages = ("node", "catalog", "namespace")
    for page in pages:
        request = PageRequest(page=page, owner=text, search=text)
        body = RENDERER.render(request, KUBERNETES).body
        tags = [tag for tag, _ in ParsedPage(body).tags]
        assert {*tags} <= TAGS
        check_attributes(ParsedPage(body))


@given(TEXT, TEXT)
def test_an_error_is_only_text(title: str, why: str) -> None:
    page = ParsedPage(RENDERER.render_error(title, why))

    assert page.tags == ParsedPage(RENDERER.render_error("Not Found", "x")).tags
    assert spelled(why) in spelled(page.text)


def test_the_modules_that_a_template_error_needs_are_loaded() -> None:
    """When the error occurs, the server can open no file."""
    loaded = "import sys, exporter.pages.render; assert 'jinja2.debug' in sys.modules"

    subprocess.run([sys.executable, "-c", loaded], check=True)


def test_no_template_marks_text_as_safe() -> None:
    files: Iterable[Path] = (
        Path(__file__).parents[2] / "exporter/pages/templates"
    ).iterdir()
    for file in files:
        text = file.read_text()
        for word in ("|safe", "| safe", "autoescape", "<script", "style=", "http"):
            assert word not in text, file.name
