"""A target in several services: the cheapest is filled first, the dearest gives back first.

Wraps any orchestrator, which sees each pool as a target with one service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scaler.orchestrators.base import Orchestrator, OrchestratorError
from scaler.policy.observation import Fleet, PoolFleet, Worker
from scaler.policy.pools import Patience, Place, split, waited
from scaler.policy.target import Pool, Target

# An idle worker that is asked leaves within seconds, and Swarm removes its slot in one more.
_SETTLES_IN_S = 10.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """One pool at the last look."""

    pool: Pool
    view: Target
    """The pool as the wrapped orchestrator knows it."""
    fleet: Fleet
    patience: Patience

    def place(self, *, urgent: bool = False) -> Place:
        """As `split` takes it; in an emergency, also where the hold yields."""
        fleet, own = self.fleet, self.pool.max_workers
        held = fleet.hold is not None and not (urgent and fleet.hold_yields)
        lost = fleet.running - self.patience.counted if self.patience.given_up else 0
        return Place(
            running=fleet.running,
            most=own if fleet.most is None else min(own, fleet.most),
            lost=lost,
            leaving=fleet.draining,
            open=not held and not self.patience.given_up,
        )

    @property
    def closed(self) -> str:
        """Why it takes no further worker now, "" when it does."""
        if self.patience.given_up:
            return f"no place for more within {self.pool.pending_after:g} s"
        if self.fleet.hold is not None:
            return f"held: {self.fleet.hold}"
        return "" if self.place().room else "full"


class Pooled(Orchestrator):
    """The orchestrator that it is given, for targets with pools as well as without."""

    def __init__(
        self, wrapped: Orchestrator, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = wrapped.name
        self._wrapped = wrapped
        self._clock = clock
        self._seen: dict[str, list[_Seen]] = {}
        self._changed_at: dict[str, float] = {}

    def fleet(self, target: Target, workers: Sequence[Worker]) -> Fleet:
        """The sum over the pools, without those workers that are not counted on any more."""
        if not target.pools:
            return self._wrapped.fleet(target, workers)
        before = {seen.pool.service: seen.patience for seen in self._seen.get(target.name, ())}
        looked = [
            self._look(target, pool, workers, before.get(pool.service))
            for pool in target.cheapest_first
        ]
        self._seen[target.name] = looked
        return _sum(looked)

    def _look(
        self, target: Target, pool: Pool, workers: Sequence[Worker], before: Patience | None
    ) -> _Seen:
        view = target.in_pool(pool)
        fleet = self._wrapped.fleet(view, workers)
        patience = waited(before, fleet, pool.pending_after, self._clock())
        return _Seen(pool, view, fleet, patience)

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        """Fill the cheapest pool, then the next; one that refuses is passed over."""
        if not target.pools:
            return self._wrapped.scale_up(target, running, urgent=urgent)
        pools = self._seen[target.name]
        places = [seen.place(urgent=urgent) for seen in pools]
        done, refused = [], []
        for number, seen in enumerate(pools):
            share = split(running, places)[number]
            if share <= places[number].running:
                continue
            try:
                done.append(self._wrapped.scale_up(seen.view, share, urgent=urgent))
                self._note_change(seen)
            except OrchestratorError as error:
                refused.append(f"{seen.pool.service}: {error}")
                places[number] = replace(places[number], open=False)
        if refused and not done:
            raise OrchestratorError("; ".join(refused))
        closed = [f"{seen.pool.service} {seen.closed}" for seen in pools if seen.closed]
        return "; ".join([*closed, *refused, *done])

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        """Idle workers of the dearest pool, then of the next one, each pool's in its own order.

        The cheaper ones wait while a dearer one takes in a change: it may have more to give.
        """
        if not target.pools:
            return self._wrapped.victims(target, idle, count)
        chosen: list[Worker] = []
        for seen in reversed(self._seen[target.name]):
            held = seen.fleet.hold is not None
            lacking = count - len(chosen)
            given = () if held else self._wrapped.victims(seen.view, idle, lacking)
            chosen += given
            if given:
                self._note_change(seen)
            if len(chosen) >= count or (seen.fleet.running > len(given) and self._changes(seen)):
                break
        return chosen

    def _note_change(self, seen: _Seen) -> None:
        self._changed_at[seen.pool.service] = self._clock()

    def _changes(self, seen: _Seen) -> bool:
        changed_at = self._changed_at.get(seen.pool.service)
        return changed_at is not None and self._clock() - changed_at < _SETTLES_IN_S

    def settle(self, target: Target) -> str | None:
        """Settle every pool, even where another cannot be."""
        if not target.pools:
            return self._wrapped.settle(target)
        done: list[str] = []
        failed = False
        for seen in self._seen[target.name]:
            try:
                settled = self._wrapped.settle(seen.view)
                if settled:
                    done.append(settled)
                    self._note_change(seen)
            except OrchestratorError as error:
                done.append(f"{seen.pool.service}: {error}")
                failed = True
        if failed:
            raise OrchestratorError("; ".join(done))
        return "; ".join(done) or None

    def discover(self) -> Sequence[Mapping[str, Any]]:
        """As the wrapped one."""
        return self._wrapped.discover()

    def close(self) -> None:
        """Close the wrapped one."""
        self._wrapped.close()


def _sum(pools: Sequence[_Seen]) -> Fleet:
    """One fleet of all; held only if every pool is."""

    def total(name: str) -> int:
        return sum(getattr(seen.fleet, name) for seen in pools)

    lost = [seen.place().lost for seen in pools]
    # What those given up on lack is made up for elsewhere, unless there is no elsewhere.
    trusted = [seen for seen in pools if not seen.patience.given_up] or pools
    obstructed = [seen for seen in trusted if seen.fleet.obstacle is not None]
    held = all(seen.fleet.hold is not None for seen in pools)
    return Fleet(
        replicas=total("replicas"),
        running=total("running") - sum(lost),
        starting=_less(pools, "starting", lost),
        draining=total("draining"),
        dead=total("dead"),
        unhealthy=total("unhealthy"),
        hold=_words(pools, "hold") if held else None,
        hold_yields=held and any(seen.fleet.hold_yields for seen in pools),
        obstacle=_words(obstructed, "obstacle") or None,
        obstacle_kind=obstructed[0].fleet.obstacle_kind if obstructed else None,
        pending=_less(pools, "pending", lost),
        pools=tuple(_part(seen) for seen in pools),
    )


def _less(pools: Sequence[_Seen], name: str, lost: Sequence[int]) -> int:
    pairs = zip(pools, lost, strict=True)
    return sum(max(0, getattr(seen.fleet, name) - gone) for seen, gone in pairs)


def _words(pools: Iterable[_Seen], name: str) -> str:
    return "; ".join(f"{seen.pool.service}: {getattr(seen.fleet, name)}" for seen in pools)


def _part(seen: _Seen) -> PoolFleet:
    fleet = seen.fleet
    running = seen.place().counted
    return PoolFleet(seen.pool.service, running, fleet.pending, fleet.draining, seen.closed)
