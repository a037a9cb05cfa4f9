"""One message at a time from the job queue, over whatever session there is."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import Any

from common.logs import get
from worker.broker_session import BrokerSession
from worker.envelope import Envelope
from worker.messages import Delivery

_LOOK_AGAIN_S = 2.0
_log = get("broker")


class Intake:
    """Its methods are for the broker's thread; other threads use the attributes."""

    def __init__(self, job_queue: str, *, declare: bool) -> None:
        """With `declare` the job queue is made where it does not exist."""
        self._queue = job_queue
        self._declare = declare
        # No SimpleQueue: its get() never returns if a signal arrives as its timeout expires.
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.consuming = threading.Event()
        """Set while the broker sends messages to this worker."""
        self.wanted = True
        """Whether further messages are to be taken."""
        self.holding = False
        """Whether there is a message in hand, from this session or an earlier one."""
        self.obstacle: str | None = None
        """Why the job queue can't be consumed from, if so."""
        self._consumer: str | None = None
        self._looked_at = float("-inf")
        self._began = 0

    def consume(self, session: BrokerSession) -> None:
        """Begin to consume, if that is wanted and there is no message in hand.

        Raises UnservedQueueError when jobs can't be taken from such a queue.
        """
        if not self.wanted or self.holding or self._consumer is not None:
            return
        if self.obstacle and time.monotonic() - self._looked_at < _LOOK_AGAIN_S:
            return
        self._look(session)
        if self.obstacle:
            return
        if self._began != session.number:
            self._began = session.number
            first = session.first()
            if first is not None:
                self.consuming.set()
                self._take(session, *first)
                return

        def take(_: Any, method: Any, properties: Any, body: bytes) -> None:
            self._take(session, method, properties, body)

        self._consumer = session.channel.basic_consume(self._queue, take)
        self.consuming.set()

    def cancel(self, session: BrokerSession) -> None:
        """Stop consuming; what was not taken from `deliveries` goes back to its queue."""
        if self._consumer is not None:
            session.channel.basic_cancel(self._consumer)
        self.forget_consumer()
        for delivery in self._take_back():
            session.channel.basic_nack(delivery.tag, requeue=True)

    def acknowledge(self, session: BrokerSession, delivery: Delivery) -> None:
        """Acknowledge the message in hand; the broker has processed that on return."""
        session.acknowledge(delivery)
        self.holding = False

    def requeue(self, session: BrokerSession, delivery: Delivery) -> None:
        """Give the message in hand back as it came."""
        session.require(delivery)
        self.holding = False
        session.channel.basic_nack(delivery.tag, requeue=True)

    def end_session(self) -> None:
        """The session has ended: what was not taken from `deliveries` will be redelivered."""
        self.forget_consumer()
        self._take_back()

    def forget_consumer(self) -> None:
        """The broker sends no more messages to this worker."""
        self._consumer = None
        self.consuming.clear()

    def _look(self, session: BrokerSession) -> None:
        obstacle = session.obstacle(declare=self._declare)
        if obstacle and obstacle != self.obstacle:
            _log.warning("waiting for the job queue", why=obstacle)
        self.obstacle, self._looked_at = obstacle, time.monotonic()

    def _take(self, session: BrokerSession, method: Any, properties: Any, body: bytes) -> None:
        envelope: Envelope = properties.envelope
        self.holding = True
        self.deliveries.put(
            Delivery(
                session=session.number,
                tag=method.delivery_tag,
                body=body,
                redelivered=bool(method.redelivered),
                envelope=envelope,
            )
        )

    def _take_back(self) -> list[Delivery]:
        taken = []
        with suppress(queue.Empty):
            while True:
                taken.append(self.deliveries.get_nowait())
        if taken:
            self.holding = False
        return taken
