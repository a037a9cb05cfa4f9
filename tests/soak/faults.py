"""What goes wrong in a soak and when, drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """One kind of fault each."""

    KILL = "worker killed"
    CUT_BROKER = "broker connection cut"
    CUT_LEDGER = "Redis connection cut"
    STALL_BROKER = "broker connections stalled"
    STALL_LEDGER = "Redis connections stalled"
    BROKER_RESTART = "broker restarted"
    BROKER_CRASH = "broker killed"
    LEDGER_RESTART = "Redis restarted"
    LEDGER_OLDER = "Redis older"
    MEMORY_ALARM = "memory alarm"
    RESULTS_FULL = "result queue full"
    RETRIES_REFUSE = "retry queues refusing"
    DEAD_FULL = "dead queue full"
    JOBS_REFUSE = "job queue refusing"


@dataclass(frozen=True, slots=True)
class Recurring:
    """How often a fault comes: `least` times, or once for every `jobs_each`; how long it lasts."""

    least: int
    jobs_each: int
    seconds: tuple[float, float] = (0.0, 0.0)


STREAMS: Sequence[Mapping[Fault, Recurring]] = (
    {
        Fault.KILL: Recurring(6, 100),
        Fault.CUT_BROKER: Recurring(3, 150),
        Fault.CUT_LEDGER: Recurring(2, 300),
    },
    {
        Fault.BROKER_RESTART: Recurring(1, 2_500),
        Fault.BROKER_CRASH: Recurring(1, 2_500),
        Fault.MEMORY_ALARM: Recurring(1, 2_500, (1.0, 12.0)),
        # A classic queue that restarts with fewer places than messages drops what is too much.
        Fault.JOBS_REFUSE: Recurring(1, 1_250, (3.0, 10.0)),
    },
    {
        Fault.LEDGER_RESTART: Recurring(1, 1_500),
        Fault.LEDGER_OLDER: Recurring(1, 1_500, (2.0, 8.0)),
        Fault.STALL_BROKER: Recurring(1, 1_000, (2.0, 20.0)),
        Fault.STALL_LEDGER: Recurring(1, 1_000, (2.0, 10.0)),
    },
    {
        Fault.RESULTS_FULL: Recurring(2, 700, (1.0, 20.0)),
        Fault.RETRIES_REFUSE: Recurring(1, 1_250, (2.0, 20.0)),
        Fault.DEAD_FULL: Recurring(1, 1_250, (2.0, 20.0)),
    },
)
"""Faults that would be in each other's way are in one stream; streams go on side by side."""
_LAST = 0.85
"""No fault begins after this share of the messages."""
_LONG_FROM = 2_000
"""With fewer jobs than this, faults last no longer than a third of the longest time."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault that begins when this share of the messages, 0 to 1, has come to its end."""

    at: float
    fault: Fault
    seconds: float
    choice: float
    """0 to 1: which of several is hit, and how."""

    def among(self, count: int) -> int:
        """The choice as an index."""
        return min(count - 1, int(self.choice * count))


def draw_faults(jobs: int, seed: int) -> list[list[Planned]]:
    """The faults of each stream, in order; the same for the same seed."""
    rng = random.Random(seed)
    return [_stream(recurring, jobs, rng) for recurring in STREAMS]


def _stream(recurring: Mapping[Fault, Recurring], jobs: int, rng: random.Random) -> list[Planned]:
    faults = [f for f, r in recurring.items() for _ in range(max(r.least, jobs // r.jobs_each))]
    rng.shuffle(faults)
    step = _LAST / len(faults)
    return [
        Planned(
            at=(number + rng.random()) * step,
            fault=fault,
            seconds=_lasting(recurring[fault], jobs, rng),
            choice=rng.random(),
        )
        for number, fault in enumerate(faults)
    ]


def _lasting(recurring: Recurring, jobs: int, rng: random.Random) -> float:
    """Mostly short, now and then long."""
    shortest, longest = recurring.seconds
    if jobs < _LONG_FROM:
        longest = max(shortest, longest / 3)
    return rng.triangular(shortest, longest, shortest)
