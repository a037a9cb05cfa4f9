"""One run: a trace, a world, a strategy, a score."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from common.errors import InvalidInputError
from scaler.policy.target import Rule, Target
from scaler.simulate.clairvoyant import AlwaysOn, always_on, clairvoyant_cost
from scaler.simulate.delayed_view import DelayedView, ViewSettings
from scaler.simulate.score import Score, score
from scaler.simulate.strategies import Fixed, Keda, KedaSettings, Ours, SetReplicas, Strategy
from scaler.simulate.trace import DAY_S, Floats, Trace
from scaler.simulate.world import World, WorldSettings

Progress = Callable[[float], None]
"""Called now and then with the share that is done."""

_PROGRESS_TICKS = 2000
# A year and a half at 5 s.
_MOST_TICKS = 10_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with its settings."""

    kind: str
    """ours, plan, keda or fixed."""
    label: str
    """The settings, for people."""
    tick_s: float
    target: Target = field(default_factory=Target)
    keda: KedaSettings | None = None
    grace_s: float = 10.0
    """Under the threshold rule: what workers are given to finish, when stopped."""
    size: int = 0
    """Of a fixed fleet."""


@dataclass(frozen=True, slots=True)
class Arena:
    """What all policies of one comparison share."""

    trace: Trace
    minimum: int
    maximum: int
    world: WorldSettings
    pool: AlwaysOn
    c0_s: float


def arena(trace: Trace, minimum: int, maximum: int, world: WorldSettings) -> Arena:
    """The comparison over `trace`, with its always-on pool and its bound worked out."""
    pool = always_on(trace, maximum)
    c0 = clairvoyant_cost(pool, minimum, world.startup_s)
    return Arena(trace, minimum, maximum, world, pool, c0)


@dataclass(slots=True)
class Timeline:
    """Queue and fleet over time."""

    at: list[float] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    total: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)

    def add(self, world: World, wanted: int) -> None:
        """Note the present moment."""
        self.at.append(world.now)
        self.waiting.append(len(world.waiting))
        self.busy.append(world.busy)
        self.total.append(world.total)
        self.wanted.append(wanted)


def run(
    given: Arena,
    policy: Policy,
    *,
    view: ViewSettings | None = None,
    seed: int = 0,
    timeline: Timeline | None = None,
    progress: Progress = lambda _: None,
    strategy: Callable[[DelayedView], Strategy] | None = None,
) -> Score:
    """Replay the trace under `policy`. The seed sets the ticks' phase and all chance.

    Every policy begins with the minimum; what it has beyond that it starts and pays for. With a
    `strategy` that one acts, at the policy's ticks.
    """
    ticks = _ticks(given, policy, seed)
    settings = ViewSettings(tick_s=policy.tick_s) if view is None else view
    workers = min(given.minimum, policy.size) if policy.kind == "fixed" else given.minimum
    world = World(given.trace, workers, given.world, seed)
    seen = DelayedView(given.trace, settings, given.world.startup_s, ticks, seed)
    acting = _strategy(policy, seen) if strategy is None else strategy(seen)
    moves: list[int] = []
    end = given.pool.horizon_s
    now, step = float(ticks[0]), policy.tick_s
    count = 0
    while not (world.finished and world.now >= end):
        world.advance(max(world.now, now - seen.before_s))
        seen.sample(world)
        world.advance(now)
        before = world.running
        wanted = acting.step(world)
        if world.running != before:
            moves.append(world.running - before)
        if timeline is not None:
            timeline.add(world, wanted)
        count += 1
        if count % _PROGRESS_TICKS == 0:
            progress(min(1.0, now / end))
        now += step
    world.settle()
    progress(1.0)
    return score(given.trace, given.pool, given.c0_s, world, moves)


def _ticks(given: Arena, policy: Policy, seed: int) -> Floats:
    """When the policy looks. What it sees of arrivals is worked out for all of these at once."""
    phase = random.Random(seed).random() * policy.tick_s
    # Room for a policy that lags behind; after the last arrival all statistics are those of 0.
    end = given.pool.horizon_s + 3600
    if end > _MOST_TICKS * policy.tick_s:
        raise InvalidInputError(
            "trace",
            f"{end / DAY_S:.0f} days",
            f"at most {_MOST_TICKS:,} looks of {policy.tick_s:g} s",
        )
    return np.arange(phase, end, policy.tick_s)


def _strategy(policy: Policy, view: DelayedView) -> Strategy:
    if policy.kind == "keda" and policy.keda is not None:
        return Keda(policy.keda)
    if policy.kind == "fixed":
        return Fixed(policy.size)
    if policy.target.policy is Rule.PLAN:
        return SetReplicas(policy.target, view, policy.grace_s)
    return Ours(policy.target, view)
