"""One look at all targets, now or in the past, through one Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple, TypeVar

from common.background import Background
from scaler.policy.observation import Observation, Signal, Unknown, Worker
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, Sample
from scaler.prometheus.crew_query import (
    any_unhealthy,
    crew_queries,
    crew_query,
    stuck_query,
    workers_of,
)
from scaler.prometheus.crews import Crews
from scaler.prometheus.signals import (
    AGE,
    ALL,
    FRESH,
    SLOW,
    Answers,
    Key,
    SignalSource,
    age_query,
    by_key,
    matcher,
    observation,
    one_number,
    signals_query,
    value_query,
)

Answer = TypeVar("Answer")

_THREADS = 4
_OWN_THREADS = 8
# Two servers behind one address may disagree by so much.
_CLOCKS_AGREE_S = 10.0


class Seen(NamedTuple):
    """What Prometheus knows of a target at one instant; the fleet is still to be filled in."""

    observation: Observation
    workers: tuple[Worker, ...] | None
    """None when that is unknown."""


class _Ask(NamedTuple):
    """One query of a look."""

    query: str
    signals: tuple[SignalSource, ...] = ()
    """Which are unknown without an answer."""
    name: str = ""
    """Of the one signal (or its age) that it gives; "" where the elements tell."""
    workers: bool = False
    """Whether the workers' states are asked for: without the answer those are unknown."""


class _Told(NamedTuple):
    """What was answered last to one query for signals."""

    at: float
    """Monotonic seconds."""
    signals: tuple[SignalSource, ...]
    values: Mapping[Key, float] | str
    """Why there are none, where there are none."""


class Signals:
    """Asks one Prometheus about targets."""

    def __init__(
        self,
        prometheus: Prometheus,
        *,
        patience_s: float = 2.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`patience_s`: how long one look may take, all its queries together."""
        self._prometheus = prometheus
        self._patience_s = patience_s
        self._clock = clock
        self._threads = Background("prometheus", _THREADS)
        self._own = _OwnQueries(prometheus, clock)
        self._crews = Crews()
        self._told: dict[str, _Told] = {}
        """By the signal, or its age, that a query was for; "" where one was for all."""
        self._newest_at = -math.inf
        """The latest time that Prometheus has evaluated anything for."""

    def look(self, targets: Sequence[Target]) -> Mapping[str, Seen]:
        """What is known of each target now, by its name. Never raises for want of an answer."""
        if not targets:
            return {}
        until = self._clock() + self._patience_s
        own = self._own.ask(targets)
        answers, workers_known = self._ask(targets, until)
        extra = self._own.collect(own, until)
        return {
            target.name: Seen(
                observation(answers.read(target), extra.get(target.query or "")),
                self._crews.of(target.queue) if workers_known else None,
            )
            for target in targets
        }

    def _ask(self, targets: Sequence[Target], until: float) -> tuple[Answers, bool]:
        """The signals' values, and whether the workers are known that were asked for."""
        queues = {target.queue: None for target in targets}
        due = self._crews.due(queues)
        named, now = matcher(queues), self._clock()
        if bool(named) != ("" in self._told):
            self._told.clear()
        asked = _asked(named, due, self._slow_due(), many_workers=self._crews.many)
        workers: list[Sample] | None = []
        for ask, answer in zip(asked, self._answers(asked, until), strict=True):
            if ask.signals:
                values = answer if isinstance(answer, str) else by_key(answer, ask.name)
                self._told[ask.name] = _Told(now, ask.signals, values)
            if ask.workers:
                if workers is None or isinstance(answer, str):
                    workers = None
                else:
                    workers += answer
        if workers is not None:
            self._crews.told(due, self._workers(workers, due, complete=len(asked) == 1))
        return _together(self._told.values(), now), workers is not None

    def _slow_due(self) -> Sequence[SignalSource]:
        """Of many queues one slow signal is asked for at a look: the one asked the longest ago,
        and those that have not been asked for yet."""
        never = [each for each in SLOW if each.signal not in self._told]
        return never or [min(SLOW, key=lambda each: self._told[each.signal].at)]

    def _workers(
        self, told: Sequence[Sample], due: Sequence[str], *, complete: bool
    ) -> Mapping[str, tuple[Worker, ...]]:
        """The workers in an answer; who is stuck is asked only where somebody may be, unless the
        answer is `complete` already."""
        if not complete and any_unhealthy(told):
            stuck = self._dated(self._attempt(stuck_query(matcher(due))))
            # Without an answer nobody is taken to be stuck.
            told = [*told, *(() if isinstance(stuck, str) else stuck)]
        return workers_of(told)

    def _answers(self, asked: Sequence[_Ask], until: float) -> list[list[Sample] | str]:
        """What each gives, or why nothing."""
        if len(asked) == 1:
            return [self._dated(self._attempt(asked[0].query))]
        futures = [self._threads.submit(partial(self._attempt, ask.query)) for ask in asked]
        return [self._dated(_result(future, until - self._clock())) for future in futures]

    def _attempt(self, query: str) -> list[Sample] | str:
        try:
            return self._prometheus.vector(query)
        except PrometheusError as error:
            return str(error)

    def _dated(self, answer: list[Sample] | str) -> list[Sample] | str:
        """`answer`, unless Prometheus' clock was set back: then it tells of the past once more
        until it has come to where it was."""
        if isinstance(answer, str) or not answer:
            return answer
        at = answer[0].at
        behind_s = self._newest_at - at
        if at and behind_s > _CLOCKS_AGREE_S:
            return f"Prometheus' clock was set back by {behind_s:.0f} s, so it shows the past"
        self._newest_at = max(self._newest_at, at)
        return answer


class _OwnQueries:
    """Operators' own queries, beside the others, each with a deadline of its own.

    One that has not come back yet is not asked again, so none can take the places of all.
    """

    def __init__(self, prometheus: Prometheus, clock: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._clock = clock
        self._threads = Background("own-queries", _OWN_THREADS)
        self._out: dict[str, Future[Signal]] = {}

    def ask(self, targets: Sequence[Target]) -> Mapping[str, Future[Signal]]:
        """The answers to come, by query."""
        queries = {target.query for target in targets if target.query is not None}
        asked = {}
        for query in queries:
            out = self._out.get(query)
            if out is None or out.done():
                out = self._threads.submit(partial(self._number, query))
            asked[query] = out
        self._out = asked
        return asked

    def collect(self, asked: Mapping[str, Future[Signal]], until: float) -> Mapping[str, Signal]:
        """What has come by then."""
        found: dict[str, Signal] = {}
        for query, future in asked.items():
            answer = _result(future, until - self._clock())
            found[query] = Unknown(answer, query) if isinstance(answer, str) else answer
        return found

    def _number(self, query: str) -> Signal:
        """How old its samples are is the operator's to know."""
        try:
            return one_number(self._prometheus.vector(query), query)
        except PrometheusError as error:
            return Unknown(str(error), query)


def _asked(
    named: str, due: Collection[str], slow: Sequence[SignalSource], *, many_workers: bool
) -> Sequence[_Ask]:
    """One query where that is cheap. Of many queues or workers several: Prometheus answers them
    side by side, and what is not renamed and joined there costs it a third."""
    if named and not many_workers:
        return [_Ask(f"{signals_query(ALL, named)} or {crew_query(named)}", ALL, workers=True)]
    asked = [_Ask(query, workers=True) for query in crew_queries(matcher(due))]
    if named:
        return [_Ask(signals_query(ALL, named), ALL), *asked]
    for each in (*FRESH, *slow):
        asked.append(_Ask(value_query(each, ""), (each,), each.signal))
        asked.append(_Ask(age_query(each, ""), (each,), each.signal + AGE))
    return asked


def _together(told: Iterable[_Told], now: float) -> Answers:
    values: dict[Key, float] = {}
    failures: dict[str, str] = {}
    waited: dict[str, float] = {}
    for each in told:
        if isinstance(each.values, str):
            failures.update((signal.signal, each.values) for signal in each.signals)
        else:
            values.update(each.values)
        waited.update((signal.signal, now - each.at) for signal in each.signals)
    return Answers(values, failures, waited)


def _result(future: Future[Answer], patience_s: float) -> Answer | str:
    try:
        return future.result(max(0.0, patience_s))
    except TimeoutError:
        return "Prometheus has not answered in time"
