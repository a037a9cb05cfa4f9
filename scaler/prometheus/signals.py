"""PromQL -> Observations. Every value is known, or unknown with a reason; never a silent 0.

All targets are looked at at once: the queries of one look are as many for a thousand targets as for
one, and what they answer is told apart here, by queue. Whatever is lacking for one target is
unknown for that target alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from scaler.policy.observation import Known, Observation, Signal, Unknown
from scaler.policy.target import Target
from scaler.prometheus.client import Sample, quoted

FRESH_S = 20.0
"""Queue depth and fleet older than this are unknown: several scrapes have failed."""
SLOW_S = 120.0
"""Rates and means move slowly and are recorded less often."""
RECENT_S = 60.0
"""A rate over one minute that is older says nothing of the last one."""
NAMED_QUEUES = 250
"""Up to so many queues a query names them; of more it takes all that there are."""
AGE = ":age"
"""After the name of a signal: its age."""


Key = tuple[str, str, str]
"""(signal, queue, virtual host; "" where that does not tell)."""


class SignalSource(NamedTuple):
    """A signal by the series that it is taken from."""

    signal: str
    name: str
    """Of the metric; several, separated by `|`, of which the highest holds."""
    max_age_s: float
    dated_by: str = ""
    """The metric whose newest sample dates the answer, where that is another."""
    state: str = ""
    by_vhost: bool = False

    def keys(self, target: Target) -> tuple[Key, Key]:
        """Under which its value and its age are, for `target`."""
        vhost = target.vhost if self.by_vhost else ""
        return (self.signal, target.queue, vhost), (self.signal + AGE, target.queue, vhost)

    def selector(self, queues: str, *, dating: bool = False) -> str:
        """The series of the queues that the matcher `queues` names ("" for all)."""
        name = self.dated_by if dating and self.dated_by else self.name
        matchers = [queues] if queues else []
        if "|" in name:
            matchers.append(f'__name__=~"{name}"')
            name = ""
        if self.state:
            matchers.append(f'state="{self.state}"')
        return f"{name}{{{','.join(matchers)}}}"


FRESH = (
    SignalSource("waiting", "rabbitmq_queue_messages_ready", FRESH_S, by_vhost=True),
    SignalSource("in_flight", "autoscaler_jobs_in_flight", FRESH_S),
    SignalSource("idle", "autoscaler_workers", FRESH_S, state="idle"),
)
_RATES = "queue:job_arrivals:rate5m"
SLOW = (
    # The higher of the two windows: quick to see a rise, slow to believe a fall.
    SignalSource("arrival_rate", f"{_RATES}|queue:job_arrivals:rate10m", SLOW_S, dated_by=_RATES),
    SignalSource("recent_rate", "queue:job_arrivals:rate1m", RECENT_S),
    SignalSource("burstiness", "queue:job_arrivals:dispersion10m", SLOW_S),
    SignalSource("mean_duration", "queue:job_duration_seconds:mean1h", SLOW_S),
    SignalSource("startup", "queue:worker_startup_seconds:mean1h", SLOW_S),
)
ALL = FRESH + SLOW
LOAD = (*FRESH[:2], SLOW[0])
"""What makes up a load: jobs waiting, jobs in progress, arrivals."""


def questions(target: Target) -> Mapping[str, str]:
    """The PromQL of each signal of `target`, which a person can ask too."""
    return _questions(target.queue, target.vhost)


@lru_cache(maxsize=8192)
def _questions(queue: str, vhost: str) -> Mapping[str, str]:
    where = f"queue={quoted(queue)}"
    in_vhost = f"{where},vhost={quoted(vhost)}"
    return {
        each.signal: f"max({each.selector(in_vhost if each.by_vhost else where)})" for each in ALL
    }


def matcher(values: Iterable[str], label: str = "queue") -> str:
    """The matcher of a label with these values: "" where they are too many to name."""
    names = sorted(set(values))
    if len(names) > NAMED_QUEUES:
        return ""
    if len(names) == 1:
        return f"{label}={quoted(names[0])}"
    return f"{label}=~{quoted('|'.join(map(re.escape, names)))}"


def value_query(asked: SignalSource, queues: str) -> str:
    """PromQL of the values of `asked`, one element for each queue."""
    return f"max {_by(asked)} ({asked.selector(queues)})"


def age_query(asked: SignalSource, queues: str) -> str:
    """PromQL of the seconds since the samples that those were taken from."""
    dated = asked.selector(queues, dating=True)
    return f"time() - max {_by(asked)} (timestamp({dated}))"


def _by(asked: SignalSource) -> str:
    return "by (queue, vhost)" if asked.by_vhost else "by (queue)"


def signals_query(asked: Iterable[SignalSource], queues: str) -> str:
    """PromQL of the values and the ages of `asked`, in one answer.

    Nothing in it can fail for one queue and so for all: each part is an aggregation, whose
    elements differ.
    """
    parts = []
    for each in asked:
        parts.append(named(value_query(each, queues), each.signal))
        parts.append(named(age_query(each, queues), each.signal + AGE))
    return " or ".join(parts)


def recent_query(asked: Iterable[SignalSource], queues: str) -> str:
    """PromQL of the values of `asked` without their ages, in one answer: none that is too old."""
    return " or ".join(
        named(
            f"max {_by(each)} (last_over_time({each.selector(queues)}[{each.max_age_s:.0f}s]))",
            each.signal,
        )
        for each in asked
    )


def named(query: str, name: str) -> str:
    """`query` with its elements told apart from others' by the label `signal`."""
    return f'label_replace({query}, "signal", "{name}", "", "")'


def by_key(samples: Iterable[Sample], signal: str = "") -> dict[Key, float]:
    """The elements of an answer to `signals_query`, or to a query of `signal` alone."""
    found = {}
    for sample in samples:
        label = sample.labels.get
        found[signal or label("signal", ""), label("queue", ""), label("vhost", "")] = sample.value
    return found


class Answers(NamedTuple):
    """What the queries of one look gave."""

    values: Mapping[Key, float]
    failures: Mapping[str, str]
    """Why there is no answer, by signal."""
    waited_s: Mapping[str, float] = {}
    """How long ago they were given, by signal."""

    def read(self, target: Target, asked: Iterable[SignalSource] = ALL) -> dict[str, Signal]:
        """The signals of `target`."""
        queries = questions(target)
        signals: dict[str, Signal] = {}
        for each in asked:
            name, query = each.signal, queries[each.signal]
            if name in self.failures:
                signals[name] = Unknown(self.failures[name], query)
                continue
            value, age = map(self.values.get, each.keys(target))
            age_s = math.inf if age is None else max(0.0, age) + self.waited_s.get(name, 0.0)
            signals[name] = _signal(value, age_s, each.max_age_s, query)
        return signals


def _signal(value: float | None, age_s: float, max_age_s: float, query: str) -> Signal:
    if value is None:
        return Unknown("no sample", query)
    if not math.isfinite(value):
        return Unknown(f"the value is {value}", query)
    if not age_s <= max_age_s:
        return Unknown(f"the newest sample is {age_s:.0f} s old", query)
    return Known(value, age_s, query)


def observation(signals: Mapping[str, Signal], own: Signal | None) -> Observation:
    """The signals, with the answer to an operator's own query where there is one."""
    return Observation(
        waiting=signals["waiting"],
        in_flight=signals["in_flight"],
        idle=signals["idle"],
        arrival_rate=signals["arrival_rate"],
        recent_rate=signals["recent_rate"],
        burstiness=signals["burstiness"],
        mean_duration=signals["mean_duration"],
        startup=signals["startup"],
        fleet=None,
        extra=() if own is None else (("query", own),),
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
