"""One soak on one type of queue: everything started, run to its end, stopped and judged."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from demo.processes import MARK
from demo.stack import Stack
from tests.soak.evidence import Evidence
from tests.soak.faults import Fault, draw_faults
from tests.soak.judge import Verdict, judge
from tests.soak.outages import Outages, Ways
from tests.soak.plan import plan
from tests.soak.queues import DEAD, JOBS, RESULTS, Queues
from tests.soak.readings import excused, read_marks
from tests.soak.sender import Sender
from tests.soak.workers import Workers

WORKERS = 12
_TURN_S = 0.5
_TOLD_EACH_S = 5.0
_STUCK_AFTER_S = 150.0
"""After so long without an outcome, a message sent or a fault the run is over. A job is put off for
a minute at most."""
# What a job queue refused a quorum queue tries to return again after this, not after three minutes.
_SOON = "-rabbit dead_letter_worker_publisher_confirm_timeout 10000"
_QUIET_TURNS = 6
_RETRY_DELAYS = ("1", "2")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """How a run ended."""

    verdict: Verdict
    faults: Counter[Fault]
    seconds: float


class Soak:
    """A run. `tell` gets a line about its progress every few seconds."""

    def __init__(
        self,
        folder: Path,
        queue_type: str,
        jobs: int,
        seed: int,
        tell: Tell,
        *,
        workers: int = WORKERS,
    ) -> None:
        """`folder` is empty; what the run leaves behind is in it."""
        self._size = workers
        self._folder = folder
        self._type = queue_type
        self._jobs = jobs
        self._messages = plan(jobs, seed)
        self._faults = draw_faults(jobs, seed)
        self._tell = tell
        self._stop = threading.Event()

    def run(self) -> Report:
        """Run it; whatever it started has ended when it returns or raises."""
        began = time.monotonic()
        with ExitStack() as ends:
            self._set_up(ends)
            self._work()
            self._workers.leave()
            evidence = self._evidence()
        return Report(judge(evidence), self._outages.happened, time.monotonic() - began)

    def _set_up(self, ends: ExitStack) -> None:
        stack = ends.enter_context(Stack(self._folder / "stack")).start("redis", "rabbitmq")
        broker = stack.parts["rabbitmq"]
        broker.stop(60)
        broker.env = {**broker.env, "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _SOON}
        broker.start().wait_ready()
        self._queues = Queues(stack, self._type)
        ends.callback(self._queues.close)
        self._queues.declare()
        ways = ends.enter_context(Ways(stack))
        records = self._folder / "workers"
        records.mkdir()
        common = {
            MARK: stack.id,
            "JOB_QUEUE": JOBS,
            "RESULT_QUEUE": RESULTS,
            "OUTPUT": str(self._folder / "videos"),
            "HTTP_HOST": "127.0.0.1",
            "AMQP_HEARTBEAT": "4",
        }
        settings = [
            {**common, **ways.urls(n), "JOB_RETRY_DELAY": _RETRY_DELAYS[n % len(_RETRY_DELAYS)]}
            for n in range(self._size)
        ]
        self._workers = Workers(records, settings)
        ends.callback(self._workers.stop)
        self._workers.start()
        self._sender = Sender(stack.rabbit_url, self._messages, lambda: self._queues.known(JOBS))
        self._outages = Outages(stack, ways, self._workers, self._queues)

    def _work(self) -> None:
        """Send and break until all has been done, or nothing moves any more."""
        with ThreadPoolExecutor(1 + len(self._faults)) as pool:
            acts = [pool.submit(self._sender.run, self._stop)]
            acts += [pool.submit(self._outages.run, each, self._done) for each in self._faults]
            try:
                self._await(acts)
            finally:
                self._stop.set()
                self._outages.stop()
        for act in acts:
            act.result()

    def _await(self, acts: list[Future[None]]) -> None:
        moved_at = told_at = time.monotonic()
        seen: object = None
        quiet = 0
        while quiet < _QUIET_TURNS:
            time.sleep(_TURN_S)
            self._workers.look()
            depths = tuple(map(self._queues.depth, (JOBS, RESULTS, DEAD)))
            waiting = self._queues.waiting()
            broken = any(act.done() and act.exception() for act in acts)
            done = all(act.done() for act in acts) and waiting is not None
            quiet = quiet + 1 if done and not depths[0] and not any((waiting or {}).values()) else 0
            now = time.monotonic()
            moved = (*depths[1:], self._sender.sent, self._happened())
            if moved != seen:
                seen, moved_at = moved, now
            if now - told_at > _TOLD_EACH_S:
                told_at = now
                self._tell(self._progress(depths))
            if broken or now - moved_at > _STUCK_AFTER_S:
                return

    def _done(self) -> float:
        return sum(map(self._queues.known, (RESULTS, DEAD))) / len(self._messages)

    def _happened(self) -> int:
        return sum(self._outages.happened.values())

    def _progress(self, depths: tuple[int, ...]) -> str:
        waiting, announced, parked = depths
        return (
            f"{self._type:8} {self._sender.sent} of {len(self._messages)} messages sent,"
            f" {announced} announced, {parked} parked, {waiting} waiting;"
            f" {self._happened()} of {sum(map(len, self._faults))} faults"
        )

    def _evidence(self) -> Evidence:
        marks = read_marks(self._folder / "workers")
        return Evidence(
            orders=self._sender.orders(),
            announced=self._queues.announced(),
            parked=self._queues.parked(),
            marks=marks,
            ends=excused(self._workers.ends, marks),
            crashes=self._outages.crashes,
            left={**self._queues.left(), "the sender's hands": self._sender.unsent},
        )
