"""The status page in Chromium against the whole running loop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import chromium, opened, violations
from tests.support.loop import Loop, dialogue
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
PATIENCE_MS = 120_000


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_a_burst_is_seen_as_it_happens(loop: Loop, browser: Browser, tmp_path: Path) -> None:
    with opened(browser, loop.stack.scaler_url + "/") as (page, complaints):
        expect(page.locator("#verdict-text")).to_have_text("Nothing to do", timeout=PATIENCE_MS)
        loop.broker.publish([dialogue(f"page-{number}", turns=3) for number in range(8)])
        # Eight jobs, and headroom for what earlier arrivals let expect.
        grown = page.locator(".decision .chip.up", has_text=re.compile("→ (?:[4-9]|10)"))
        expect(grown.first).to_be_visible(timeout=PATIENCE_MS)
        # Not all eight at once: on a slow machine the first are done before the last begin.
        expect(page.locator("#fleet .w.busy").nth(2)).to_be_visible(timeout=PATIENCE_MS)
        assert violations(page) == []
        page.screenshot(path=tmp_path / "burst.png", full_page=True)
        loop.done([f"page-{number}" for number in range(8)], timeout_s=300)
        expect(page.locator("#verdict-text")).to_have_text("Nothing to do", timeout=PATIENCE_MS)
    assert complaints.said == []
    assert complaints.foreign == []


def test_prometheus_away_is_said_with_what_is_held(loop: Loop, browser: Browser) -> None:
    prometheus = loop.stack.parts["prometheus"]
    with opened(browser, loop.stack.scaler_url + "/") as (page, complaints):
        prometheus.stop()
        try:
            banner = page.locator(".banner")
            expect(banner).to_contain_text("Prometheus does not answer since", timeout=PATIENCE_MS)
            held = f"Held: video-creator at {loop.target()} worker"
            expect(banner).to_contain_text(held, timeout=PATIENCE_MS)
            expect(page.locator("#verdict-since")).to_contain_text("since", timeout=PATIENCE_MS)
            assert violations(page) == []
        finally:
            prometheus.start()
            prometheus.wait_ready()
        expect(banner).to_have_count(0, timeout=PATIENCE_MS)
        until(lambda: loop.dashboard()["queue_depth"] == 0, "signals known again")
    assert complaints.said == []
