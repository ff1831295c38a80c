"""A person's browser: opens the page, and notes whatever the browser complains about."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.api.server import RunningApi
from tests.integration.pipeline import REPOSITORY

SCREENSHOTS = REPOSITORY / "artifacts" / "page"

Theme = Literal["light", "dark"]


@dataclass
class Visitor:
    """Opens pages of one API, each in a context of its own that shares nothing with the others."""

    browser: Browser
    origin: str
    contexts: list[BrowserContext] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(
        self,
        address: str | None = "#/",
        *,
        width: int = 1440,
        height: int = 900,
        theme: Theme = "light",
        expected: str | None = None,
    ) -> Page:
        """The page at this address (what follows the origin; None: nowhere yet).

        Complaints that match `expected` are no faults.
        """
        context = self.browser.new_context(
            base_url=self.origin,
            viewport={"width": width, "height": height},
            color_scheme=theme,
            reduced_motion="reduce",
        )
        self.contexts.append(context)
        page = context.new_page()

        def complain(text: str) -> None:
            if expected is None or not re.search(expected, text):
                self.complaints.append(text)

        def listen(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                complain(message.text)

        page.on("console", listen)
        page.on("pageerror", lambda error: complain(str(error)))
        if address is not None:
            page.goto(f"/{address}")
        return page


@contextmanager
def visiting(browser: Browser, api: RunningApi) -> Iterator[Visitor]:
    """A visitor of this API; fails where the browser complained of an error, or of the content security policy."""
    visitor = Visitor(browser, f"http://127.0.0.1:{api.port}")
    try:
        yield visitor
    finally:
        for context in visitor.contexts:
            context.close()
    assert not visitor.complaints


def settled(page: Page) -> None:
    """Return when the view shows what it has read: nothing is busy, no placeholder is left."""
    expect(page.locator("[aria-busy=true], .skeleton")).to_have_count(0)


def violations(page: Page) -> Sequence[str]:
    """What axe finds wrong, a line each."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']]}" for one in found]


def photograph(page: Page, name: str) -> Path:
    """A picture of the whole page, kept for whoever wants to look."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path, full_page=True)
    return path
