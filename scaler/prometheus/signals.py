"""PromQL -> Observation. Every value is known, or unknown with a reason; never a silent 0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scaler.policy.observation import Known, Observation, Signal, Unknown, Worker, WorkerCondition
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, Sample, quoted

FRESH_S = 20.0
"""Queue depth and fleet older than this are unknown: several scrapes have failed."""
SLOW_S = 120.0
"""Rates and means move slowly and are recorded less often."""
_AGE = ":age"
_UNHEALTHY = WorkerCondition.UNHEALTHY
# Names of what is asked of workers, beside the signals'.
_STATE, _SINCE, _STUCK = "worker", "worker:since", "worker:stuck"
# Unhealthy for so long, so that a moment after an outage of the ledger replaces nobody; and a job
# makes progress that has begun or moved within so long.
_UNHEALTHY_FOR = "30s"
_PROGRESS_WITHIN = "1m"


@dataclass(frozen=True, slots=True)
class Question:
    """One signal: the PromQL that a person can ask too, and when its answer is too old."""

    signal: str
    query: str
    """Gives at most one element."""
    selector: str
    """The series whose newest sample dates the answer."""
    max_age_s: float


def questions(target: Target) -> list[Question]:
    """What is asked about `target` at every tick, beside its workers."""
    queue = quoted(target.queue)
    where = f"queue={queue}"

    def fresh(signal: str, selector: str) -> Question:
        return Question(signal, f"max({selector})", selector, FRESH_S)

    def slow(signal: str, selector: str) -> Question:
        return Question(signal, f"max({selector})", selector, SLOW_S)

    # The higher of the two windows: quick to see a rise, slow to believe a fall.
    rate5 = f"queue:job_arrivals:rate5m{{{where}}}"
    rate10 = f"queue:job_arrivals:rate10m{{{where}}}"
    higher = f'max({rate5} or label_replace({rate10}, "window", "10m", "", ""))'
    depth = f"rabbitmq_queue_messages_ready{{{where},vhost={quoted(target.vhost)}}}"
    return [
        fresh("waiting", depth),
        fresh("in_flight", f"autoscaler_jobs_in_flight{{{where}}}"),
        fresh("idle", f'autoscaler_workers{{{where},state="idle"}}'),
        Question("arrival_rate", higher, rate5, SLOW_S),
        slow("burstiness", f"queue:job_arrivals:dispersion10m{{{where}}}"),
        slow("mean_duration", f"queue:job_duration_seconds:mean1h{{{where}}}"),
        slow("startup", f"queue:worker_startup_seconds:mean1h{{{where}}}"),
    ]


class Seen(NamedTuple):
    """What Prometheus knows of a target at one instant."""

    observation: Observation
    workers: tuple[Worker, ...] | None
    """None when that is unknown."""


class Signals:
    """Asks one Prometheus about targets."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    def look(self, target: Target) -> Seen:
        """Signals and workers of `target` at one instant; the fleet is still to be filled in."""
        asked = questions(target)
        seen: tuple[Worker, ...] | None = None
        try:
            answer = self._prometheus.vector(f"{_combined(asked)} or {workers_query(target)}")
            signals, seen = _read(asked, answer), _workers(answer)
        except PrometheusError as error:
            signals = {each.signal: Unknown(str(error), each.query) for each in asked}
        own = None if target.query is None else self._ask(target.query)
        return Seen(_observation(signals, own), seen)

    def observe_past(
        self, target: Target, times: Sequence[float], step_s: float
    ) -> list[tuple[float, Observation]]:
        """(time, what `observe` would have seen then) for `times`, which are `step_s` apart.

        Times are epoch seconds, oldest first, to the millisecond, 10,000 at most. Raises
        PrometheusError where there is no answer.
        """
        asked = questions(target)
        answers = self._answers(_combined(asked), times, step_s)
        own: Mapping[int, list[Sample]] | None = None
        if target.query is not None:
            own = self._answers(target.query, times, step_s)
        seen = []
        for at in times:
            key = _milliseconds(at)
            signals = _read(asked, answers.get(key, ()))
            extra = None
            if own is not None and target.query is not None:
                extra = one_number(own.get(key, ()), target.query)
            seen.append((at, _observation(signals, extra)))
        return seen

    def _answers(
        self, query: str, times: Sequence[float], step_s: float
    ) -> Mapping[int, list[Sample]]:
        """What `query` gave at each time, by milliseconds."""
        found: dict[int, list[Sample]] = {}
        if times:
            for labels, points in self._prometheus.matrix(query, times[0], times[-1], step_s):
                for at, value in points:
                    found.setdefault(_milliseconds(at), []).append(Sample(labels, value))
        return found

    def _ask(self, query: str) -> Signal:
        """An operator's own PromQL; how old its samples are is theirs to know."""
        try:
            return one_number(self._prometheus.vector(query), query)
        except PrometheusError as error:
            return Unknown(str(error), query)


def workers_query(target: Target) -> str:
    """PromQL of the workers' states, of when those began, and of who is stuck."""
    where = f"queue={quoted(target.queue)}"
    parts = {
        _STATE: f"autoscaler_worker_state{{{where}}}",
        _SINCE: f"autoscaler_worker_state_since_seconds{{{where}}}",
        _STUCK: stuck_query(target),
    }
    return " or ".join(_named(query, name) for name, query in parts.items())


def stuck_query(target: Target) -> str:
    """PromQL of the workers that were unhealthy a while ago and have no job making progress."""
    where = f"queue={quoted(target.queue)}"
    progress = f"autoscaler_worker_job_progress_ratio{{{where}}}"
    return (
        f'autoscaler_worker_state{{{where},state="{_UNHEALTHY}"}} offset {_UNHEALTHY_FOR}'
        f" unless on (queue, worker) (changes({progress}[{_PROGRESS_WITHIN}]) > 0"
        f" or {progress} unless {progress} offset {_PROGRESS_WITHIN})"
    )


def one_number(samples: Sequence[Sample], query: str, age_s: float = 0.0) -> Signal:
    """The single finite number of an answer, else why there is none."""
    if not samples:
        return Unknown("no sample", query)
    if len(samples) > 1:
        return Unknown(f"{len(samples)} series, one is needed", query)
    value = samples[0].value
    if not math.isfinite(value):
        return Unknown(f"the value is {value}", query)
    return Known(value, age_s, query)


def _workers(answer: Sequence[Sample]) -> tuple[Worker, ...]:
    """The workers in an answer to `workers_query`, once each though two exporters name them."""
    kinds: dict[str, dict[tuple[str, str], Sample]] = {}
    for sample in answer:
        label = sample.labels.get
        key = label("instance", ""), label("worker", "")
        kinds.setdefault(label("signal", ""), {})[key] = sample
    states, since = kinds.get(_STATE, {}), kinds.get(_SINCE, {})
    stuck = {worker for _, worker in kinds.get(_STUCK, {})}
    # Exporters that disagree for a moment: the newer state holds.
    pairs = sorted((since[key].value, key) for key in states.keys() & since.keys())
    seen = {key[1]: _worker(states[key], began, key[1] in stuck) for began, key in pairs}
    return tuple(seen[name] for name in sorted(seen))


def _condition(state: str) -> WorkerCondition:
    """A state that this version does not know is taken for busy: it counts as capacity, nobody in
    it is asked to leave, and its pod is the last to be removed."""
    try:
        return WorkerCondition(state)
    except ValueError:
        return WorkerCondition.BUSY


def _worker(sample: Sample, since: float, is_stuck: bool) -> Worker:
    label = sample.labels.get
    state = _condition(label("state", ""))
    return Worker(
        id=label("worker", ""),
        state=state,
        since=since,
        node=label("node", ""),
        task=label("task", ""),
        slot=label("slot", ""),
        stuck=is_stuck and state is _UNHEALTHY,
    )


def _observation(signals: Mapping[str, Signal], query: Signal | None) -> Observation:
    """The signals of `questions`, with the answer to an operator's own where there is one."""
    return Observation(
        waiting=signals["waiting"],
        in_flight=signals["in_flight"],
        idle=signals["idle"],
        arrival_rate=signals["arrival_rate"],
        burstiness=signals["burstiness"],
        mean_duration=signals["mean_duration"],
        startup=signals["startup"],
        fleet=None,
        extra=() if query is None else (("query", query),),
    )


def _milliseconds(at: float) -> int:
    """A time as Prometheus keeps it."""
    return round(at * 1000)


def _named(query: str, name: str) -> str:
    return f'label_replace({query}, "signal", "{name}", "", "")'


def _combined(asked: Sequence[Question]) -> str:
    parts = []
    for each in asked:
        parts.append(_named(each.query, each.signal))
        age = f"time() - max(timestamp({each.selector}))"
        parts.append(_named(age, each.signal + _AGE))
    return " or ".join(parts)


def _read(asked: Sequence[Question], answer: Sequence[Sample]) -> dict[str, Signal]:
    by_name: dict[str, list[Sample]] = {}
    for sample in answer:
        by_name.setdefault(sample.labels.get("signal", ""), []).append(sample)
    signals: dict[str, Signal] = {}
    for each in asked:
        ages = by_name.get(each.signal + _AGE, [])
        age_s = max(0.0, ages[0].value) if len(ages) == 1 else math.inf
        signal = one_number(by_name.get(each.signal, []), each.query, age_s)
        if isinstance(signal, Known) and not age_s <= each.max_age_s:
            signal = Unknown(f"the newest sample is {age_s:.0f} s old", each.query)
        signals[each.signal] = signal
    return signals
