"""The pages in a real browser, of real namespaces with names that try to run."""

import contextlib
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from testing.lab import named_netns, new_namespaces, wait_until
from testing.running import Exporter, run_exporter
from tests.support.browser import (
    DESKTOP,
    PHONE,
    TABLET,
    Browser,
    Scheme,
    Size,
    run_browser,
)

pytestmark = pytest.mark.root

COMM = b'"><script>x'
NAME = "<img src=x onerror=alert(1)>"
LONG = "x" * 200

SIZES = {"phone": PHONE, "tablet": TABLET, "desktop": DESKTOP}
PATHS = ["/", "/netns/host", f"/netns/named/{quote(NAME)}", f"/netns/{LONG}"]
PATHS += ["/catalog", "/catalog?q=somaxconn", f"/?q={quote(NAME)}", "/nowhere"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with contextlib.ExitStack() as stack:
        (one,) = stack.enter_context(new_namespaces(comm=COMM, listeners=20))
        one.write("net.core.somaxconn", "17")
        for name in (NAME, LONG):
            stack.enter_context(named_netns(name))
        directory = tmp_path_factory.mktemp("running")
        made = stack.enter_context(run_exporter(directory))
        wait_until(lambda: b"script&gt;x" in made.get("/?q=script")[2])
        wait_until(lambda: b"pending" not in made.get("/?q=script")[2])
        yield made


@pytest.fixture(scope="module")
def chromium(
    running: Exporter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    with run_browser(running.port, tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture(autouse=True)
def content(chromium: Browser) -> Iterator[None]:
    """No page has the browser complain, and none runs anything."""
    chromium.set_screen(DESKTOP)
    yield
    missing = "the server responded with a status of 404"
    assert [one for one in chromium.console_messages() if missing not in one] == []
    assert chromium.evaluate("document.scripts.length") == 0
    assert chromium.evaluate("document.images.length") == 0


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_as_wide_as_the_screen(
    chromium: Browser, path: str, size: Size
) -> None:
    chromium.set_screen(size)
    chromium.open(path)
    assert chromium.evaluate("window.innerWidth") == size.width

    for one in chromium.all("details > summary"):
        if size != DESKTOP:
            chromium.driver.execute_script("arguments[0].parentNode.open = true", one)

    assert chromium.evaluate("document.scrollingElement.scrollWidth") <= size.width


@pytest.mark.parametrize("path", ["/", "/netns/host", "/catalog"])
def test_a_page_is_dark_for_who_prefers_that(chromium: Browser, path: str) -> None:
    def brightness(scheme: Scheme) -> tuple[int, int]:
        chromium.set_screen(PHONE, scheme)
        chromium.open(path)
        style = "getComputedStyle(document.body)"
        colours = (
            chromium.evaluate(f"{style}.{one}") for one in ("backgroundColor", "color")
        )
        back, fore = (int(one.partition("(")[2].partition(",")[0]) for one in colours)
        return back, fore

    back, fore = brightness("light")
    assert back > 200
    assert fore < 100
    back, fore = brightness("dark")
    assert fore > 200
    assert back < 100


def test_names_that_try_are_shown_as_they_are(chromium: Browser) -> None:
    chromium.open("/?sort=name")

    assert NAME in chromium.text
    assert f"process {COMM.decode()}" in chromium.text
    chromium.follow_link(f"named/{NAME}")
    assert chromium.find("h1").text == f"named/{NAME}"
    assert chromium.path == f"/netns/named/{quote(NAME)}"
    fixes = [one.get_attribute("textContent") or "" for one in chromium.all("pre")]
    assert any(f"ip netns exec '{NAME}' sysctl -w" in one for one in fixes)


def test_a_search_finds_and_leads_to_a_page(chromium: Browser) -> None:
    chromium.open("/")
    chromium.find("input[name=q]").send_keys("script")
    chromium.click(chromium.find("form button"))

    assert chromium.find("input[name=q]").get_attribute("value") == "script"
    (owner,) = chromium.all("#owners tbody a")
    assert "1 that are found" in chromium.find("#shown").text
    called = owner.text
    chromium.click(owner)
    assert chromium.find("h1").text == called
    assert "net.core.somaxconn 17 modified" in chromium.text
    assert COMM.decode() in chromium.text


def test_a_click_sorts(chromium: Browser) -> None:
    chromium.open("/?q=named")
    chromium.follow_link("owner")

    def names() -> list[str]:
        return [one.text for one in chromium.all("#owners tbody a")]

    assert names() == sorted(names())
    assert chromium.find("input[name=q]").get_attribute("value") == "named"
    assert chromium.find(".sorts b").text == "owner"
    chromium.follow_link("kind")
    assert chromium.find(".sorts b").text == "kind"


def test_a_link_of_what_hurts_or_differs_opens_there(chromium: Browser) -> None:
    chromium.open("/netns/host")
    chromium.click(chromium.all("#all tbody a")[0])

    anchor = chromium.path.partition("#")[2]
    assert chromium.evaluate(f"document.getElementById('{anchor}') !== null")


def test_the_lines_to_copy_are_selected_at_once(chromium: Browser) -> None:
    chromium.open("/netns/host")

    assert (
        chromium.evaluate("getComputedStyle(document.querySelector('pre')).userSelect")
        == "all"
    )


def test_the_head_leads_everywhere(chromium: Browser) -> None:
    chromium.open("/nowhere")
    chromium.follow_link("Catalog")
    assert "Every sysctl that can be read" in chromium.text
    chromium.find("input[name=q]").send_keys("nf_conntrack")
    chromium.click(chromium.find("form button"))
    assert all("nf_conntrack" in one.text for one in chromium.all("#sysctls tbody tr"))
    chromium.follow_link("Node")
    assert chromium.path == "/"
    chromium.follow_link("Metrics")
    assert chromium.text.startswith("# HELP netns_")
