"""Headless Chromium, for tests that meet the report page as its reader does."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def chromium() -> Iterator[Any]:
    """A running browser; skips the test where there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield opened
        opened.close()


class Opened:
    """A page in the browser; what its console said and what it asked the network for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, **options}
        )
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._ask)
        self.address = path.as_uri()
        self.go()

    def _ask(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.asked.append(request.url)

    def go(self, fragment: str = "") -> None:
        self.page.goto(self.address + fragment)
        self.page.wait_for_function("() => document.documentElement.dataset.ready")

    def ids(self) -> list[str]:
        """Run ids in the table, as many as are drawn."""
        cells: list[str] = self.page.locator("#grid .body .row .id").all_text_contents()
        return cells

    def panel(self) -> str:
        self.page.wait_for_selector("#panel[open]")
        return str(self.page.locator("#panel-title").text_content())

    def sideways(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))
