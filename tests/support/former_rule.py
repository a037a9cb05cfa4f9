"""The rule as it was before it asked whether bursts come back: what benches and tests compare with.

Written out on its own, so that it stays as it is whatever becomes of `scaler/policy`.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, e, exp, sqrt
from statistics import NormalDist

from scaler.policy.decide import decide
from scaler.policy.memory import Memory
from scaler.policy.observation import Known, Observation, Unknown, value_of
from scaler.policy.target import Target
from scaler.policy.usual import NOTHING
from scaler.simulate.arena import Arena, run
from scaler.simulate.delayed_view import DelayedView, ViewSettings
from scaler.simulate.peers import ours
from scaler.simulate.score import Score
from scaler.simulate.world import World

_LOOK_BACK_S = 600.0
_LONGEST_TICK_S = 60.0


class FormerRule:
    """Workers for what is seen, look after look, with the default of every knob but w."""

    def __init__(
        self, wait_weight: float, minimum: int, maximum: int, startup_s: float = 10.0
    ) -> None:
        """`startup_s` counts where the start-up is not known."""
        covered = wait_weight / (1.0 + wait_weight)
        self._w = wait_weight
        self._z = max(0.0, NormalDist().inv_cdf(covered)) if covered > 0 else 0.0
        self._counted_on = 1.0 - covered
        self._bounds = minimum, maximum
        self._startup_s = startup_s
        self._at: float | None = None
        self._number: int | None = None
        self._busy = 0
        self._window: list[tuple[float, int]] = []
        self._capped_at: float | None = None
        self._capped_again = False
        self._capped_until = float("-inf")

    def number(self, seen: Observation, now: float) -> int:
        """How many workers to have from `now` on. The fleet has to be seen, and nobody unwell."""
        fleet = seen.fleet
        assert fleet is not None
        low, high = self._bounds
        if isinstance(seen.in_flight, Known):
            self._busy = ceil(seen.in_flight.value)
        busy = min(self._busy, fleet.running)
        if isinstance(seen.waiting, Known) and isinstance(seen.in_flight, Known):
            wanted = self._lately(seen, seen.waiting, seen.in_flight, now)
            number = max(min(max(wanted, low), high), busy)
        else:
            number = fleet.running if self._number is None else self._number
            number = min(max(number, low, busy), max(high, fleet.running))
        self._at, self._number = now, number
        return number

    def _lately(self, seen: Observation, waiting: Known, in_flight: Known, now: float) -> int:
        """The most that was wanted within the window, or the maximum that is kept."""
        demand = waiting.value + in_flight.value
        tick = 0.0 if self._at is None else min(now - self._at, _LONGEST_TICK_S)
        age = min(max(waiting.age_s, in_flight.age_s), _LOOK_BACK_S)
        startup = value_of(seen.startup)
        horizon = (self._startup_s if startup is None else startup) + tick + age
        high = self._bounds[1]
        saved = max(0.0, 1.0 - demand / high) * self._relief(seen, in_flight, horizon)
        wanted = ceil(demand + self._headroom(seen, horizon) - saved)
        if not self._window and seen.fleet is not None:
            wanted = max(wanted, seen.fleet.running)
        if wanted > high:
            self._exceeded(now, horizon)
        self._window = [
            (at, value)
            for at, value in self._window
            if at >= now - horizon / (e - 1.0) and value > wanted
        ]
        self._window.append((now, wanted))
        most = self._window[0][1]
        return max(most, high) if now <= self._capped_until else most

    def _headroom(self, seen: Observation, horizon: float) -> float:
        rate, mean, spread = map(value_of, (seen.arrival_rate, seen.mean_duration, seen.burstiness))
        if not rate:
            return 0.0
        stays = mean * (1.0 - exp(-horizon / mean)) if mean else horizon
        dispersion = 1.0 if spread is None else min(max(spread, 1.0), 30.0)
        return self._z * sqrt(dispersion * rate * stays)

    def _relief(self, seen: Observation, in_flight: Known, horizon: float) -> float:
        mean = value_of(seen.mean_duration)
        return self._counted_on * (in_flight.value * (1.0 - exp(-horizon / mean))) if mean else 0.0

    def _exceeded(self, now: float, horizon: float) -> None:
        """The maximum is kept from the second time on that demand exceeds it."""
        before, self._capped_at = self._capped_at, now
        if before is None or now - before > horizon:
            self._capped_again = before is not None and now - before <= _LOOK_BACK_S
        if self._capped_again:
            self._capped_until = now + min((1.0 + self._w) * horizon, _LOOK_BACK_S)


class Former:
    """A strategy of the simulator by that rule; idle workers are let go and nobody else."""

    def __init__(self, rule: FormerRule, view: DelayedView) -> None:
        self._rule = rule
        self._view = view

    def step(self, world: World) -> int:
        """Observe, decide, apply."""
        seen = self._view.observe(world)
        number = self._rule.number(seen, world.now)
        apply(number, seen, world)
        return number


class Both:
    """The scaler decides and acts, never knowing what is usual; the former rule is asked of the
    very same looks."""

    def __init__(self, target: Target, rule: FormerRule, view: DelayedView) -> None:
        self._target = target
        self._rule = rule
        self._view = view
        self._memory = Memory()
        self.asked = 0
        self.differences: list[tuple[float, int, int]] = []
        """(time, what was decided, what the former rule had said) wherever they are not the
        same."""

    def step(self, world: World) -> int:
        """Observe, decide twice, apply the scaler's."""
        # Growth was not asked for either.
        seen = replace(self._view.observe(world), recent_rate=Unknown("it was not asked", ""))
        memory = self._memory._replace(usual=NOTHING)
        decision, self._memory = decide(seen, memory, self._target, world.now)
        number, former = decision.replicas, self._rule.number(seen, world.now)
        assert number is not None
        self.asked += 1
        if number != former:
            self.differences.append((world.now, number, former))
        apply(number, seen, world)
        return number


def apply(number: int, seen: Observation, world: World) -> None:
    """Start what is missing; of what is too much, let those go that are seen to be idle."""
    idle = value_of(seen.idle) or 0.0
    if number > world.running:
        world.start(number - world.running)
    else:
        world.retire_idle(min(world.running - number, int(idle)))


def side_by_side(
    given: Arena, wait_weight: float, *, view: ViewSettings, seed: int = 0
) -> tuple[Score, Both]:
    """A whole run in `given`: its score, and the decisions beside what the former rule had said."""
    policy = ours(given, tick_s=view.tick_s, wait_weight=wait_weight)
    made: list[Both] = []

    def both(seeing: DelayedView) -> Both:
        rule = FormerRule(wait_weight, given.minimum, given.maximum)
        made.append(Both(policy.target, rule, seeing))
        return made[0]

    score = run(given, policy, view=view, seed=seed, strategy=both)
    return score, made[0]
