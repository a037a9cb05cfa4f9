"""A target in several services: the cheapest is filled first, the dearest gives back first.

Wraps any orchestrator, which sees each pool as a target with one service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from scaler.orchestrators.base import FleetHandle, Offer, Orchestrator, OrchestratorError
from scaler.policy.observation import Fleet, PoolFleet, Worker
from scaler.policy.pools import Patience, Place, split, waited
from scaler.policy.target import Pool, Target

# An idle worker that is asked leaves within seconds, and Swarm removes its slot in one more.
_SETTLES_IN_S = 10.0


class _Changes:
    """When each pool was last changed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at: dict[str, float] = {}

    def note(self, service: str) -> None:
        self._at[service] = self._clock()

    def settling(self, service: str) -> bool:
        """Whether what was changed there may still show."""
        at = self._at.get(service)
        return at is not None and self._clock() - at < _SETTLES_IN_S

    def keep(self, services: Collection[str]) -> None:
        """Forget all others."""
        self._at = {name: at for name, at in self._at.items() if name in services}


@dataclass(frozen=True, slots=True)
class _PoolLook:
    """One pool as the wrapped orchestrator shows it."""

    pool: Pool
    handle: FleetHandle
    patience: Patience

    @property
    def fleet(self) -> Fleet:
        return self.handle.facts

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


@dataclass(frozen=True, slots=True)
class _Pools(FleetHandle):
    """Several services as one fleet."""

    facts: Fleet
    """The sum over the pools, without those workers that are not counted on any more."""
    parts: Sequence[_PoolLook]
    """Cheapest first."""
    changes: _Changes

    def scale_up(self, running: int, *, urgent: bool = False) -> str:
        """Fill the cheapest pool, then the next; one that refuses is passed over."""
        places = [part.place(urgent=urgent) for part in self.parts]
        done, refused = [], []
        for number, part in enumerate(self.parts):
            share = split(running, places)[number]
            if share <= places[number].running:
                continue
            try:
                done.append(part.handle.scale_up(share, urgent=urgent))
                self.changes.note(part.pool.service)
            except OrchestratorError as error:
                refused.append(f"{part.pool.service}: {error}")
                places[number] = replace(places[number], open=False)
        if refused and not done:
            raise OrchestratorError("; ".join(refused))
        closed = [f"{part.pool.service} {part.closed}" for part in self.parts if part.closed]
        return "; ".join([*closed, *refused, *done])

    def victims(self, idle: Sequence[Worker], count: int, /) -> Sequence[Worker]:
        """Idle workers of the dearest pool, then of the next one, each pool's in its own order.

        The cheaper ones wait while a dearer one takes in a change: it may have more to give.
        """
        chosen: list[Worker] = []
        for part in reversed(self.parts):
            held, service = part.fleet.hold is not None, part.pool.service
            given = () if held else part.handle.victims(idle, count - len(chosen))
            chosen += given
            if given:
                self.changes.note(service)
            waits = part.fleet.running > len(given) and self.changes.settling(service)
            if len(chosen) >= count or waits:
                break
        return chosen

    def reconcile(self) -> str | None:
        """Reconcile every pool, even where another cannot be."""
        done: list[str] = []
        failed = False
        for part in self.parts:
            try:
                reconciled = part.handle.reconcile()
                if reconciled:
                    done.append(reconciled)
                    self.changes.note(part.pool.service)
            except OrchestratorError as error:
                done.append(f"{part.pool.service}: {error}")
                failed = True
        if failed:
            raise OrchestratorError("; ".join(done))
        return "; ".join(done) or None


class Pooled(Orchestrator):
    """The orchestrator that it is given, for targets with pools as well as without."""

    def __init__(
        self, wrapped: Orchestrator, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wrapped = wrapped
        self._clock = clock
        self._patience: dict[str, dict[str, Patience]] = {}
        """By target and service."""
        self._changes = _Changes(clock)

    @property
    def fence(self) -> Callable[[], None]:
        """As the wrapped one's, which makes the changes."""
        return self._wrapped.fence

    @fence.setter
    def fence(self, check: Callable[[], None]) -> None:
        self._wrapped.fence = check

    def refresh(self, targets: Sequence[Target]) -> None:
        """One look for the services of all pools."""
        present = {target.name for target in targets}
        self._patience = {name: kept for name, kept in self._patience.items() if name in present}
        self._changes.keep({name for target in targets for name in target.services})
        self._wrapped.refresh([part for target in targets for part in _parts(target)])

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        """The pools as one fleet."""
        if not target.pools:
            return self._wrapped.fleet(target, workers)
        before = self._patience.get(target.name, {})
        parts = [
            self._look(target, pool, workers, before.get(pool.service))
            for pool in target.cheapest_first
        ]
        self._patience[target.name] = {part.pool.service: part.patience for part in parts}
        return _Pools(_sum(parts), parts, self._changes)

    def _look(
        self, target: Target, pool: Pool, workers: Sequence[Worker] | None, before: Patience | None
    ) -> _PoolLook:
        handle = self._wrapped.fleet(target.in_pool(pool), workers)
        patience = waited(before, handle.facts, pool.pending_after, self._clock())
        return _PoolLook(pool, handle, patience)

    def discover(self) -> Sequence[Offer]:
        """As the wrapped one."""
        return self._wrapped.discover()

    def close(self) -> None:
        """Close the wrapped one."""
        self._wrapped.close()


def _parts(target: Target) -> Sequence[Target]:
    """As the wrapped orchestrator knows it."""
    return [target.in_pool(pool) for pool in target.cheapest_first] or [target]


def _sum(pools: Sequence[_PoolLook]) -> Fleet:
    """One fleet of all; held only if every pool is."""

    def total(name: str) -> int:
        return sum(getattr(part.fleet, name) for part in pools)

    lost = [part.place().lost for part in pools]
    # What those given up on lack is made up for elsewhere, unless there is no elsewhere.
    trusted = [part for part in pools if not part.patience.given_up] or pools
    obstructed = [part for part in trusted if part.fleet.obstacle is not None]
    held = all(part.fleet.hold is not None for part in pools)
    return Fleet(
        replicas=total("replicas"),
        running=total("running") - sum(lost),
        starting=_less(pools, "starting", lost),
        draining=total("draining"),
        dead=total("dead"),
        unhealthy=total("unhealthy"),
        hold=_words(pools, "hold") if held else None,
        hold_yields=held and any(part.fleet.hold_yields for part in pools),
        obstacle=_words(obstructed, "obstacle") or None,
        obstacle_kind=obstructed[0].fleet.obstacle_kind if obstructed else None,
        pending=_less(pools, "pending", lost),
        pools=tuple(_pool_fleet(part) for part in pools),
    )


def _less(pools: Sequence[_PoolLook], name: str, lost: Sequence[int]) -> int:
    pairs = zip(pools, lost, strict=True)
    return sum(max(0, getattr(part.fleet, name) - gone) for part, gone in pairs)


def _words(pools: Iterable[_PoolLook], name: str) -> str:
    return "; ".join(f"{part.pool.service}: {getattr(part.fleet, name)}" for part in pools)


def _pool_fleet(part: _PoolLook) -> PoolFleet:
    fleet, running = part.fleet, part.place().counted
    return PoolFleet(part.pool.service, running, fleet.pending, fleet.draining, part.closed)
