"""One look at all targets, now or in the past, through one Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
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
from scaler.prometheus.signals import (
    AGE,
    ALL,
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
    """What one query of a look asks for."""

    query: str
    asked: tuple[SignalSource, ...] = ()
    """Whose signals are unknown without an answer."""
    workers: bool = False
    """Whether the workers' states are, too."""
    name: str = ""
    """Of the one signal (or its age) that it gives; "" where the elements tell."""


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
        self._newest_at = -math.inf
        """The latest time that Prometheus has evaluated anything for."""

    def look(self, targets: Sequence[Target]) -> Mapping[str, Seen]:
        """What is known of each target now, by its name. Never raises for want of an answer."""
        if not targets:
            return {}
        until = self._clock() + self._patience_s
        own = self._own.ask(targets)
        answers, crews = self._ask(_parts(matcher(targets)), until)
        extra = self._own.collect(own, until)
        return {target.name: _seen(target, answers, crews, extra) for target in targets}

    def _ask(
        self, parts: Sequence[_Ask], until: float
    ) -> tuple[Answers, Mapping[str, tuple[Worker, ...]] | None]:
        """The signals' values, and the workers by queue; None where those are unknown."""
        values: dict[Key, float] = {}
        failures: dict[str, str] = {}
        told: list[Sample] | None = []
        for part, answer in zip(parts, self._answers(parts, until), strict=True):
            if isinstance(answer, str):
                failures.update((each.signal, answer) for each in part.asked)
                told = None if part.workers else told
                continue
            if part.asked:
                values.update(by_key(answer, part.name))
            if told is not None and part.workers:
                told += answer
        if len(parts) > 1 and told is not None and any_unhealthy(told):
            stuck = self._dated(self._attempt(stuck_query("")))
            # Without an answer nobody is taken to be stuck.
            told += [] if isinstance(stuck, str) else stuck
        return Answers(values, failures), None if told is None else workers_of(told)

    def _answers(self, parts: Sequence[_Ask], until: float) -> list[list[Sample] | str]:
        """What each part's query gives, or why nothing."""
        if len(parts) == 1:
            return [self._dated(self._attempt(parts[0].query))]
        futures = [self._threads.submit(partial(self._attempt, part.query)) for part in parts]
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


def _parts(queues: str) -> list[_Ask]:
    """One query where it is cheap. Of many queues several: Prometheus answers them side by side,
    and what is not renamed and joined there costs it a third."""
    if queues:
        query = f"{signals_query(ALL, queues)} or {crew_query(queues)}"
        return [_Ask(query, ALL, workers=True)]
    parts = [_Ask(query, workers=True) for query in crew_queries(queues)]
    for each in ALL:
        parts.append(_Ask(value_query(each, queues), (each,), name=each.signal))
        parts.append(_Ask(age_query(each, queues), (each,), name=each.signal + AGE))
    return parts


def _seen(
    target: Target,
    answers: Answers,
    crews: Mapping[str, tuple[Worker, ...]] | None,
    extra: Mapping[str, Signal],
) -> Seen:
    own = None if target.query is None else extra[target.query]
    workers = None if crews is None else crews.get(target.queue, ())
    return Seen(observation(answers.read(target), own), workers)


def _result(future: Future[Answer], patience_s: float) -> Answer | str:
    try:
        return future.result(max(0.0, patience_s))
    except TimeoutError:
        return "Prometheus has not answered in time"
