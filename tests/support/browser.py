"""A real, headless Chromium."""

import base64
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from testing.lab import wait_until

PICTURES = Path(__file__).parents[2] / "docs/screenshots"
"""The directory of the screenshots in the documents."""

Scheme = Literal["light", "dark"]


class Size(NamedTuple):
    """Size of a screen, in CSS pixels."""

    width: int
    height: int


PHONE = Size(390, 844)
TABLET = Size(820, 1180)
DESKTOP = Size(1440, 900)


class Browser:
    """A browser that shows the pages of a server on 127.0.0.1."""

    def __init__(self, driver: Chrome, port: int) -> None:
        self.driver = driver
        self.base = f"http://127.0.0.1:{port}"

    def set_screen(self, size: Size, scheme: Scheme = "light") -> None:
        """Emulate a screen of *size* and a user who prefers the color *scheme*."""
        self._execute(
            "Emulation.setDeviceMetricsOverride",
            width=size.width,
            height=size.height,
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._execute("Emulation.setEmulatedMedia", features=[feature])

    def open(self, path: str) -> None:
        self.driver.get(f"{self.base}{path}")

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.base)

    @property
    def text(self) -> str:
        return self.find("body").text

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def follow_link(self, text: str) -> None:
        """Click the first link with *text* and wait for the page that it leads to."""
        self.click(self.driver.find_element(By.LINK_TEXT, text))

    def click(self, element: WebElement) -> None:
        before = self.driver.current_url
        element.click()
        wait_until(lambda: self.driver.current_url != before)

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - of any type
        return self.driver.execute_script(f"return {expression}")

    def console_messages(self) -> list[str]:
        """Return the messages of the console since the last call."""
        log: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log]

    def save_screenshot(self, file: Path) -> None:
        picture = self._execute("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(picture["data"]))

    def _execute(self, command: str, **arguments: object) -> dict[str, Any]:
        result: dict[str, Any] = self.driver.execute_cdp_cmd(command, arguments)
        return result


@contextlib.contextmanager
def run_browser(port: int, profile: Path) -> Iterator[Browser]:
    """Run Debian's Chromium; nothing is downloaded."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs chromium and chromedriver: make test installs them")
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # it does not start as root
    chrome = Chrome(options=options, service=ChromeService(executable_path=driver))
    try:
        yield Browser(chrome, port)
    finally:
        chrome.quit()
