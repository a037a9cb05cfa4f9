"""What a scaler would see of the simulated world: signals with age, gaps and outages."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from scaler.policy.observation import Fleet, Known, Observation, Signal, Unknown
from scaler.simulate.trace import Floats, Trace
from scaler.simulate.world import World

_BIN_S = 60.0
_BINS = 10
_LEAST_BINS = 5
_HOUR_S = 3600.0
# Ticks whose statistics are worked out at once; memory is what limits it.
_CHUNK = 100_000


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """How well the scaler sees."""

    tick_s: float = 5.0
    """Seconds between looks."""
    data_age_s: float = 0.0
    """Seconds from a sample's being taken to its being read."""
    missing: float = 0.0
    """Share of looks that find nothing."""
    outage: tuple[float, float] | None = None
    """(begin, end) of a time in which nothing is known."""
    recorded_s: float = 86_400.0
    """For how long Prometheus had recorded an empty queue before the first job."""


class DelayedView:
    """Makes observations; one for each run, shown a sample and asked at every tick in order."""

    def __init__(
        self, trace: Trace, settings: ViewSettings, startup_s: float, ticks: Floats, seed: int
    ) -> None:
        """`ticks` are the times at which it will be asked."""
        self._trace = trace
        self._ticks = ticks
        self._settings = settings
        self._rng = random.Random(seed)
        self._startup = Known(startup_s, settings.data_age_s, "")
        self._mean: Signal = _nothing("no job done yet")
        self._recent: deque[tuple[float, float]] = deque()
        self._recent_sum = 0.0
        looks, self.before_s = divmod(settings.data_age_s, settings.tick_s)
        """`before_s`: seconds before each look at which the world is to be sampled."""
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=int(looks) + 1)
        self._numbers: dict[int, Known] = {}
        self._fleet = Fleet(-1, -1)
        self._tick = -1

    @cached_property
    def _statistics(self) -> ArrivalStatistics:
        """At each tick; not worked out for a policy that never asks."""
        settings = self._settings
        seen = self._ticks - settings.data_age_s
        return arrival_statistics(self._trace.arrivals, seen, settings.recorded_s)

    def sample(self, world: World) -> None:
        """Take note of what this look reads, or a later one where data is older than a tick."""
        self._samples.append((len(world.waiting), world.busy, world.idle))

    def observe(self, world: World) -> Observation:
        """What is known at the world's present moment."""
        self._tick += 1
        tick = self._tick
        waiting, busy, idle = self._samples[0]
        fleet = self._fleet_of(world)
        settings = self._settings
        if settings.outage and settings.outage[0] <= world.now < settings.outage[1]:
            return _blind(fleet, "Prometheus does not answer")
        if settings.missing and self._rng.random() < settings.missing:
            return _blind(fleet, "no sample")
        arrived = self._statistics
        age, in_flight = settings.data_age_s, self._known(busy)
        return Observation(
            waiting=self._known(waiting),
            in_flight=in_flight,
            idle=self._known(idle),
            arrival_rate=Known(float(arrived.rates[tick]), age, ""),
            recent_rate=Known(float(arrived.recent_rates[tick]), age, ""),
            burstiness=Known(float(arrived.dispersions[tick]), age, ""),
            mean_duration=self._mean_duration(world),
            startup=self._startup,
            fleet=fleet,
        )

    def _known(self, number: int) -> Known:
        known = self._numbers.get(number)
        if known is None:
            known = self._numbers[number] = Known(float(number), self._settings.data_age_s, "")
        return known

    def _fleet_of(self, world: World) -> Fleet:
        running, starting = world.running, world.starting
        draining = len(world.leaving)
        fleet = self._fleet
        if (fleet.running, fleet.starting, fleet.draining) != (running, starting, draining):
            fleet = self._fleet = Fleet(running, running, starting, draining)
        return fleet

    def _mean_duration(self, world: World) -> Signal:
        """Mean duration of the jobs that ended within the last hour."""
        recent = self._recent
        if not world.ended and not (recent and recent[0][0] <= world.now - _HOUR_S):
            return self._mean
        for ended in world.ended:
            recent.append(ended)
            self._recent_sum += ended[1]
        world.ended.clear()
        while recent and recent[0][0] <= world.now - _HOUR_S:
            self._recent_sum -= recent.popleft()[1]
        if recent:
            self._mean = Known(self._recent_sum / len(recent), self._settings.data_age_s, "")
        return self._mean


class ArrivalStatistics(NamedTuple):
    """What the recording rules say of arrivals, at each of several times."""

    rates: Floats
    """The higher of those over 5 and 10 minutes; jobs a second."""
    recent_rates: Floats
    """Over one minute."""
    dispersions: Floats
    """Variance over mean of the counts per minute of the last ten; 1 while fewer than five of
    them are recorded or nothing arrived."""


def arrival_statistics(
    arrivals: Floats, at: Floats, recorded_s: float = 86_400.0
) -> ArrivalStatistics:
    """Of `arrivals`, at the times `at`."""
    parts = [
        _statistics(arrivals, at[begin : begin + _CHUNK], recorded_s)
        for begin in range(0, len(at), _CHUNK)
    ]
    return ArrivalStatistics(*map(np.concatenate, zip(*parts, strict=True)))


def _statistics(arrivals: Floats, at: Floats, recorded_s: float) -> ArrivalStatistics:
    edges = [np.searchsorted(arrivals, at - _BIN_S * back, "right") for back in range(_BINS + 1)]
    recent = (edges[0] - edges[1]) / _BIN_S
    rate5 = (edges[0] - edges[5]) / (5 * _BIN_S)
    rate10 = (edges[0] - edges[_BINS]) / (_BINS * _BIN_S)
    counts = np.stack([edges[i] - edges[i + 1] for i in range(_BINS)]).astype(np.float32)
    recorded = np.clip((at + recorded_s) // _BIN_S, 0, _BINS)
    known = np.maximum(recorded, 1.0)
    # Minutes before the first job hold no arrivals, so sums need not leave them out.
    mean = counts.sum(axis=0) / known
    variance = np.square(counts).sum(axis=0) / known - np.square(mean)
    enough = (recorded >= _LEAST_BINS) & (mean > 0)
    spread = np.where(enough, variance / np.where(mean > 0, mean, 1.0), 1.0)
    return ArrivalStatistics(np.maximum(rate5, rate10), recent, spread)


def _nothing(reason: str) -> Unknown:
    return Unknown(reason, "")


def _blind(fleet: Fleet, reason: str) -> Observation:
    nothing = _nothing(reason)
    return Observation(
        waiting=nothing,
        in_flight=nothing,
        idle=nothing,
        arrival_rate=nothing,
        recent_rate=nothing,
        burstiness=nothing,
        mean_duration=nothing,
        startup=nothing,
        fleet=fleet,
    )
