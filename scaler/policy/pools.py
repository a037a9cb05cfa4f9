"""How a target's workers are spread over its pools, and when a pool is given up on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaler.policy.observation import Fleet
from scaler.policy.trailing_maxima import Window, push


@dataclass(frozen=True, slots=True)
class Place:
    """One pool as it stands."""

    running: int
    """Workers asked of it and not told to go, those without a place among them."""
    most: int
    """Its maximum."""
    lost: int = 0
    """Those of `running` that are not counted on any more."""
    leaving: int = 0
    """Told to go, but still in their places."""
    open: bool = True
    """Whether it may be asked for more."""

    @property
    def counted(self) -> int:
        """Workers that are counted on."""
        return self.running - self.lost

    @property
    def room(self) -> int:
        """How many more it may be asked for."""
        return max(0, self.most - self.running - self.leaving) if self.open else 0


def split(wanted: int, pools: Sequence[Place]) -> list[int]:
    """How many each of `pools`, cheapest first, is to have running so that `wanted` are counted on.

    What is lacking goes to the cheapest that has room, what it cannot take to the next. None is
    ever given less than it has: growing stops nobody.
    """
    missing = wanted - sum(pool.counted for pool in pools)
    shares = []
    for pool in pools:
        more = max(0, min(missing, pool.room))
        shares.append(pool.running + more)
        missing -= more
    return shares


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a pool has been short of places."""

    since: float | None = None
    """When it began to be short, or last found a place; None while it is not short."""
    placed: int = 0
    """Workers that have a place."""
    lows: Window = ()
    """Trailing maximum of the negative of `placed`: its minimum since then, or over the time that
    is waited if that is shorter."""
    given_up: bool = False

    @property
    def counted(self) -> int:
        """Workers to count on in a pool that is given up: as many as had a place all the time, so
        that one which is started again and again counts for none."""
        return int(-self.lows[0][1]) if self.lows else 0


def waited(before: Patience | None, fleet: Fleet, wait_s: float, now: float) -> Patience:
    """The patience with a pool after a look at it at `now` (seconds of any clock).

    It is given up on when workers have found no place for `wait_s`, and again counted on when
    none is without. One that is seen for the first time, and of which the orchestrator says that
    it has no place, has been so for an unknown time: that is taken to be long.
    """
    placed = fleet.running - fleet.pending
    obstructed = fleet.obstacle is not None
    if not fleet.pending and not obstructed:
        return Patience(placed=placed)
    if before is None:
        before = Patience(now - wait_s, given_up=True) if obstructed else Patience()
    progress = placed > before.placed and not obstructed and not before.given_up
    if before.since is None or progress:
        return Patience(now, placed, push((), now, -placed, wait_s))
    # A clock that ran back must not make the wait longer than it is.
    since = min(before.since, now)
    given_up = before.given_up or now - since >= wait_s
    return Patience(since, placed, push(before.lows, now, -placed, wait_s), given_up)
