"""The status page in Chromium, over a controller in memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from pydantic import SecretStr

from common.http import HttpSettings
from scaler.loop.controller import Controller
from scaler.orchestrators.base import FleetHandle, OrchestratorError
from scaler.policy.observation import Worker
from scaler.policy.target import Target
from scaler.web.access import Access
from scaler.web.app import create_app
from scaler.web.web_server import WebServer
from tests.support.browser import Theme, chromium, opened, violations, visit
from tests.support.crew import Crew, board_of, controller_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
expect.set_options(timeout=20_000)
ACT, LOOK = "act-token-of-tests", "look-token-of-tests"
TARGETS = [
    Target(min_workers=2, max_workers=8),
    Target(name="thumbnails", queue="thumbs", service="thumbs"),
]


class Site:
    """A server over a Crew that cycles."""

    def __init__(
        self,
        folder: Path,
        *,
        look: str | None = None,
        targets: Sequence[Target] = TARGETS,
        crew: Crew | None = None,
    ) -> None:
        self.crew = crew or Crew()
        self.crew.states["video-creator"] = {"w-1": "busy", "w-2": "idle", "w-3": "draining"}
        self.controller: Controller = controller_of(self.crew, targets, folder)
        http = HttpSettings(
            http_host="127.0.0.1", http_bearer_token=SecretStr(look) if look else None
        )
        board = board_of(self.crew, self.controller, refresh_s=0.5)
        app = create_app(board, Access(http, SecretStr(ACT)), health_check=lambda: None)
        self.server = WebServer(http, app)
        self.url = f"http://127.0.0.1:{self.server.port}/"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._cycle, daemon=True)

    def __enter__(self) -> Site:
        self.server.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.server.__exit__(None, None, None)
        self.controller.history.close()

    def _cycle(self) -> None:
        while not self._stop.wait(0.2):
            self.crew.now += 1
            self.controller.cycle()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as site:
        yield site


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing(browser: Browser, site: Site, width: int, theme: Theme) -> None:
    site.crew.waiting["video-creator"] = 20
    with opened(browser, site.url, width=width, theme=theme) as (page, complaints):
        page.wait_for_selector("#chart svg")
        page.locator(".decision summary").first.click()
        page.wait_for_selector(".decision table")
        assert violations(page) == []
        page.click("#do-override")
        assert violations(page) == []
        page.keyboard.press("Escape")
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, "nothing sticks out sideways"
    assert complaints.said == []
    assert complaints.foreign == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_in_trouble(browser: Browser, site: Site, theme: Theme) -> None:
    for each in range(100):
        site.crew.states["video-creator"][f"many-{each}"] = "unhealthy"
    with opened(browser, site.url, theme=theme) as (page, _):
        site.crew.blind = True
        page.wait_for_selector(".banner")
        assert violations(page) == []


def test_what_happens_is_shown(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, complaints):
        expect(page.locator("#verdict-text")).to_have_text("Keeping up")
        site.crew.waiting["video-creator"] = 20
        expect(page.locator("#n-waiting")).to_have_text("20")
        expect(page.locator("#verdict-text")).to_have_text("At the maximum of 8: 20 jobs wait")
        expect(page.locator("#fleet .w")).to_have_count(8)
        expect(page.locator("#sentence")).to_contain_text("max_workers is 8")
        expect(page.locator("#alerts")).to_contain_text("QueueDepthHigh")
        expect(page.locator(".decision").first).to_contain_text("20 waiting")
    assert complaints.said == []


def test_a_workers_mark_names_its_job(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, _):
        mark = page.get_by_role("listitem").filter(has_text="w-1")
        expect(mark).to_contain_text("job job-of-w-1")
        expect(mark).to_have_attribute("title", re.compile("job job-of-w-1 [0-9]+ % done"))
        expect(page.get_by_role("listitem").filter(has_text="w-2")).not_to_contain_text("job")


def test_a_decision_opens_to_inputs_linked_to_prometheus(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, _):
        page.locator(".decision summary").first.click()
        link = page.locator(".decision table a").first
        assert str(link.get_attribute("href")).startswith(
            "http://prometheus:9090/graph?g0.expr=rabbitmq_queue_messages_ready"
        )
        grafana = page.locator("#grafana").get_attribute("href")
        assert grafana == "http://grafana:3000/d/autoscaling?var-target=video-creator"


def test_blindness_is_said_with_its_begin_and_what_is_held(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, complaints):
        page.wait_for_selector("#chart svg")
        site.crew.blind = True
        banner = page.locator(".banner")
        expect(banner).to_contain_text("Prometheus does not answer since ")
        expect(banner).to_contain_text("Held: video-creator at 2 workers")
        expect(page.locator("#verdict-text")).to_have_text("Signals are unknown: holding 2 workers")
        expect(page.locator("#verdict-since")).to_contain_text("since ")
        site.crew.blind = False
        expect(banner).to_have_count(0)
    assert complaints.said == []


def test_an_order_by_keyboard_alone(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, complaints):
        page.focus("#do-pause")
        page.keyboard.press("Enter")
        page.focus("#order-reason")
        page.keyboard.type("a deploy")
        page.keyboard.press("Tab")
        page.keyboard.type(ACT)
        page.keyboard.press("Enter")
        expect(page.locator("#verdict-text")).to_have_text("Paused at 2 workers")
        expect(page.locator("#orders")).to_contain_text("a deploy")
        expect(page.locator("#order")).not_to_be_visible()
    assert complaints.said == []


def test_a_wrong_token_is_said_in_the_dialog(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, _):
        page.click("#do-override")
        page.fill("#order-replicas", "3")
        page.fill("#order-reason", "x")
        page.fill("#order-token", "wrong-token-of-tests")
        page.click("#order-go")
        expect(page.locator("#order-error")).to_contain_text("takes the act token")
    assert site.controller.history.orders("video-creator") == []


def test_the_chart_is_read_by_arrow_keys(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, _):
        page.focus("#chart svg")
        page.keyboard.press("ArrowLeft")
        expect(page.locator("#chart-read")).to_contain_text("in progress")


def test_another_target_is_chosen(browser: Browser, site: Site) -> None:
    with opened(browser, site.url) as (page, _):
        page.locator("#target-list button").nth(1).click()
        expect(page.locator("#name")).to_have_text("thumbnails")
        assert page.url.endswith("#thumbnails")


def test_of_three_hundred_targets_one_is_found(browser: Browser, tmp_path: Path) -> None:
    names = [f"team-{n % 7}-queue-{n:03}" for n in range(300)]
    targets = [Target(name=name, queue=name, service=name) for name in names]
    with (
        Site(tmp_path, targets=targets) as site,
        opened(browser, f"{site.url}#{names[200]}") as (page, complaints),
    ):
        expect(page.locator("#name")).to_have_text(names[200])
        rows = page.locator("#target-list li:visible")
        expect(rows).to_have_count(300)
        expect(page.locator("#target-sum")).to_contain_text("300 targets")
        page.fill("#target-search", "QUEUE-29")
        expect(rows).to_have_count(10)
        expect(page.locator("#target-sum")).to_contain_text("10 of 300 targets")
        site.crew.waiting[names[299]] = 500
        expect(rows.last).to_contain_text("500 jobs wait")
        page.fill("#target-search", "500 jobs")
        expect(rows).to_have_count(1)
        assert violations(page) == []
        rows.locator("button").click()
        expect(page.locator("#name")).to_have_text(names[299])
        expect(page.locator("#n-waiting")).to_have_text("500")
        site.controller.reconfigure(targets[:200], {"process": site.crew})
        expect(page.locator("#name")).to_have_text(names[0])
        page.fill("#target-search", "")
        expect(rows).to_have_count(200)
    assert complaints.said == []


class Away(Crew):
    """Neither Prometheus nor the engine has ever answered, until they do."""

    def __init__(self) -> None:
        super().__init__()
        self.blind = True

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        if self.blind:
            raise OrchestratorError("the engine is not reachable")
        return super().fleet(target, workers)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_where_nothing_was_ever_known_the_page_says_so(
    browser: Browser, tmp_path: Path, theme: Theme
) -> None:
    with (
        Site(tmp_path, crew=Away()) as site,
        opened(browser, site.url, theme=theme) as (page, complaints),
    ):
        verdict = page.locator("#verdict-text")
        expect(verdict).to_contain_text("no number is given, as none was ever known")
        for number in ("#n-waiting", "#n-flight", "#n-workers", "#n-target"):
            expect(page.locator(number)).to_have_text("?")
        expect(page.locator("#sentence")).to_contain_text("No number was ever known")
        expect(page.locator("#chart")).to_contain_text("No data for this range")
        expect(page.locator("#alerts")).to_contain_text("Unknown while Prometheus is silent")
        expect(page.locator(".decision .chip").first).to_have_text("■ hold ?")
        page.locator(".decision summary").first.click()
        shown = page.locator("body").inner_text()
        assert not re.search(r"\b(null|NaN|undefined|None)\b", shown)
        assert violations(page) == []
        site.crew.blind = False
        expect(page.locator("#n-workers")).to_contain_text("2")
        expect(page.locator("#n-target")).to_have_text("2")
    assert complaints.said == []


def test_what_fails_beside_the_deciding_is_shown_until_it_works(
    browser: Browser, site: Site
) -> None:
    broken = True

    def listens() -> None:
        if broken:
            raise OSError("no such pod")

    site.controller.subscribe(listens, "pods")
    with opened(browser, site.url) as (page, complaints):
        expect(page.locator(".banner")).to_contain_text("no such pod")
        assert violations(page) == []
        broken = False
        expect(page.locator(".banner")).to_have_count(0)
    assert complaints.said == []


def test_looking_with_a_token(browser: Browser, tmp_path: Path) -> None:
    with Site(tmp_path, look=LOOK) as site:
        page = browser.new_page()
        visit(page, site.url)
        page.fill("#login-token", LOOK)
        page.keyboard.press("Enter")
        expect(page.locator("#verdict-text")).to_have_text("Keeping up")
        page.close()


def test_a_server_that_goes_and_comes_is_noticed(browser: Browser, tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site, opened(browser, site.url) as (page, _):
        expect(page.locator("#live-text")).to_have_text("Live")
        site.server.__exit__(None, None, None)
        expect(page.locator(".banner")).to_contain_text("The scaler does not answer")


@pytest.mark.parametrize(
    ("path", "status", "body"), [("session", 429, "{}"), ("summary", 500, "no JSON")]
)
def test_a_begin_that_is_refused_is_tried_again(
    browser: Browser, site: Site, path: str, status: int, body: str
) -> None:
    page = browser.new_page()
    where = f"**/api/{path}"
    page.route(where, lambda route: route.fulfill(status=status, body=body))
    visit(page, site.url)
    expect(page.locator("#live-text")).to_have_text("Reconnecting…")
    page.unroute(where)
    expect(page.locator("#live-text")).to_have_text("Live")
    expect(page.locator("#verdict-text")).to_have_text("Keeping up")
    expect(page.locator(".banner")).to_have_count(0)
    page.close()


def test_targets_that_come_and_go_are_followed(browser: Browser, tmp_path: Path) -> None:
    with Site(tmp_path, targets=()) as site:
        page = browser.new_page()
        visit(page, site.url)
        expect(page.locator("#live-text")).to_have_text("Reconnecting…")
        expect(page.locator("#verdict-text")).to_have_text("No target yet")
        site.controller.reconfigure(TARGETS, {"process": site.crew})
        expect(page.locator("#name")).to_have_text("video-creator")
        expect(page.locator("#target-list button")).to_have_count(2)
        site.controller.reconfigure(TARGETS[1:], {"process": site.crew})
        expect(page.locator("#name")).to_have_text("thumbnails")
        expect(page.locator("#live-text")).to_have_text("Live")
        page.close()
