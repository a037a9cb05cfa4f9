"""Sharing, ticks, forgetting, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.external import upstream as module
from scaler.external.answers import of_queries
from scaler.external.errors import LimitError, TooSlowError, UnknownValueError
from scaler.external.instant_queries import parse
from scaler.external.metadata import parse as parse_metadata
from scaler.external.upstream import KnownValue, Missing, Outcome, Upstream, tick_of

TICK_S = 5.0


class Source:
    """Answers what the test says; holds back queries that are named in `held`."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, float]] = Counter()
        self.value: float | Exception = 1.0
        self.held: dict[str, asyncio.Event] = {}

    async def number(self, promql: str, at: float) -> float:
        self.asked[promql, at] += 1
        if promql in self.held:
            await self.held[promql].wait()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Clock:
    """A wall clock, and a monotonic one that says the same until the first is set."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._set_by = 0.0

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now - self._set_by

    def set_by(self, seconds: float) -> None:
        self.now += seconds
        self._set_by += seconds


Body = Callable[[Source, Clock, Upstream], Awaitable[None]]


def run(body: Body, *, max_queries: int = 10, max_parallel: int = 4) -> Source:
    async def main() -> Source:
        source, clock = Source(), Clock()
        shared = Upstream(
            source,
            clock=clock,
            monotonic=clock.monotonic,
            tick_s=TICK_S,
            stream_tick_s=1,
            max_queries=max_queries,
            max_parallel=max_parallel,
            patience_s=0.2,
            report=lambda outcome, seconds: None,
        )
        await asyncio.wait_for(body(source, clock, shared), 10)
        return source

    return asyncio.run(main())


def known(value: float, at: float) -> KnownValue:
    """With a clock that was never set."""
    return KnownValue(value, at, at)


async def get(shared: Upstream, query: str) -> Outcome:
    return (await shared.get_all((query,)))[query]


def test_all_who_ask_in_one_tick_share_one_query_at_its_moment() -> None:
    this, then = tick_of("a", 1_003.7, TICK_S), tick_of("a", 1_003.7, TICK_S) + TICK_S

    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        clock.now = 1_003.7
        outcomes = await asyncio.gather(*(get(shared, "a") for _ in range(50)))
        assert set(outcomes) == {known(1.0, this)}
        clock.now = then - 0.01
        await get(shared, "a")
        clock.now = then
        assert await get(shared, "a") == known(1.0, then)

    assert run(body).asked == {("a", this): 1, ("a", then): 1}


@given(st.text(min_size=1), st.floats(1e9, 2e9), st.sampled_from([0.2, 1.0, 5.0, 30.0]))
def test_the_moment_is_the_latest_of_a_regular_row(query: str, now: float, tick_s: float) -> None:
    at = tick_of(query, now, tick_s)
    assert now - tick_s - 1e-3 < at <= now + 1e-3
    assert tick_of(query, at + tick_s / 2, tick_s) == pytest.approx(at, abs=1e-3)


def test_a_thousand_queries_do_not_fall_due_together() -> None:
    due = Counter(int(tick_of(f"q{n}", 1_000.0, 5.0) * 10) for n in range(1_000))
    assert len(due) >= 50
    assert max(due.values()) < 60


def test_the_queries_of_one_trigger_are_of_one_moment() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        for _ in range(20):
            clock.now += 1.3
            outcomes = await shared.get_all(("jobs", "in flight"))
            assert len({outcome.at for outcome in outcomes.values()}) == 1  # type: ignore[union-attr] # all are samples
            await get(shared, "in flight")

    run(body)


def test_unknown_is_shared_too_and_keeps_the_last_known() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        last = await get(shared, "a")
        assert isinstance(last, KnownValue)
        source.value = UnknownValueError("no data")
        clock.now += TICK_S
        for _ in range(3):
            assert await get(shared, "a") == Missing("no data", last)
        source.value = RuntimeError("a mistake of ours")
        clock.now += TICK_S
        assert await get(shared, "a") == Missing("internal error: RuntimeError", last)

    assert max(run(body).asked.values()) == 1


def test_a_clock_set_back_does_not_freeze_a_value() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        await get(shared, "a")
        clock.set_by(-3_600)
        source.value = 2.0
        outcome = await get(shared, "a")
        assert isinstance(outcome, KnownValue)
        assert (outcome.value, outcome.at) == (2.0, tick_of("a", clock.now, TICK_S))
        assert 0 <= clock.monotonic() - outcome.asked_at < TICK_S

    run(body)


def test_a_clock_that_stands_does_not_freeze_a_value() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        event = asyncio.Event()
        refresher = asyncio.create_task(shared.run())
        with shared.watch(("watched",), event):
            for value in (1.0, 2.0):
                source.value = value
                outcome = await get(shared, "a")
                assert isinstance(outcome, KnownValue)
                assert outcome.value == value
                await event.wait()
                event.clear()
                # Time passes, which the wall clock does not say.
                clock.now += 3 * TICK_S
                clock.set_by(-3 * TICK_S)
        refresher.cancel()

    run(body)


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
def test_a_held_value_is_as_old_as_it_is_whatever_the_clock_says(step: float) -> None:
    trigger = parse_metadata(
        {"query": "a", "threshold": "1", "onUnknown": "hold", "holdSeconds": "60"}
    )

    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        await get(shared, "a")
        source.value = UnknownValueError("no data")
        clock.set_by(step)
        clock.now += 50
        answer = of_queries(trigger, await shared.get_all(("a",)), now=clock.monotonic())
        assert answer.value == 1.0
        assert answer.age_s == pytest.approx(50, abs=TICK_S)
        clock.now += 20
        with pytest.raises(UnknownValueError, match="more than holdSeconds 60"):
            of_queries(trigger, await shared.get_all(("a",)), now=clock.monotonic())

    run(body)


def test_a_query_is_forgotten_though_the_clock_was_set_back() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        await get(shared, "a")
        clock.set_by(-3_600)
        clock.now += module._IDLE_S + 1
        refresher = asyncio.create_task(shared.run())
        while len(shared):
            await asyncio.sleep(0.01)
        refresher.cancel()

    run(body)


def test_who_gives_up_leaves_the_query_to_the_others() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        source.held["a"] = asyncio.Event()
        first = asyncio.create_task(get(shared, "a"))
        second = asyncio.create_task(get(shared, "a"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        source.held["a"].set()
        assert isinstance(await second, KnownValue)

    assert run(body).asked.total() == 1


def test_who_gets_no_place_in_time_hears_of_the_last_value() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        last = await get(shared, "a")
        clock.now += TICK_S
        source.held = {name: asyncio.Event() for name in ("b", "c", "d")}
        hung = [asyncio.create_task(get(shared, name)) for name in source.held]
        await asyncio.sleep(0)
        outcome = await get(shared, "a")
        assert isinstance(outcome, Missing)
        assert outcome.last == last
        assert "no place at Prometheus within 0.2 s" in outcome.reason
        for event in source.held.values():
            event.set()
        await asyncio.gather(*hung)
        assert await get(shared, "a") == known(1.0, tick_of("a", clock.now, TICK_S))

    run(body, max_parallel=4)


def test_the_slow_leave_room_for_the_others() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        source.value = TooSlowError("no answer")
        names = [f"slow{n}" for n in range(8)]
        await asyncio.gather(*(get(shared, name) for name in names))
        source.value = 1.0
        clock.now += TICK_S
        source.held = {name: asyncio.Event() for name in names}
        hung = [asyncio.create_task(get(shared, name)) for name in names]
        await asyncio.sleep(0)
        assert isinstance(await get(shared, "other"), KnownValue)
        for event in source.held.values():
            event.set()
        await asyncio.gather(*hung)

    run(body, max_parallel=4)


def test_streams_are_woken_by_fresh_outcomes_while_they_watch() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        event = asyncio.Event()
        refresher = asyncio.create_task(shared.run())
        with shared.watch(("a", "b"), event):
            await event.wait()
            clock.now += 1
            while source.asked["a", 1_001.0] == 0:
                await asyncio.sleep(0.01)
        asked = source.asked.total()
        clock.now += 1
        await asyncio.sleep(0.05)
        assert source.asked.total() == asked, "nobody watches any more"
        refresher.cancel()

    run(body)


def test_there_are_so_many_queries_and_the_forgotten_make_room() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        await get(shared, "a")
        await get(shared, "b")
        with pytest.raises(LimitError, match="2 distinct queries"):
            await get(shared, "c")
        clock.now += module._IDLE_S + 1
        await get(shared, "a")
        refresher = asyncio.create_task(shared.run())
        while len(shared) > 1:
            await asyncio.sleep(0.01)
        refresher.cancel()
        assert isinstance(await get(shared, "c"), KnownValue)

    run(body, max_queries=2)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no answer of the query API"),
        (b"[]", "no answer of the query API"),
        (b"null", "no answer of the query API"),
        (b'{"status":"success","data":null}', "no answer of the query API"),
        (
            b'{"status":"success","data":{"resultType":"vector","result":[{"value":1}]}}',
            "no answer of the query API",
        ),
        (b'{"status":"error"}', "refused the query"),
    ],
)
def test_what_is_no_answer_is_unknown(body: bytes, reason: str) -> None:
    with pytest.raises(UnknownValueError, match=reason):
        parse(body, 200)
