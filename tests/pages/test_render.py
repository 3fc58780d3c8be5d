"""Every page is valid HTML, and every name on it is only text."""

import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.escaping import escape_control
from exporter.model import EncodedSnapshot, HostValue, Snapshot, Unreadable
from exporter.pages.query import PageRequest
from exporter.pages.render import HEADERS, STYLE_PATH
from tests.support.builders import (
    a_listener,
    a_namespace,
    a_problem,
    a_sysctl,
    an_encoded_snapshot,
    an_owner,
    some_signals,
    some_stats,
    the_hosts_namespace,
)
from tests.support.hostile import node_of
from tests.support.pages import (
    KUBERNETES,
    NODES,
    RENDERER,
    ParsedPage,
    encoded,
    read,
)

TAGS = {"html", "head", "meta", "title", "link", "body", "header", "nav", "main"}
TAGS |= {"h1", "h2", "h3", "h4", "a", "p", "b", "bdi", "time", "span"}
TAGS |= {"section", "article", "div", "details", "summary", "ul", "li", "dl", "dt"}
TAGS |= {"dd", "table", "thead", "tbody", "tr", "th", "td", "code", "pre"}
TAGS |= {"form", "input", "label", "button", "svg", "rect", "line"}
NUMBERS = {"x", "y", "x1", "x2", "y1", "y2", "width", "height"}


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


PLACES = ("/", *(f"/netns/cookie/{at}" for at in (1, 20, 21, 22, 23)), "/catalog")
BENIGN = {place: read(node_of("text"), place).tags for place in PLACES}


@given(TEXT)
def test_names_are_only_text_on_every_page(text: str) -> None:
    assume(text != "named")  # the pod and the mount would have the same name
    raw = node_of(text)

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
