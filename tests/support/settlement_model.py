"""The worker's real handling of a message in a world in which anything may fail at any point.

Broker, ledger, storage and renderer are simple values here; each request to one of them is a choice
between all that can come of it. `explore` runs the handler through every sequence of choices within
a budget of faults, by running it anew for each and following the choices made before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from common.records import Claim, WorkerState
from tests.support.worker_fleet import body
from worker.envelope import Envelope, short_text
from worker.errors import (
    BrokerLostError,
    NoDelayError,
    PermanentError,
    RefusedError,
    TransientError,
)
from worker.handler import JobHandler
from worker.messages import Delivery, Outgoing
from worker.settings import WorkerSettings
from worker.video.themes import Catalogue

QUEUE, RESULTS, JOB = "jobs", "results", "job-1"
SETTINGS = WorkerSettings.model_validate(
    {
        "rabbit_url": "amqp://x/",
        "redis_url": "redis://x/",
        "job_queue": QUEUE,
        "result_queue": RESULTS,
        "job_max_retries": 1,
        "job_retry_delay": 1,
        "worker_id": "w",
    }
)
CATALOGUE = Catalogue.load()


class Crash(BaseException):
    """The worker's process is gone."""


class Known(BaseException):
    """From here on everything has been tried before."""


class Oracle:
    """Decides what comes of each request: as before up to a point, then something new."""

    def __init__(self, prefix: tuple[int, ...], seen: set[Any], agenda: list[tuple[int, ...]]):
        self._prefix, self._seen, self._agenda = prefix, seen, agenda
        self.made: tuple[int, ...] = ()

    def choose(self, count: int, state: Any) -> int:
        """One of `count` outcomes of a request in this state. Raises Known."""
        at = len(self.made)
        if at < len(self._prefix):
            choice = self._prefix[at]
        else:
            if state in self._seen:
                raise Known
            self._seen.add(state)
            self._agenda.extend((*self.made, other) for other in range(1, count))
            choice = 0
        self.made = (*self.made, choice)
        return choice


@dataclass
class World:
    """What there is: the queues, the ledger, the videos, and how many faults are left."""

    oracle: Oracle
    kind: str
    faults: int
    orders: int = 1
    ready: list[Delivery] = field(default_factory=list)
    held: dict[int, Delivery] = field(default_factory=dict)
    delayed: list[Delivery] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)
    parked: int = 0
    videos: int = 0
    renders: int = 0
    rendered_in_vain: int = 0
    marks: dict[str, str] = field(default_factory=dict)
    handling: set[int] = field(default_factory=set)
    """The workers, by session, that began and have not ended."""
    claims: dict[str, int] = field(default_factory=dict)
    working: set[int] = field(default_factory=set)
    sessions: int = 0
    excused: bool = False
    """A crash or lost connection came between a publication and its acknowledgement."""
    position: tuple[Any, ...] = ()

    def key(self) -> Any:
        """The state, for what is to come."""

        def named(messages: list[Delivery]) -> Any:
            return tuple(
                sorted((d.attempt, d.deferred, d.redelivered, d.returned) for d in messages)
            )

        return (
            self.kind, self.faults, named(self.ready), named(list(self.held.values())),
            named(self.delayed), len(self.announced), self.parked, self.videos, self.excused,
            tuple(sorted(self.marks.items())), len(self.handling - self.working),
            len(self.handling & self.working),
            tuple(sorted(self.claims.items())), tuple(sorted(self.working)), self.position,
        )  # fmt: skip

    def outcome(self, request: str, *faults: str) -> str:
        """What comes of a request: "ok" or one of the faults, while there are any left."""
        possible = ("ok", *faults) if self.faults > 0 else ("ok",)
        choice = possible[self.oracle.choose(len(possible), (self.key(), request))]
        self.position = (*self.position, (request, choice))
        self.faults -= choice != "ok"
        return choice

    def alive(self) -> int:
        """In how many places the order is: with none it is lost."""
        places = (self.ready, self.held, self.delayed, self.announced)
        return sum(map(len, places)) + self.parked

    def check(self) -> None:
        """What must hold at every moment."""
        assert self.alive() > 0, f"lost: {self.position}"
        assert self.rendered_in_vain == 0, f"rendered although it was stored: {self.position}"

    def back(self, session: int) -> None:
        """The session has ended: the broker gives the message to the next worker."""
        delivery = self.held.pop(session, None)
        if delivery is not None:
            self.ready.append(_again(delivery))

    def run(self) -> None:
        """Until nothing is left to do."""
        for _ in range(60):
            self.check()
            if self.delayed and not self.ready:
                # At least once: a job queue that refuses gets it later.
                if self.outcome("return", "refused") == "ok":
                    self.ready.append(self.delayed.pop())
            elif self.ready:
                self.take()
            else:
                break
        else:
            raise AssertionError(f"no end: {self.position}")
        self.check()
        told = len(self.announced) + self.parked
        assert told >= 1, "an order without an end"
        assert told <= self.orders or self.excused, f"{told} outcomes, no crash: {self.position}"
        assert len(set(self.announced)) <= 1, "announced under several names"

    def take(self) -> None:
        """A worker takes the next message and handles it, to whatever end."""
        self.sessions += 1
        session, delivery = self.sessions, self.ready.pop(0)
        before, self.position = self.position, (("take", delivery.attempt, delivery.deferred),)
        self.held[session] = Delivery(
            session, 1, delivery.body, delivery.redelivered, delivery.envelope
        )
        try:
            _Worker(self, session).handler.handle(self.held[session])
        except Crash:
            self.back(session)
        self.working.discard(session)
        self.position = before
        assert session not in self.held, "neither settled nor given back"


class _Worker:
    """One process with one session. Its neighbours are its own methods."""

    def __init__(self, world: World, session: int) -> None:
        self._world, self._session, self._dead = world, session, False
        self._unsent: list[Callable[[Any], object]] = []
        self._now = 0.0
        self._asked = False
        world.working.add(session)
        record = SimpleNamespace(jobs_done=0, status=WorkerState.IDLE, instance=str(session))
        quiet = lambda *_, **__: None  # noqa: E731 - a value for many names
        presence = SimpleNamespace(
            reachable=True,
            outbox=SimpleNamespace(put=self._put),
            conclude=self._put,
            flush=lambda _: self._flush(),
            record=SimpleNamespace(current=record, show=quiet, amend=quiet, progress=quiet),
            claim=SimpleNamespace(hold=quiet, let_go=quiet, superseded=threading.Event()),
        )
        self.handler = JobHandler(
            SETTINGS,
            broker=cast(Any, self),
            ledger=cast(Any, _Ledger(world, session)),
            presence=cast(Any, presence),
            storage=cast(Any, self),
            renderer=cast(Any, SimpleNamespace(run=self._render)),
            catalogue=CATALOGUE,
            leaving=cast(Any, self),
            metrics=cast(Any, SimpleNamespace(
                ended=quiet, busy=quiet, waited=quiet, quarantined=quiet
            )),
            clock=lambda: self._now,
            sleep=self._sleep,
        )  # fmt: skip

    # The ledger, by way of the outbox

    def _put(self, *events: Callable[[Any], object]) -> None:
        if not self._dead:
            self._unsent.extend(events)

    def _flush(self) -> None:
        if self._world.outcome("tell the ledger", "away", "crash before", "crash after") == "away":
            return  # told later, or never if the worker dies
        self._maybe_crash("before")
        ledger = _Ledger(self._world, self._session)
        for event in self._unsent:
            event(ledger)
        self._unsent = []
        self._maybe_crash("after")

    # The broker

    def publish(self, delivery: Delivery, message: Outgoing) -> Outgoing:
        """Publish, or not."""
        self._require(delivery)
        world = self._world
        if message.delay_s is not None and world.kind == "no delays":
            raise NoDelayError(message.queue, "can't be had")
        faults = ("refused", "lost before", "lost after", "crash before", "crash after")
        came = world.outcome(f"publish {message.outcome}", *faults)
        if came == "refused":
            raise RefusedError(message.queue, "refuses")
        self._maybe_crash("before")
        self._maybe_lose("before")
        sent = Delivery(0, 0, message.body, envelope=message.envelope)
        if message.queue == RESULTS:
            world.announced.append(str(message.envelope.header("x-order")))
        elif message.queue == f"{QUEUE}.dead":
            world.parked += 1
        elif message.queue == QUEUE:
            world.ready.append(sent)
        else:
            world.delayed.append(sent)
        self._maybe_crash("after")
        self._maybe_lose("after")
        return message

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge, or not."""
        self._require(delivery)
        faults = ("lost before", "lost after", "crash before", "crash after")
        self._world.outcome("acknowledge", *faults)
        self._maybe_crash("before")
        self._maybe_lose("before")
        del self._world.held[self._session]
        self._world.check()
        self._maybe_crash("after")
        self._maybe_lose("after")

    def requeue(self, delivery: Delivery) -> None:
        """Give back."""
        self._require(delivery)
        self._world.back(self._session)

    def drop(self) -> None:
        """Nothing is held here."""

    def _require(self, delivery: Delivery) -> None:
        if self._dead:
            raise Crash
        if delivery.session not in self._world.held:
            raise BrokerLostError("the session has ended")

    def _maybe_crash(self, when: str) -> None:
        if self._world.position[-1][1] == f"crash {when}":
            self._world.excused = True
            self._dead = True
            raise Crash

    def _maybe_lose(self, when: str) -> None:
        if self._world.position[-1][1] == f"lost {when}":
            self._world.excused = True
            self._world.back(self._session)
            raise BrokerLostError("the connection is gone")

    # Renderer and storage

    def _render(self, *_: Any) -> None:
        world = self._world
        world.renders += 1
        world.rendered_in_vain += world.videos > 0
        came = world.outcome("render", "crash before", "another has it", "fails")
        self._maybe_crash("before")
        if came == "another has it":
            # The broker takes this worker for dead; the next one has the message meanwhile.
            world.excused = True
            world.back(self._session)
            position, world.position = world.position, ()
            world.take()
            world.position = position
        if world.kind == "permanent":
            raise PermanentError("never")
        if came == "fails" or world.kind in ("transient", "no delays"):
            raise TransientError("not this time")

    def has_whole(self, _: str) -> bool:
        """Whether the video is there."""
        return self._world.videos > 0

    def workplace(self, _: str) -> Path:
        """Where nothing is."""
        return Path("/nonexistent/made")

    def keep(self, job_id: str, _: Path) -> str:
        """Store it."""
        self._world.outcome("store", "crash before", "crash after")
        self._maybe_crash("before")
        self._world.videos = 1
        self._maybe_crash("after")
        return self.path(job_id)

    def path(self, job_id: str) -> str:
        """Of the video."""
        return f"/videos/{job_id}"

    # Leaving, and time

    @property
    def asked(self) -> bool:
        """Whether to leave: a choice wherever the worker waits."""
        if not self._asked and self._world.position[-1][1] == "refused":
            self._asked = self._world.outcome("leave?", "leave") == "leave"
        return self._asked

    out_of_time = False
    reason = "asked"

    def _sleep(self, seconds: float) -> None:
        self._now += max(seconds, 20.0)


class _Ledger:
    """The part of the ledger that decides anything; what only counts is passed over."""

    def __init__(self, world: World, session: int) -> None:
        self._world, self._session = world, session

    def begin_handling(self, _: str, record: Any) -> int:
        others = self._world.handling - {self._session}
        self._world.handling.add(int(record.instance))
        return len(others - self._world.working)

    def break_handling(self, _: str, record: Any) -> None:
        self._world.handling.add(int(record.instance))

    def end_handling(self, _: str, instance: str) -> None:
        self._world.handling.discard(int(instance))

    def settled(self, step: str) -> str | None:
        return self._world.marks.get(step)

    def mark_settled(self, step: str, outcome: str, *, ttl_s: int) -> None:
        assert ttl_s > 0
        if not step.startswith(("refused.", "quarantined.")):
            self._world.marks[step] = outcome

    def forget_settled(self, step: str) -> None:
        self._world.marks.pop(step, None)

    def at_work(self, job_id: str) -> Claim | None:
        holder = self._world.claims.get(job_id)
        if holder is None or holder not in self._world.working:
            return None
        return Claim(job_id, f"w{holder}", holder)

    def claim(self, job_id: str, _: str, *, ttl_s: int) -> Claim:
        assert ttl_s > 0
        self._world.claims[job_id] = self._session
        return Claim(job_id, f"w{self._session}", self._session)

    def __getattr__(self, name: str) -> Callable[..., None]:
        assert name.startswith(("count_", "put_")), name
        return lambda *_, **__: None


def _again(delivery: Delivery) -> Delivery:
    return Delivery(0, 0, delivery.body, redelivered=True, envelope=delivery.envelope)


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def order(message_id: str | None, raw: bytes) -> Delivery:
    """An order as its producer publishes it."""
    properties = {} if message_id is None else {"message_id": short_text(message_id)}
    return Delivery(0, 0, raw, envelope=Envelope(properties))


def explore(kind: str, message_id: str | None, faults: int, orders: int = 1) -> tuple[int, int]:
    """Run an order of this kind through everything; how many states, and how many runs.

    Of several `orders` all are alike to the last byte.

    Kinds: "good", "transient" and "permanent" failures, "malformed", and "no delays", in which the
    broker has no retry queues. Raises AssertionError with the way that leads to what must not be.
    """
    seen: set[Any] = set()
    agenda: list[tuple[int, ...]] = [()]
    runs = 0
    raw = b"not a job" if kind == "malformed" else body(JOB)
    with _quiet():
        while agenda:
            runs += 1
            world = World(Oracle(agenda.pop(), seen, agenda), kind, faults, orders)
            world.ready = [order(message_id, raw) for _ in range(orders)]
            try:
                world.run()
            except Known:
                continue
    return len(seen), runs


KINDS = ("good", "transient", "permanent", "malformed", "no delays")
