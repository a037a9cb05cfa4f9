"""A trace out of Prometheus' memory: arrivals as they came, durations drawn from the histogram."""

from __future__ import annotations

import random

import numpy as np

from common.errors import ConfigError
from scaler.prometheus.client import Prometheus, quoted
from scaler.simulate.trace import MAX_JOBS, Trace, trace_of

_STEP_S = 60.0
# Prometheus gives at most 11,000 points an answer.
_CHUNK_S = 10_000 * _STEP_S

Buckets = list[tuple[float, float]]
"""(upper bound in seconds, jobs up to it), rising."""


def trace_from(
    prometheus: Prometheus, queue: str, since_s: float, now: float, *, seed: int = 0
) -> Trace:
    """The jobs of `queue` in the time before `now` (epoch seconds), to the minute.

    Raises PrometheusError when it does not answer, ConfigError when it knows of no job.
    """
    where = f"{{queue={quoted(queue)}}}"
    counts = _minutes(prometheus, f"queue:job_arrivals:increase1m{where}", now - since_s, now)
    buckets = _buckets(prometheus, where, since_s)
    rng = random.Random(seed)
    arrivals: list[float] = []
    owed = 0.0
    for at, count in counts:
        # Increases are extrapolated, so they are no whole numbers; what is left over waits.
        owed += count
        jobs = int(owed + 0.5)
        owed -= jobs
        arrivals += [at - rng.random() * _STEP_S for _ in range(jobs)]
        if len(arrivals) > MAX_JOBS:
            raise ConfigError("since", f"{since_s:g} s", f"a time of at most {MAX_JOBS} jobs")
    if not arrivals or not buckets:
        raise ConfigError("prometheus", queue, "a queue whose jobs it has recorded in that time")
    durations = [draw(buckets, rng.random()) for _ in arrivals]
    return trace_of(f"history of {queue}", np.sort(np.array(arrivals)), np.array(durations))


def draw(buckets: Buckets, share: float) -> float:
    """The duration below which that share of the jobs lies, straight within a bucket."""
    wanted = share * buckets[-1][1]
    below, jobs = 0.0, 0.0
    for bound, upto in buckets:
        if upto >= wanted and upto > jobs:
            return max(below + (bound - below) * (wanted - jobs) / (upto - jobs), 0.1)
        below, jobs = bound, upto
    return below


def _minutes(
    prometheus: Prometheus, query: str, start: float, end: float
) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    while start < end:
        until = min(start + _CHUNK_S, end)
        series = prometheus.matrix(query, start + _STEP_S, until, _STEP_S)
        found += series[0][1] if series else []
        start = until
    return found


def _buckets(prometheus: Prometheus, where: str, since_s: float) -> Buckets:
    name = "autoscaler_job_duration_seconds_bucket"
    samples = prometheus.vector(f"sum by (le) (increase({name}{where}[{since_s:.0f}s]))")
    counted = sorted((float(sample.labels["le"]), sample.value) for sample in samples)
    finite = [(bound, jobs) for bound, jobs in counted if np.isfinite(bound)]
    return finite if finite and finite[-1][1] > 0 else []
