"""Generated traces: the same seed and numbers make the same trace again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from common.errors import ConfigError
from scaler.simulate.loads import Generator, numbers_of
from scaler.simulate.trace import DAY_S, MAX_JOBS, Floats, Trace, trace_of

_HOUR_S = 3600.0
# Log-normal, as rendering times are.
_DURATION_SIGMA = 0.6
# Most bursts are between half and twice the median's size.
_BURST_SIGMA = 0.5
# In shares of the mean gap: clockwork would flatter whoever looks back by just one period.
_GAPS = (0.5, 1.5)

Numbers = Mapping[str, float]


def generate(generator: Generator, *, seed: int, **given: float) -> Trace:
    """A trace by these numbers (of `NUMBERS`), with that generator's defaults for the others.

    Raises ConfigError naming a number that it does not have, that is out of bounds, or that makes
    too many jobs, InvalidInputError where chance leaves no job at all.
    """
    numbers = numbers_of(generator, given)
    rng = np.random.default_rng(seed)
    arrivals = _ARRIVALS[generator](numbers, rng)
    durations = _lognormal(rng, len(arrivals), numbers["mean"], _DURATION_SIGMA)
    return trace_of(generator.value, arrivals, durations)


def _poisson(numbers: Numbers, rng: np.random.Generator) -> Floats:
    """Independent of each other, at a constant rate."""
    return _waved(numbers, np.ones_like, 1.0, rng)


def _diurnal(numbers: Numbers, rng: np.random.Generator) -> Floats:
    """A day's wave: from a tenth to nineteen tenths of the mean rate."""

    def shape(at: Floats) -> Floats:
        wave: Floats = 1.0 - 0.9 * np.cos(2 * np.pi * at / DAY_S)
        return wave

    return _waved(numbers, shape, 1.9, rng)


def _bursty(numbers: Numbers, rng: np.random.Generator) -> Floats:
    """Stretches of two minutes, one in ten of them at ten times the rate of the others."""
    slots = max(1, math.ceil(numbers["hours"] * 30))
    relative = np.where(rng.random(slots) < 0.1, 10.0, 1.0) / 1.9

    def shape(at: Floats) -> Floats:
        chosen: Floats = relative[np.minimum((at // 120).astype(np.int64), slots - 1)]
        return chosen

    return _waved(numbers, shape, 10.0 / 1.9, rng)


def _batch(numbers: Numbers, rng: np.random.Generator) -> Floats:
    """All of an hour at once, at its begin."""
    hours = max(1, math.ceil(numbers["hours"]))
    _check_count("rate", numbers, numbers["rate"] * 60 * hours)
    return np.repeat(np.arange(hours) * _HOUR_S, rng.poisson(numbers["rate"] * 60, hours))


def _series(numbers: Numbers, rng: np.random.Generator) -> Floats:
    """Bursts that come back: each evenly within its time, then a gap."""
    within, gap, burst = numbers["within"], numbers["gap"], numbers["burst"]
    span_s = numbers["hours"] * _HOUR_S
    _check_count("burst", numbers, burst * (1 + span_s / (within + gap)))
    most = 1 + math.ceil(span_s / (within + _GAPS[0] * gap))
    begins = np.cumsum(within + gap * rng.uniform(*_GAPS, most)) - within
    begins = begins[begins < begins[0] + span_s]
    sizes = np.maximum(1, np.rint(_lognormal(rng, len(begins), burst, _BURST_SIGMA)).astype(int))
    return np.sort(np.repeat(begins, sizes) + rng.random(sizes.sum()) * within)


def _ramp(numbers: Numbers, rng: np.random.Generator) -> Floats:
    """A rate that climbs straight from trough to peak, and down again, wave after wave."""
    peak, trough = numbers["peak"], numbers["trough"]
    if trough > peak:
        raise ConfigError("--trough", trough, f"at most --peak, which is {peak:g}")

    def rate(at: Floats) -> Floats:
        phase = at / (numbers["wave"] * _HOUR_S) % 1.0
        climbed: Floats = trough + (peak - trough) * (1.0 - np.abs(2.0 * phase - 1.0))
        return climbed

    return _thinned("peak", numbers, rate, peak, rng)


_ARRIVALS: Mapping[Generator, Callable[[Numbers, np.random.Generator], Floats]] = {
    Generator.POISSON: _poisson,
    Generator.BURSTY: _bursty,
    Generator.DIURNAL: _diurnal,
    Generator.BATCH: _batch,
    Generator.SERIES: _series,
    Generator.THIN: _poisson,
    Generator.RAMP: _ramp,
}


def _waved(
    numbers: Numbers, shape: Callable[[Floats], Floats], highest: float, rng: np.random.Generator
) -> Floats:
    """Arrivals at the given rate times `shape`, which is at most `highest`."""
    rate = numbers["rate"]
    return _thinned("rate", numbers, lambda at: rate * shape(at), rate * highest, rng)


def _thinned(
    cause: str,
    numbers: Numbers,
    rate: Callable[[Floats], Floats],
    highest: float,
    rng: np.random.Generator,
) -> Floats:
    """A Poisson process of `rate` jobs a minute, at most `highest`, by thinning.

    `cause` names the number to blame where it is too many.
    """
    span_s = numbers["hours"] * _HOUR_S
    expected = highest / 60 * span_s
    _check_count(cause, numbers, expected)
    at = np.sort(rng.random(rng.poisson(expected))) * span_s
    kept: Floats = at[rng.random(len(at)) * highest < rate(at)]
    return kept


def _check_count(cause: str, numbers: Numbers, expected: float) -> None:
    if expected > MAX_JOBS:
        hours = numbers["hours"]
        allowed = f"what makes at most {MAX_JOBS} jobs in all, of {hours:g} hours"
        raise ConfigError(f"--{cause}", numbers[cause], allowed)


def _lognormal(rng: np.random.Generator, count: int, mean: float, sigma: float) -> Floats:
    return rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, count)
