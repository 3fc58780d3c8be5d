"""The pages in a real browser, of namespaces whose names contain markup."""

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
LONG_NAME = "x" * 200

SIZES = {"phone": PHONE, "tablet": TABLET, "desktop": DESKTOP}
PATHS = ["/", "/netns/host", f"/netns/named/{quote(NAME)}", f"/netns/{LONG_NAME}"]
PATHS += ["/catalog", "/catalog?q=somaxconn", f"/?q={quote(NAME)}", "/nowhere"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with contextlib.ExitStack() as stack:
        (netns,) = stack.enter_context(new_namespaces(comm=COMM, listeners=20))
        netns.write("net.core.somaxconn", "17")
        for name in (NAME, LONG_NAME):
            stack.enter_context(named_netns(name))
        directory = tmp_path_factory.mktemp("running")
        exporter = stack.enter_context(run_exporter(directory))
        wait_until(lambda: b"script&gt;x" in exporter.get("/?q=script")[2])
        wait_until(lambda: b"pending" not in exporter.get("/?q=script")[2])
        yield exporter


@pytest.fixture(scope="module")
def chromium(
    running: Exporter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    with run_browser(running.port, tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture(autouse=True)
def no_active_content(chromium: Browser) -> Iterator[None]:
    """Check that no page logs to the console, or has scripts or images."""
    chromium.set_screen(DESKTOP)
    yield
    missing = "the server responded with a status of 404"
    assert [line for line in chromium.console_messages() if missing not in line] == []
    assert chromium.evaluate("document.scripts.length") == 0
    assert chromium.evaluate("document.images.length") == 0


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_not_wider_than_the_screen(
    chromium: Browser, path: str, size: Size
) -> None:
    chromium.set_screen(size)
    chromium.open(path)
    assert chromium.evaluate("window.innerWidth") == size.width

    for summary in chromium.all("details > summary"):
        if size != DESKTOP:
            script = "arguments[0].parentNode.open = true"
            chromium.driver.execute_script(script, summary)

    assert chromium.evaluate("document.scrollingElement.scrollWidth") <= size.width


@pytest.mark.parametrize("path", ["/", "/netns/host", "/catalog"])
def test_a_page_follows_the_preferred_color_scheme(
    chromium: Browser, path: str
) -> None:
    def brightness(scheme: Scheme) -> tuple[int, int]:
        chromium.set_screen(PHONE, scheme)
        chromium.open(path)
        style = "getComputedStyle(document.body)"
        colors = (
            chromium.evaluate(f"{style}.{key}") for key in ("backgroundColor", "color")
        )
        back, fore = (int(rgb.partition("(")[2].partition(",")[0]) for rgb in colors)
        return back, fore

    back, fore = brightness("light")
    assert back > 200
    assert fore < 100
    back, fore = brightness("dark")
    assert fore > 200
    assert back < 100


def test_markup_in_names_is_shown_as_text(chromium: Browser) -> None:
    chromium.open("/?sort=name")

    assert NAME in chromium.text
    assert f"process {COMM.decode()}" in chromium.text
    chromium.follow_link(f"named/{NAME}")
    assert chromium.find("h1").text == f"named/{NAME}"
    assert chromium.path == f"/netns/named/{quote(NAME)}"
    fixes = [block.get_attribute("textContent") or "" for block in chromium.all("pre")]
    assert any(f"ip netns exec '{NAME}' sysctl -w" in fix for fix in fixes)


def test_a_search_leads_to_the_page_of_its_result(chromium: Browser) -> None:
    chromium.open("/")
    chromium.find("input[name=q]").send_keys("script")
    chromium.click(chromium.find("form button"))

    assert chromium.find("input[name=q]").get_attribute("value") == "script"
    (owner,) = chromium.all("#owners tbody a")
    assert "1 that match" in chromium.find("#shown").text
    name = owner.text
    chromium.click(owner)
    assert chromium.find("h1").text == name
    assert "net.core.somaxconn 17 modified" in chromium.text
    assert COMM.decode() in chromium.text


def test_clicking_a_sort_link_sorts(chromium: Browser) -> None:
    chromium.open("/?q=named")
    chromium.follow_link("owner")

    def names() -> list[str]:
        return [link.text for link in chromium.all("#owners tbody a")]

    assert names() == sorted(names())
    assert chromium.find("input[name=q]").get_attribute("value") == "named"
    assert chromium.find(".sorts b").text == "owner"
    chromium.follow_link("kind")
    assert chromium.find(".sorts b").text == "kind"


def test_a_link_to_a_sysctl_leads_to_an_existing_anchor(chromium: Browser) -> None:
    chromium.open("/netns/host")
    chromium.click(chromium.all("#all tbody a")[0])

    anchor = chromium.path.partition("#")[2]
    assert chromium.evaluate(f"document.getElementById('{anchor}') !== null")


def test_a_click_selects_all_commands_of_a_fix(chromium: Browser) -> None:
    chromium.open("/netns/host")

    assert (
        chromium.evaluate("getComputedStyle(document.querySelector('pre')).userSelect")
        == "all"
    )


def test_the_navigation_leads_to_each_page(chromium: Browser) -> None:
    chromium.open("/nowhere")
    chromium.follow_link("Catalog")
    assert "Catalog of sysctls" in chromium.text
    chromium.find("input[name=q]").send_keys("nf_conntrack")
    chromium.click(chromium.find("form button"))
    assert all("nf_conntrack" in row.text for row in chromium.all("#sysctls tbody tr"))
    chromium.follow_link("Node")
    assert chromium.path == "/"
    chromium.follow_link("Metrics")
    assert chromium.text.startswith("# HELP netns_")
