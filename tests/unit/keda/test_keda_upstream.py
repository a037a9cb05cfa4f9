"""Sharing, ticks, forgetting, and who waits for whom."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from scaler.external import upstream as module
from scaler.external.errors import LimitError, TooSlowError, UnknownValueError
from scaler.external.prometheus import parse
from scaler.external.upstream import Missing, Sample, Upstream


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
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


Body = Callable[[Source, Clock, Upstream], Awaitable[None]]


def run(body: Body, *, max_queries: int = 10, max_parallel: int = 4) -> Source:
    async def main() -> Source:
        source, clock = Source(), Clock()
        shared = Upstream(
            source,
            clock=clock,
            tick_s=5,
            stream_tick_s=1,
            max_queries=max_queries,
            max_parallel=max_parallel,
            patience_s=0.2,
            report=lambda outcome, seconds: None,
        )
        await asyncio.wait_for(body(source, clock, shared), 10)
        return source

    return asyncio.run(main())


def test_all_who_ask_in_one_tick_share_one_query_at_a_multiple_of_the_tick() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        clock.now = 1_003.7
        outcomes = await asyncio.gather(*(shared.get("a") for _ in range(50)))
        assert set(outcomes) == {Sample(1.0, 1_000.0)}
        clock.now = 1_004.9
        await shared.get("a")
        clock.now = 1_005.0
        assert await shared.get("a") == Sample(1.0, 1_005.0)

    assert run(body).asked == {("a", 1_000.0): 1, ("a", 1_005.0): 1}


def test_unknown_is_shared_too_and_keeps_the_last_known() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        await shared.get("a")
        source.value = UnknownValueError("no data")
        clock.now += 5
        for _ in range(3):
            assert await shared.get("a") == Missing("no data", Sample(1.0, 1_000.0))
        source.value = RuntimeError("a mistake of ours")
        clock.now += 5
        assert await shared.get("a") == Missing(
            "internal error: RuntimeError", Sample(1.0, 1_000.0)
        )

    assert max(run(body).asked.values()) == 1


def test_a_clock_set_back_does_not_freeze_a_value() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        await shared.get("a")
        clock.now -= 3_600
        source.value = 2.0
        assert await shared.get("a") == Sample(2.0, clock.now)

    run(body)


def test_who_gives_up_leaves_the_query_to_the_others() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        source.held["a"] = asyncio.Event()
        first = asyncio.create_task(shared.get("a"))
        second = asyncio.create_task(shared.get("a"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        source.held["a"].set()
        assert await second == Sample(1.0, 1_000.0)

    assert run(body).asked.total() == 1


def test_who_gets_no_place_in_time_hears_of_the_last_value() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        last = await shared.get("a")
        clock.now += 5
        source.held = {name: asyncio.Event() for name in ("b", "c", "d")}
        hung = [asyncio.create_task(shared.get(name)) for name in source.held]
        await asyncio.sleep(0)
        outcome = await shared.get("a")
        assert isinstance(outcome, Missing)
        assert outcome.last == last
        assert "no place at Prometheus within 0.2 s" in outcome.reason
        for event in source.held.values():
            event.set()
        await asyncio.gather(*hung)
        assert await shared.get("a") == Sample(1.0, 1_005.0)

    run(body, max_parallel=4)


def test_the_slow_leave_room_for_the_others() -> None:
    async def body(source: Source, clock: Clock, shared: Upstream) -> None:
        source.value = TooSlowError("no answer")
        names = [f"slow{n}" for n in range(8)]
        await shared.get_all(tuple(names))
        source.value = 1.0
        clock.now += 5
        source.held = {name: asyncio.Event() for name in names}
        hung = [asyncio.create_task(shared.get(name)) for name in names]
        await asyncio.sleep(0)
        assert await shared.get("other") == Sample(1.0, 1_005.0)
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
        await shared.get("a")
        await shared.get("b")
        with pytest.raises(LimitError, match="2 distinct queries"):
            await shared.get("c")
        clock.now += module._IDLE_S + 1
        await shared.get("a")
        refresher = asyncio.create_task(shared.run())
        while len(shared) > 1:
            await asyncio.sleep(0.01)
        refresher.cancel()
        assert isinstance(await shared.get("c"), Sample)

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
