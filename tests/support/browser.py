"""Chromium, driven over its own protocol, and what pages in it complain about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, Request, sync_playwright

CHROMIUM = "/usr/bin/chromium"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
Theme = Literal["dark", "light"]
# A browser's first start on a machine that is busy with other things may take this long.
_PATIENCE_MS = 120_000
_CUT = "ERR_NETWORK_CHANGED"
_LOADS = 10


@dataclass
class Complaints:
    """What a page's console and network said that it should not have."""

    said: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Requests to anything but the page's own server."""
    asked: list[str] = field(default_factory=list)
    """Every request and what became of it."""

    def listen(self, page: Page, origin: str) -> None:
        """Note what happens on `page`, whose own server is at `origin`."""

        def heard(kind: str, text: str) -> None:
            if kind in ("error", "warning") and _CUT not in text:
                self.said.append(text)

        def requested(address: str) -> None:
            self.asked.append(f"asked {address}")
            if not address.startswith((origin, "data:")):
                self.foreign.append(address)

        page.on("console", lambda message: heard(message.type, message.text))
        page.on("pageerror", lambda error: heard("error", str(error)))
        page.on("request", lambda request: requested(request.url))
        page.on("response", lambda got: self.asked.append(f"{got.status} {got.url}"))
        page.on("requestfailed", lambda lost: self.asked.append(f"{lost.failure} {lost.url}"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser with a profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser, url: str, *, width: int = 1440, theme: Theme = "dark"
) -> Iterator[tuple[Page, Complaints]]:
    """The page at `url`, live, with what it complains about while it is open."""
    height = 1000 if width > 500 else 844
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    complaints = Complaints()
    complaints.listen(page, url.partition("#")[0])
    try:
        visit(page, url)
        page.wait_for_selector("#live.on", timeout=_PATIENCE_MS)
    except Error as error:
        text = page.locator("body").inner_text()
        noted = "\n".join((*complaints.said, *complaints.asked))
        raise AssertionError(f"{error}\n{noted}\nThe page says:\n{text}") from error
    yield page, complaints
    page.close()


def visit(page: Page, url: str) -> None:
    """Go there, and again when the browser cut a part of the page off on the way.

    It does so when the machine's interfaces change, as they do while the engine of a test beside
    this one makes networks.
    """
    cut: list[str] = []

    def failed(lost: Request) -> None:
        if _CUT in (lost.failure or ""):
            cut.append(lost.url)

    page.on("requestfailed", failed)
    for _ in range(_LOADS):
        cut.clear()
        try:
            page.goto(url, timeout=_PATIENCE_MS)
        except Error as error:
            if _CUT not in str(error):
                raise
        if not cut:
            break
    page.remove_listener("requestfailed", failed)


def violations(page: Page) -> list[str]:
    """What axe-core finds, by rule and element."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]
