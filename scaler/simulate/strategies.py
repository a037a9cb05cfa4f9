"""Who scales the simulated world: this scaler's policies, KEDA with the HPA, nobody."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.memory import Memory
from scaler.policy.target import Target
from scaler.policy.trailing_maxima import Window, push
from scaler.simulate.delayed_view import DelayedView
from scaler.simulate.world import World


class Strategy(Protocol):
    """Acts on the world at every tick."""

    def step(self, world: World) -> int:
        """Do what it does at the world's present moment; how many workers it now wants."""


class Ours:
    """The scaler's own decisions; idle workers are let go and nobody else."""

    def __init__(self, target: Target, view: DelayedView) -> None:
        self._target = target
        self._view = view
        self._memory = Memory()

    def step(self, world: World) -> int:
        """Observe, decide, apply."""
        observation = self._view.observe(world)
        decision, self._memory = decide(observation, self._memory, self._target, world.now)
        wanted = decision.replicas
        assert wanted is not None  # noqa: S101 - the world shows its fleet
        missing = wanted - world.running
        if missing > 0:
            world.start(missing)
        elif missing < 0:
            self._shrink(world, decision, wanted)
        return wanted

    def _shrink(self, world: World, decision: Decision, _wanted: int) -> None:
        if decision.retire:
            world.retire_idle(decision.retire)


class SetReplicas(Ours):
    """The scaler's decisions as a bare replica count: Swarm stops whom it likes, with a grace."""

    def __init__(self, target: Target, view: DelayedView, grace_s: float) -> None:
        super().__init__(target, view)
        self._grace_s = grace_s

    def _shrink(self, world: World, _decision: Decision, wanted: int) -> None:
        world.stop_any(world.running - wanted, self._grace_s)


@dataclass(frozen=True, slots=True)
class KedaSettings:
    """A ScaledObject with an HPA."""

    minimum: int
    maximum: int
    value: float = 20.0
    """Jobs per replica: the RabbitMQ trigger's default is 20."""
    window_s: float = 300.0
    """Stabilisation window for scaling down."""
    ready_only: bool = False
    """Over AMQP only ready messages count; over HTTP those in progress too."""
    idle_first: bool = True
    """Whether pods are given a deletion cost, so that busy ones go last."""
    tolerance: float = 0.1
    poll_s: float = 30.0
    cooldown_s: float = 300.0


class Keda:
    """KEDA and the Kubernetes HPA at its 15 s; pods that go finish their job first."""

    def __init__(self, settings: KedaSettings) -> None:
        self._settings = settings
        self._highest: Window = ()
        self._recommended: deque[int] = deque()
        self._active_at = 0.0
        self._polled_at = -math.inf

    def step(self, world: World) -> int:
        """One sync."""
        settings, current = self._settings, world.running
        load = len(world.waiting) + (0 if settings.ready_only else world.busy)
        wanted = self._bounded(
            self._from_zero(load, world.now) if not current else None, load, world
        )
        if wanted > current:
            world.start(wanted - current)
        elif wanted < current:
            self._shrink(world, current - wanted)
        return wanted

    def _bounded(self, activated: int | None, load: int, world: World) -> int:
        settings, current = self._settings, world.running
        if load:
            self._active_at = world.now
        if activated is not None:
            return activated
        if settings.minimum == 0 and world.now - self._active_at >= settings.cooldown_s:
            return 0
        desired = self._desired(load, current)
        self._highest = push(self._highest, world.now, desired, settings.window_s)
        stabilised = int(self._highest[0][1])
        most = max(2 * current, current + 4)
        return max(settings.minimum, 1, min(stabilised, most, settings.maximum))

    def _desired(self, load: int, current: int) -> int:
        settings = self._settings
        ratio = load / (settings.value * current)
        if abs(ratio - 1.0) <= settings.tolerance:
            return current
        return math.ceil(load / settings.value)

    def _from_zero(self, load: int, now: float) -> int:
        if now - self._polled_at < self._settings.poll_s:
            return 0
        self._polled_at = now
        return 1 if load else 0

    def _shrink(self, world: World, count: int) -> None:
        """Pods that are not ready go first, as the ReplicaSet controller has it."""
        count -= world.cancel_starting(count)
        if self._settings.idle_first:
            count -= world.retire_idle(count)
            world.stop_busy(count, math.inf)
        elif count:
            world.stop_any(count, math.inf)


class Fixed:
    """A fleet of constant size, which has to be started like any other."""

    def __init__(self, size: int) -> None:
        self._size = size

    def step(self, world: World) -> int:
        """Start what is missing: all of it at first, later nothing."""
        world.start(max(0, self._size - world.running))
        return self._size
