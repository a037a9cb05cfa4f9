"""Each part of the page is made once, for all who look, and told when it has changed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from scaler.loop.controller import Controller
from scaler.policy.target import Target
from scaler.web.events import stream
from scaler.web.feed import MAX_PAGES, Feed, Pulse, Section, set_within
from scaler.web.status import StatusBoard
from tests.support.crew import Crew, board_of, controller_of
from tests.support.log_lines import capture_logs

MANY = 40


class Page:
    """Reads a stream as the page does, and keeps what it was told."""

    def __init__(self, events: AsyncIterator[str]) -> None:
        self._events = events
        self.told: list[tuple[str, Any]] = []

    async def read_until(self, enough: Callable[[Page], bool]) -> None:
        async with asyncio.timeout(60):
            while not enough(self):
                lines = (await anext(self._events)).splitlines()
                if lines[0].startswith("event: "):
                    name = lines[0].removeprefix("event: ")
                    self.told.append((name, json.loads(lines[2].removeprefix("data: "))))

    def of(self, name: str) -> list[Any]:
        return [data for part, data in self.told if part == name]


def told(name: str, times: int) -> Callable[[Page], bool]:
    """Whether a page was told of a section so often."""
    return lambda page: len(page.of(name)) >= times


def whole(page: Page) -> bool:
    parts = {"status", "explanation", "fleet", "decisions", "orders"}
    return parts | {"system", "names", "targets", "alerts", "chart", "events"} == {
        name for name, _ in page.told
    }


class Site:
    """A board of many targets, with its feed."""

    def __init__(self, folder: Path) -> None:
        self.crew = Crew()
        targets = [Target(name=f"t{n:03}", queue=f"q{n}", service=f"s{n}") for n in range(MANY)]
        self.controller: Controller = controller_of(self.crew, targets, folder)
        self.board: StatusBoard = board_of(self.crew, self.controller)
        self.pulse = Pulse()
        self.feed = Feed(self.pulse, lambda: 60.0)
        self.controller.subscribe(self.pulse.beat)

    def page(self, target: str = "t000", span: str = "1h") -> Page:
        found = self.controller.target(target)
        assert found is not None
        return Page(stream(self.board, self.feed, found, span))

    async def cycle(self) -> None:
        self.crew.now += 1
        await asyncio.to_thread(self.controller.cycle)


@pytest.fixture
def site(tmp_path: Path) -> Any:
    site = Site(tmp_path)
    yield site
    site.controller.history.close()


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def test_pages_of_the_same_target_and_span_share_what_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[str] = Counter()
    for name in ("status", "summary", "explanation"):
        call = getattr(site.board, name)

        def counted(*given: Any, name: str = name, call: Any = call) -> Any:
            made[name] += 1
            return call(*given)

        monkeypatch.setattr(site.board, name, counted)

    async def body() -> None:
        pages = [site.page() for _ in range(20)]
        await asyncio.gather(*(page.read_until(whole) for page in pages))
        assert made == {"status": 1, "explanation": 1, "summary": MANY}
        site.crew.waiting["t000"] = 3
        await site.cycle()
        await asyncio.gather(*(p.read_until(told("status", 2)) for p in pages))
        assert made["status"] == 2

    run(body())


def test_only_what_has_changed_is_told(site: Site) -> None:
    async def body() -> None:
        page = site.page()
        await page.read_until(whole)
        await site.cycle()
        site.crew.waiting["t007"] = 9
        await site.cycle()
        await page.read_until(told("targets", 2))
        first, *later = page.of("targets")
        assert len(first) == MANY
        changed = [row["name"] for rows in later for row in rows]
        assert "t007" in changed
        assert len(changed) < 3 * MANY
        assert len(page.of("names")) == 1
        assert len(page.of("chart")) == 1, "no new step has come"

    run(body())


def test_a_chart_is_made_when_a_step_is_over_and_not_in_every_cycle(site: Site) -> None:
    async def body() -> None:
        page = site.page(span="24h")
        await page.read_until(whole)
        for turn in range(10):
            site.crew.waiting["t000"] = turn
            await site.cycle()
            await page.read_until(told("status", turn + 1))
        assert len(page.of("chart")) == 1
        site.crew.now += 360
        site.crew.waiting["t000"] = 99
        await site.cycle()
        await page.read_until(told("chart", 2))

    run(body())


def test_targets_that_go_are_no_longer_named(site: Site) -> None:
    async def body() -> None:
        page = site.page()
        await page.read_until(whole)
        left = site.controller.targets[:3]
        site.controller.reconfigure(left, {"process": site.crew})
        await site.cycle()
        await page.read_until(told("names", 2))
        assert page.of("names")[-1] == ["t000", "t001", "t002"]

    run(body())


def test_nothing_is_made_once_nobody_looks(site: Site) -> None:
    made = Counter[str]()

    def read() -> int:
        made["part"] += 1
        return made["part"]

    async def body() -> None:
        event = asyncio.Event()
        with site.feed.looking(event, {"key": [Section("part", read)]}):
            await asyncio.wait_for(event.wait(), 60)
        before = made["part"]
        for _ in range(5):
            await site.cycle()
        assert made["part"] == before

    run(body())


def test_a_part_that_fails_is_logged_once_and_comes_back(site: Site) -> None:
    broken = True

    def read() -> str:
        if broken:
            raise OSError("disk full")
        return "well"

    async def body() -> None:
        nonlocal broken
        event = asyncio.Event()
        parts = [Section("sick", read), Section("other", lambda: site.crew.now)]
        with capture_logs() as logs, site.feed.looking(event, {"key": parts}) as (topic,):
            for turn in range(3):
                await asyncio.wait_for(event.wait(), 60)
                event.clear()
                assert [name for name, _ in topic.news(turn)] == ["other"]
                await site.cycle()
            await asyncio.wait_for(event.wait(), 60)
            broken = False
            await site.cycle()
            async with asyncio.timeout(60):
                while "sick" not in dict(topic.news(0)):
                    await event.wait()
                    event.clear()
                    await asyncio.sleep(0)
        assert [line["section"] for line in logs if line["event"] == "section failed"] == ["sick"]

    run(body())


def test_so_many_pages_may_be_open_and_closed_ones_make_room(site: Site) -> None:
    async def body() -> None:
        streams = [
            stream(site.board, site.feed, site.controller.targets[0], "1h")
            for _ in range(MAX_PAGES)
        ]
        for each in streams:
            await anext(each)
        assert site.feed.full
        for each in streams:
            async with aclosing(each):
                pass
        assert not site.feed.full

    run(body())


@pytest.mark.parametrize("turns", range(4))
def test_a_wait_that_is_cancelled_in_the_moment_of_a_beat_is_cancelled(turns: int) -> None:
    """The server waits for every task when it stops: one that forgets its end hangs the stop."""

    async def body() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(set_within(event, 60))
        await asyncio.sleep(0.01)
        event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        taken = task.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.done()
        assert task.cancelled() == taken

    run(body())


def test_streams_end_when_the_server_does(site: Site) -> None:
    async def body() -> None:
        page = site.page()
        await page.read_until(whole)
        site.pulse.end()
        with pytest.raises(StopAsyncIteration):
            await page.read_until(lambda _: False)

    run(body())
