"""The shared view of Prometheus: each distinct query at most once a tick, however many ask.

Each query has a moment of its own within the tick, and is evaluated (the `time` parameter) for
that. The moment follows from the query alone, so replicas of this server, which ask at different
times, get the same answer; and a thousand queries do not fall due all at once. The queries of one
trigger share the moment of its first, since what they say belongs together.

The wall clock says what to evaluate a query for and nothing else: how old an outcome is follows
from the monotonic clock, so that a step of the other neither freezes a value nor keeps one for
ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

from common.logs import get
from scaler.external.errors import LimitError, TooSlowError, UnknownValueError

_IDLE_S = 600.0
_OUTLIVED_TICKS = 2
_log = get("external-scaler")


class Evaluator(Protocol):
    """What evaluates queries."""

    async def number(self, promql: str, at: float) -> float:
        """The value at that time. Raises UnknownValueError."""


@dataclass(frozen=True, slots=True)
class KnownValue:
    """A known value and the epoch second it was evaluated for."""

    value: float
    at: float
    asked_at: float
    """Monotonic seconds of that moment, by which its age is judged."""


@dataclass(frozen=True, slots=True)
class Missing:
    """No value, and why; `last` is the last one known."""

    reason: str
    last: KnownValue | None


Outcome = KnownValue | Missing
Report = Callable[[str, float], None]
"""Called with the outcome (ok, unknown, failed) and the seconds of every query sent."""


@dataclass(slots=True)
class _Entry:
    query: str
    at: float = 0.0
    """The tick that `outcome` is of."""
    asked_at: float = 0.0
    """Monotonic seconds of that tick."""
    outcome: Outcome | None = None
    last: KnownValue | None = None
    used_at: float = 0.0
    """Monotonic seconds at which it was last asked for."""
    slow: bool = False
    fetch: asyncio.Task[Outcome] | None = None
    watchers: set[asyncio.Event] = field(default_factory=set)


class Upstream:
    """Values of queries, fetched when asked for and, while a stream waits on them, every
    `stream_tick_s`. Lives in one event loop."""

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        tick_s: float,
        stream_tick_s: float,
        max_queries: int,
        max_parallel: int,
        patience_s: float,
        report: Report,
    ) -> None:
        self._evaluator = evaluator
        self._clock = clock
        self._monotonic = monotonic
        self._tick_s = tick_s
        self._stream_tick_s = stream_tick_s
        self._max_queries = max_queries
        self._patience_s = patience_s
        self._report = report
        self._entries: dict[tuple[str, str], _Entry] = {}
        # Queries that did not come back in time last time share a quarter of the places, so
        # that they can't keep the others waiting.
        self._places = asyncio.Semaphore(max_parallel - max_parallel // 4)
        self._slow_places = asyncio.Semaphore(max(1, max_parallel // 4))

    def __len__(self) -> int:
        return len(self._entries)

    async def get_all(self, queries: tuple[str, ...]) -> dict[str, Outcome]:
        """The outcome of each for their present tick; missing when it does not come in
        `patience_s`.

        Raises LimitError when there are too many queries.
        """
        lead = queries[0]
        if len(queries) == 1:
            return {lead: await self._get(lead, lead)}
        outcomes = await asyncio.gather(*(self._get(query, lead) for query in queries))
        return dict(zip(queries, outcomes, strict=True))

    async def _get(self, query: str, lead: str) -> Outcome:
        now = self._clock()
        entry = self._entry(query, lead)
        tick = tick_of(lead, now, self._tick_s)
        # An outcome of the future is one from before the clock was set back.
        of_now = tick <= entry.at <= now and not self._outlived(entry, self._tick_s)
        if entry.outcome is not None and of_now:
            return entry.outcome
        try:
            async with asyncio.timeout(self._patience_s):
                return await asyncio.shield(self._fetch(entry, tick))
        except TimeoutError:
            return Missing(f"no place at Prometheus within {self._patience_s:g} s", entry.last)

    @contextmanager
    def watch(self, queries: tuple[str, ...], event: asyncio.Event) -> Iterator[None]:
        """Keep `queries` fresh and set `event` after each new outcome."""
        entries = [self._entry(query, queries[0]) for query in queries]
        for entry in entries:
            entry.watchers.add(event)
        try:
            yield
        finally:
            for entry in entries:
                entry.watchers.discard(event)

    async def run(self) -> None:
        """Refresh what is watched, and forget what is not asked for; until cancelled."""
        while True:
            tick = self._clock() // self._stream_tick_s * self._stream_tick_s
            for entry in self._entries.values():
                due = entry.at != tick or self._outlived(entry, self._stream_tick_s)
                if entry.watchers and due:
                    entry.used_at = self._monotonic()
                    self._fetch(entry, tick)
            self._forget()
            # Wakes again just after the next tick, also when the clock was set.
            wait = tick + self._stream_tick_s - self._clock()
            await asyncio.sleep(min(max(0.01, wait), self._stream_tick_s))

    def _outlived(self, entry: _Entry, tick_s: float) -> bool:
        """Whether its tick has been over for so long that the wall clock must have stood still or
        run back meanwhile."""
        return self._monotonic() - entry.asked_at > _OUTLIVED_TICKS * tick_s

    def _entry(self, query: str, lead: str) -> _Entry:
        entry = self._entries.get((query, lead))
        if entry is None:
            if len(self._entries) >= self._max_queries:
                raise LimitError(
                    f"{self._max_queries} distinct queries are in use, which is the most allowed"
                )
            entry = self._entries[query, lead] = _Entry(query)
        entry.used_at = self._monotonic()
        return entry

    def _forget(self) -> None:
        since = self._monotonic() - _IDLE_S
        idle = [k for k, e in self._entries.items() if not e.watchers and e.used_at < since]
        for key in idle:
            del self._entries[key]

    def _fetch(self, entry: _Entry, tick: float) -> asyncio.Task[Outcome]:
        if entry.fetch is None:
            entry.fetch = asyncio.get_running_loop().create_task(self._ask(entry, tick))
        return entry.fetch

    async def _ask(self, entry: _Entry, tick: float) -> Outcome:
        since_tick_s = min(max(0.0, self._clock() - tick), self._tick_s)
        asked_at = self._monotonic() - since_tick_s
        try:
            async with self._slow_places if entry.slow else self._places:
                outcome = await self._outcome(entry, tick, asked_at)
            entry.at, entry.asked_at, entry.outcome = tick, asked_at, outcome
            for event in entry.watchers:
                event.set()
            return outcome
        finally:
            entry.fetch = None

    async def _outcome(self, entry: _Entry, tick: float, asked_at: float) -> Outcome:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        kind, slow = "ok", False
        try:
            value = await self._evaluator.number(entry.query, tick)
            entry.last = KnownValue(value, tick, asked_at)
            return entry.last
        except UnknownValueError as error:
            kind, slow = "unknown", isinstance(error, TooSlowError)
            return Missing(str(error), entry.last)
        except Exception as error:
            kind = "failed"
            _log.error("query failed", query=entry.query, error=repr(error))
            return Missing(f"internal error: {type(error).__name__}", entry.last)
        finally:
            entry.slow = slow
            self._report(kind, loop.time() - begun)


def tick_of(lead: str, now: float, tick_s: float) -> float:
    """The last moment, at or before `now`, for which a trigger led by this query is evaluated."""
    phase = crc32(lead.encode()) / 2**32 * tick_s
    return (now - phase) // tick_s * tick_s + phase
