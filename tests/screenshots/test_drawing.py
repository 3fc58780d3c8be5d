"""
The screenshots of pages in the documents: a recorded node, in a real browser.

`pytest tests/screenshots/test_drawing.py --update-docs` updates them. Without it, the
tests only check that they can be taken: browser versions render slightly differently.
"""

import math
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.privsep.channel import LastPass
from exporter.privsep.framing import Request
from tests.mixin.support.grafana import NAMES
from tests.support.browser import PICTURES, Browser, Scheme, Size, run_browser
from tests.support.server import served_stack

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/nodes/kubernetes/snapshot.json"
MAX_BYTES = 150_000
PNG = b"\x89PNG\r\n"

DASHBOARDS = {f"dashboard-{Path(name).stem}.png" for name in NAMES}
"""Screenshots of dashboards, which `make pictures` takes."""

MAX_DASHBOARD_BYTES = 500_000


class Shot(NamedTuple):
    """
    A screenshot.

    Attributes:
        path: Path of the page.
        size: Size of the screen.
        scheme: Preferred color scheme.
    """

    path: str
    size: Size
    scheme: Scheme = "light"


SHOTS = {
    "node.png": Shot("/", Size(1100, 800)),
    "owner.png": Shot("/netns/shop/cache-0", Size(1000, 640), "dark"),
    "phone.png": Shot("/#namespaces", Size(390, 844)),
}


class Recorded:
    """A collector of one snapshot."""

    def snapshot(self, _seconds: float, /) -> bytes:
        return RECORDED.read_bytes()

    def web_config(self, _request: Request, _seconds: float, /) -> bytes:
        return b"{}"

    def last_pass(self, _seconds: float, /) -> LastPass:
        return LastPass(0.0, math.inf)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        served_stack(Recorded(), listeners=[listener]) as (_, http),
        run_browser(http.port, tmp_path_factory.mktemp("chromium")) as chromium,
    ):
        yield chromium


@pytest.mark.parametrize("name", SHOTS)
def test_a_screenshot_can_be_taken(
    name: str, chromium: Browser, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shot = SHOTS[name]
    update = request.config.getoption("--update-docs")
    file = (PICTURES if update else tmp_path) / name
    chromium.set_screen(shot.size, shot.scheme)
    chromium.open(shot.path)

    chromium.save_screenshot(file)

    assert "worker-1" in chromium.text
    assert chromium.console_messages() == []
    assert file.read_bytes().startswith(PNG)
    assert file.stat().st_size < MAX_BYTES


def test_every_screenshot_of_the_documents_is_of_a_known_page() -> None:
    assert {file.name for file in PICTURES.iterdir()} == SHOTS.keys() | DASHBOARDS
    for file in PICTURES.iterdir():
        limit = MAX_DASHBOARD_BYTES if file.name in DASHBOARDS else MAX_BYTES
        assert file.stat().st_size < limit
