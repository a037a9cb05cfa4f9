"""What open pages show: each part made once however many pages look at it, and told when it has
changed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from common.logs import get

MAX_PAGES = 64
# So many parts are made at a time: what waits for Prometheus must not take every thread.
_AT_A_TIME = 4
_log = get("events")

News = Sequence[tuple[str, str]]
"""(part, JSON) of each part that has changed."""


class Pulse:
    """Wakes who shows things after every cycle of the controller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.ended = False

    def end(self) -> None:
        """Have every stream end, and cleanly: the server stops."""
        self.ended = True
        self.beat()

    def beat(self) -> None:
        """A cycle has ended; callable on any thread."""
        with self._lock:
            waiting = list(self._waiting.items())
        for event, loop in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def felt(self) -> Iterator[asyncio.Event]:
        """An event that every beat sets."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = asyncio.get_running_loop()
        try:
            yield event
        finally:
            with self._lock:
                self._waiting.pop(event, None)


async def set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until the event is set, so long at most.

    `asyncio.wait_for` of Python 3.11 forgets that it was cancelled where the event is set in the
    same moment, and the task that a server waits for when it stops would go on for ever.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@dataclass(slots=True)
class Section:
    """A part of the page, and how to make it. Where what `read` gives is as it was, nothing is
    made."""

    name: str
    read: Callable[[], Any]
    show: Callable[[Any], Any] = field(default=lambda value: value)
    """From what was read to plain data."""
    listed: bool = False
    """`read` gives a mapping, and each of its values is shown, and told of, by itself: what is
    told is a list of those that have changed."""


@dataclass(slots=True)
class _Shown:
    value: Any
    text: str
    version: int


class Topic:
    """Parts that are made together, after every cycle, while somebody looks."""

    def __init__(self, parts: Sequence[Section]) -> None:
        self._parts = parts
        self._shown: dict[str, dict[str, _Shown]] = {part.name: {} for part in parts}
        self._changed: dict[str, int] = {part.name: 0 for part in parts}
        """The version in which each part last changed."""
        self._failing: dict[str, str] = {}
        """Why a part could not be made the last time: said once, not in every cycle."""
        self.version = 0
        self.pages: set[asyncio.Event] = set()
        self.task: asyncio.Task[None] | None = None

    def news(self, since: int) -> News:
        """What has changed after that version."""
        found = []
        for part in self._parts:
            if self._changed[part.name] <= since:
                continue
            texts = [
                shown.text for shown in self._shown[part.name].values() if shown.version > since
            ]
            if texts:
                found.append((part.name, f"[{','.join(texts)}]" if part.listed else texts[0]))
        return found

    async def make(self, places: asyncio.Semaphore) -> None:
        """Make each part anew, one by one, so that what is quick to know is not kept back by what
        is not."""
        for part in self._parts:
            try:
                async with places:
                    gone, made = await run_in_threadpool(self._made, part)
            except Exception as error:
                # A page with a part less still serves, one that breaks off does not.
                self._failed(part, error)
                continue
            self._failing.pop(part.name, None)
            shown = self._shown[part.name]
            for key in gone:
                del shown[key]
            if made:
                self.version = self._changed[part.name] = self.version + 1
                for key, (value, text) in made.items():
                    shown[key] = _Shown(value, text, self.version)
                for page in self.pages:
                    page.set()

    def _failed(self, part: Section, error: Exception) -> None:
        said = repr(error)
        if self._failing.get(part.name) != said:
            _log.error("section failed", section=part.name, error=said, exc_info=error)
        self._failing[part.name] = said

    def _made(self, part: Section) -> tuple[Collection[str], Mapping[str, tuple[Any, str]]]:
        """The keys that are gone, and value and text of what has changed by key. In a thread, so
        it changes nothing."""
        value = part.read()
        values = value if part.listed else {"": value}
        before = self._shown[part.name]
        made = {}
        for key, each in values.items():
            shown = before.get(key)
            if shown is not None and (shown.value is each or shown.value == each):
                continue
            text = json.dumps(part.show(each), separators=(",", ":"), allow_nan=False)
            if shown is None or shown.text != text:
                made[key] = each, text
        return before.keys() - values.keys(), made


class Feed:
    """The topics that open pages look at. Lives in one event loop."""

    def __init__(self, pulse: Pulse, refresh_s: Callable[[], float]) -> None:
        self.pulse = pulse
        self.refresh_s = refresh_s
        """Seconds after which topics are made anew though no cycle has ended."""
        self._topics: dict[Any, Topic] = {}
        self._pages = 0
        self._places = asyncio.Semaphore(_AT_A_TIME)

    @property
    def full(self) -> bool:
        """Whether as many pages are open as may be."""
        return self._pages >= MAX_PAGES

    @contextmanager
    def looking(
        self, event: asyncio.Event, wanted: Mapping[Any, Sequence[Section]]
    ) -> Iterator[Sequence[Topic]]:
        """The topics of these keys, each kept up to date, and `event` set when one has news,
        until the block is left."""
        self._pages += 1
        topics = [self._joined(key, parts, event) for key, parts in wanted.items()]
        try:
            yield topics
        finally:
            self._pages -= 1
            for key in wanted:
                self._leave(key, event)

    def _joined(self, key: Any, parts: Sequence[Section], event: asyncio.Event) -> Topic:
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic(parts)
            topic.task = asyncio.get_running_loop().create_task(self._keep_up(topic))
        topic.pages.add(event)
        return topic

    def _leave(self, key: Any, event: asyncio.Event) -> None:
        topic = self._topics[key]
        topic.pages.discard(event)
        if not topic.pages:
            del self._topics[key]
            if topic.task is not None:
                topic.task.cancel()

    async def _keep_up(self, topic: Topic) -> None:
        with self.pulse.felt() as beat:
            while not self.pulse.ended:
                beat.clear()
                await topic.make(self._places)
                await set_within(beat, self.refresh_s())
        for page in topic.pages:
            page.set()
