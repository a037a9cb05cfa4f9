"""Chromium, driven over its own protocol, and what pages in it complain about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

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


@dataclass
class Complaints:
    """What a page's console and network said that it should not have."""

    said: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Requests to anything but the page's own server."""


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

    def heard(kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            complaints.said.append(text)

    page.on("console", lambda message: heard(message.type, message.text))
    page.on("pageerror", lambda error: heard("error", str(error)))

    def asked(address: str) -> None:
        if not address.startswith((url.partition("#")[0], "data:")):
            complaints.foreign.append(address)

    page.on("request", lambda request: asked(request.url))
    page.goto(url)
    page.wait_for_selector("#live.on")
    yield page, complaints
    page.close()
