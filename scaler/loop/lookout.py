"""Each cycle's look: at Prometheus, and side by side at every backend, for all targets at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Protocol

from common.background import Background
from scaler.loop.containment import Containment, LoopPart, sentence
from scaler.loop.target_state import Look, TargetState
from scaler.orchestrators.base import Orchestrator, OrchestratorError
from scaler.policy.target import Target
from scaler.prometheus.look import Seen

PATIENCE_S = 2.5
"""How long a look may take: what has not answered by then is unknown, the rest is not."""


class Sight(Protocol):
    """What Prometheus knows."""

    def look(self, targets: Sequence[Target], /) -> Mapping[str, Seen]:
        """Of each target now, by its name."""


class _Backend:
    """One backend's looks, on a thread that only it waits for."""

    def __init__(self, name: str, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self._thread = Background(f"look-{name}", 1)
        self._name = name
        self._out: Future[None] | None = None
        self._since = 0.0

    def begin(self, targets: Sequence[Target], now: float) -> None:
        """Look, unless the look before has not ended yet."""
        if self._out is None:
            self._since = now
            self._out = self._thread.submit(partial(self.orchestrator.refresh, targets))

    def problem(self, until: float, now: float) -> str | None:
        """Why nothing is known of its fleets; None when they are."""
        if self._out is None:
            return "it was not asked"
        try:
            self._out.result(max(0.0, until - now))
        except TimeoutError:
            if not self._out.done():
                return f"{self._name} has not answered for {until - self._since:.0f} s"
            self._out = None
            return f"{self._name} did not answer in time"
        except OrchestratorError as error:
            self._out = None
            return str(error)
        except Exception as error:
            self._out = None
            return f"{self._name}: {sentence(error)}"
        self._out = None
        return None

    def close(self) -> None:
        self._thread.close()


class Lookout:
    """Looks for the loop, which alone may call it."""

    def __init__(
        self,
        sight: Sight,
        contained: Containment,
        *,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sight = sight
        self._patience_s = patience_s
        self._contained = contained
        self._clock = clock
        self._backends: dict[str, _Backend] = {}

    def watch(self, orchestrators: Mapping[str, Orchestrator]) -> None:
        """Look at these backends from now on."""
        for name, orchestrator in orchestrators.items():
            known = self._backends.get(name)
            if known is None or known.orchestrator is not orchestrator:
                self._backends[name] = _Backend(name, orchestrator)
        for name in self._backends.keys() - orchestrators.keys():
            self._backends.pop(name).close()

    def refresh(self, targets: Sequence[Target]) -> None:
        """Look at the backends alone, so that they can tell who asks to be scaled."""
        self._begin(targets)
        self._end()

    def look(self, states: Sequence[TargetState]) -> dict[str, Look]:
        """What there is of each target, by its name. Whatever fails is unknown there."""
        targets = [state.target for state in states]
        until = self._begin(targets)
        seen: Mapping[str, Seen] = {}
        with self._contained.of(LoopPart.SIGNALS):
            seen = self._sight.look(targets)
        problems = self._end(until)
        return {
            state.target.name: self._look_of(state, seen[state.target.name], problems)
            for state in states
            if state.target.name in seen
        }

    def _begin(self, targets: Sequence[Target]) -> float:
        by_backend: dict[str, list[Target]] = {name: [] for name in self._backends}
        for target in targets:
            by_backend.setdefault(target.orchestrator, []).append(target)
        now = self._clock()
        for name, backend in self._backends.items():
            backend.begin(by_backend[name], now)
        return now + self._patience_s

    def _end(self, until: float | None = None) -> dict[str, str]:
        until = self._clock() + self._patience_s if until is None else until
        problems = {}
        for name, backend in self._backends.items():
            problem = backend.problem(until, self._clock())
            if problem is not None:
                problems[name] = problem
        return problems

    def _look_of(self, state: TargetState, seen: Seen, problems: Mapping[str, str]) -> Look:
        before = state.look.workers if state.look else None
        workers = before if seen.workers is None else seen.workers
        problem = problems.get(state.target.orchestrator)
        if problem is None:
            try:
                fleet = state.orchestrator.fleet(state.target, workers)
                self._contained.works(LoopPart.FLEET, state.target.name)
                return Look(replace(seen.observation, fleet=fleet.facts), workers, fleet)
            except OrchestratorError as error:
                problem = str(error)
            except Exception as error:
                problem = sentence(error)
                self._contained.failed(LoopPart.FLEET, state.target.name, problem, error)
        return Look(replace(seen.observation, fleet_error=problem), workers)
