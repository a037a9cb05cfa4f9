"""A target's past is read once Prometheus shows its present, and before anything is decided by it.

A scaler that starts while Prometheus is away goes on with what its history had, and completes that
as soon as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from scaler.loop.containment import Containment, LoopPart
from scaler.loop.restore import Due
from scaler.loop.target_state import Look, TargetState
from scaler.policy.memory import Memory
from scaler.policy.remember import unknown_signal

Restorer = Callable[[Sequence[Due], float], Mapping[str, Memory]]
"""The memories at a time (epoch seconds) by target's name; may raise."""
_TRIES = 3


class Recall:
    """Completes memories."""

    def __init__(self, restore: Restorer, contained: Containment) -> None:
        self._restore = restore
        self._contained = contained

    def complete(
        self, states: Sequence[TargetState], looks: Mapping[str, Look], now: float
    ) -> Collection[str]:
        """Read what can be read now; the names of targets that have to wait for their past."""
        due = [state for state in states if state.past is not None and _sees(state, looks)]
        if not due:
            return ()
        memories: Mapping[str, Memory] = {}
        with self._contained.of(LoopPart.PAST):
            memories = self._restore([_due(state, looks) for state in due], now)
        for state in due:
            self._settle(state, memories.get(state.target.name))
        return [state.target.name for state in due if state.past is not None]

    @staticmethod
    def _settle(state: TargetState, memory: Memory | None) -> None:
        past = state.past
        if past is None:
            return
        past.tries += 1
        if memory is not None:
            with state.lock:
                state.memory = _with_what_came_since(memory, state.memory, past.kept)
        if memory is not None or past.tries >= _TRIES:
            state.past = None


def _sees(state: TargetState, looks: Mapping[str, Look]) -> bool:
    look = looks.get(state.target.name)
    return look is not None and unknown_signal(look.observation, state.target) is None


def _due(state: TargetState, looks: Mapping[str, Look]) -> Due:
    kept = state.past.kept if state.past else None
    return Due(state.target, kept, looks[state.target.name].observation)


def _with_what_came_since(rebuilt: Memory, present: Memory, kept: Memory | None) -> Memory:
    """`rebuilt` with what was ordered, and what was decided while nothing was seen."""
    rebuilt = rebuilt._replace(order=present.order)
    if present.target is None or present.at == (kept.at if kept else None):
        return rebuilt
    return rebuilt._replace(
        target=present.target,
        changed_at=present.changed_at,
        replaced=present.replaced,
    )
