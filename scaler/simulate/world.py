"""The simulated world: a FIFO queue, interchangeable workers, and what they cost."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

from scaler.simulate.trace import Trace

_NEVER = math.inf


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """How workers behave."""

    startup_s: float = 45.0
    """S: seconds from asking for a worker until it takes jobs."""
    startup_spread: float = 0.0
    """Coefficient of variation of the start-up, log-normal; 0 is always the same."""
    start_failure: float = 0.0
    """Share of starts that fail at their end and begin again."""
    loss_per_hour: float = 0.0
    """Workers lost, per worker and hour, with their job going back to the queue."""


class World:
    """State at `now`; `advance` moves on, the other methods act at `now`."""

    def __init__(self, trace: Trace, workers: int, settings: WorldSettings, seed: int) -> None:
        self._arrivals = [*trace.arrivals.tolist(), _NEVER]
        self._durations = trace.durations.tolist()
        self._settings = settings
        self._rng = random.Random(seed)
        self.now = 0.0
        self.waiting: deque[int] = deque()
        self.idle = workers
        self.leaving: set[int] = set()
        """Busy workers that go when their job ends."""
        self.starts: list[float] = [math.nan] * len(trace)
        """When the latest attempt at each job began."""
        self.paid_s = 0.0
        self.killed = 0
        self.lost = 0
        self.wasted_s = 0.0
        self.done = 0
        self.last_end = 0.0
        self.ended: list[tuple[float, float]] = []
        """(end, duration) of jobs that have finished since the list was last emptied."""
        self._next = 0
        self._ready: list[float] = []
        self._ends: list[tuple[float, int]] = []
        self._kills: list[tuple[float, int]] = []
        self._busy: dict[int, int] = {}
        self._workers = 0
        self._total = workers
        self._paid_until = 0.0
        self._lost_until = 0.0

    @property
    def busy(self) -> int:
        """Workers with a job, leaving ones included."""
        return len(self._busy)

    @property
    def starting(self) -> int:
        """Workers that do not take jobs yet."""
        return len(self._ready)

    @property
    def running(self) -> int:
        """Workers that are there or starting, and not told to go."""
        return self.idle + len(self._ready) + len(self._busy) - len(self.leaving)

    @property
    def total(self) -> int:
        """All workers that cost."""
        return self._total

    @property
    def finished(self) -> bool:
        """Whether every job is done."""
        return self.done == len(self._durations)

    def advance(self, until: float) -> None:
        """Let everything happen that happens up to `until`."""
        arrivals, ready, ends, kills = self._arrivals, self._ready, self._ends, self._kills
        while True:
            arrival = arrivals[self._next]
            begin = ready[0] if ready else _NEVER
            end = ends[0][0] if ends else _NEVER
            kill = kills[0][0] if kills else _NEVER
            at = min(arrival, begin, end, kill)
            if at > until:
                break
            self.now = at
            if end == at:
                self._end()
            elif kill == at:
                self._kill(heapq.heappop(kills)[1])
            elif begin == at:
                heapq.heappop(ready)
                self.idle += 1
            else:
                self.waiting.append(self._next)
                self._next += 1
            self._match()
        self.now = until
        if self._settings.loss_per_hour:
            self._lose()
            self._match()

    def start(self, count: int) -> None:
        """Ask for that many more workers."""
        self._pay()
        self._total += count
        for _ in range(count):
            heapq.heappush(self._ready, self.now + self._startup())

    def retire_idle(self, count: int) -> int:
        """Let that many idle workers go, as far as there are; how many went."""
        gone = min(count, self.idle)
        self._pay()
        self._total -= gone
        self.idle -= gone
        return gone

    def cancel_starting(self, count: int) -> int:
        """Give up that many workers that have not started, the newest first; how many."""
        gone = min(count, len(self._ready))
        self._pay()
        self._total -= gone
        for _ in range(gone):
            self._ready.remove(max(self._ready))
        heapq.heapify(self._ready)
        return gone

    def stop_busy(self, count: int, grace_s: float) -> None:
        """Have that many busy workers, by chance, leave within `grace_s` or be killed."""
        staying = [worker for worker in self._busy if worker not in self.leaving]
        for worker in self._rng.sample(staying, min(count, len(staying))):
            self.leaving.add(worker)
            if grace_s < _NEVER:
                heapq.heappush(self._kills, (self.now + grace_s, worker))

    def stop_any(self, count: int, grace_s: float) -> None:
        """Have workers leave without a look at who is busy, as Swarm picks them."""
        busy = len(self._busy) - len(self.leaving)
        kinds = self._rng.sample(
            ["starting", "idle", "busy"],
            k=min(count, self.running),
            counts=[len(self._ready), self.idle, busy],
        )
        self.cancel_starting(kinds.count("starting"))
        self.retire_idle(kinds.count("idle"))
        self.stop_busy(kinds.count("busy"), grace_s)

    def settle(self) -> None:
        """Bring what has been paid up to `now`."""
        self._pay()

    def _pay(self) -> None:
        self.paid_s += self._total * (self.now - self._paid_until)
        self._paid_until = self.now

    def _startup(self) -> float:
        settings = self._settings
        total = 0.0
        while True:
            if settings.startup_spread:
                sigma = math.sqrt(math.log1p(settings.startup_spread**2))
                mean = math.log(settings.startup_s) - sigma**2 / 2
                total += self._rng.lognormvariate(mean, sigma)
            else:
                total += settings.startup_s
            if not settings.start_failure or self._rng.random() >= settings.start_failure:
                return total

    def _match(self) -> None:
        while self.idle and self.waiting:
            self._begin()

    def _begin(self) -> None:
        job = self.waiting.popleft()
        self.idle -= 1
        self._workers += 1
        self._busy[self._workers] = job
        self.starts[job] = self.now
        heapq.heappush(self._ends, (self.now + self._durations[job], self._workers))

    def _end(self) -> None:
        end, worker = heapq.heappop(self._ends)
        job = self._busy.pop(worker, None)
        if job is None:
            return
        self.done += 1
        self.last_end = end
        self.ended.append((end, self._durations[job]))
        self._free(worker)

    def _free(self, worker: int) -> None:
        if worker in self.leaving:
            self.leaving.remove(worker)
            self._pay()
            self._total -= 1
        else:
            self.idle += 1

    def _kill(self, worker: int) -> None:
        if worker in self._busy:
            self.killed += 1
            self._interrupt(worker)
            self._free(worker)

    def _interrupt(self, worker: int) -> None:
        job = self._busy.pop(worker)
        self.wasted_s += self.now - self.starts[job]
        self.waiting.appendleft(job)

    def _lose(self) -> None:
        """Workers that die; the orchestrator starts others in their place."""
        there = self.idle + len(self._busy)
        rate = self._settings.loss_per_hour / 3600 * (self.now - self._lost_until)
        self._lost_until = self.now
        for _ in range(sum(self._rng.random() < rate for _ in range(there))):
            self.lost += 1
            if self._rng.random() * (self.idle + len(self._busy)) < self.idle:
                self.idle -= 1
            else:
                worker = self._rng.choice(list(self._busy))
                self._interrupt(worker)
                if worker in self.leaving:
                    self._free(worker)
                    continue
            heapq.heappush(self._ready, self.now + self._startup())
