"""One message at a time from the job queue, over whatever session there is."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import Any

from worker.broker_session import BrokerSession
from worker.messages import Delivery, published_at


class Intake:
    """Its methods are for the broker's thread; other threads use the attributes."""

    def __init__(self, job_queue: str) -> None:
        self._queue = job_queue
        # No SimpleQueue: its get() never returns if a signal arrives as its timeout expires.
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.consuming = threading.Event()
        """Set while the broker sends messages to this worker."""
        self.wanted = True
        """Whether further messages are to be taken."""
        self.holding = False
        """Whether there is a message in hand, from this session or an earlier one."""
        self._consumer: str | None = None

    def consume(self, session: BrokerSession) -> None:
        """Begin to consume, if that is wanted and there is no message in hand."""
        if not self.wanted or self.holding or self._consumer is not None:
            return

        def take(_: Any, method: Any, properties: Any, body: bytes) -> None:
            headers = properties.headers or {}
            self.holding = True
            self.deliveries.put(
                Delivery(
                    session=session.number,
                    tag=method.delivery_tag,
                    body=body,
                    redelivered=bool(method.redelivered),
                    headers=headers,
                    message_id=str(properties.message_id or ""),
                    timestamp=published_at(properties.timestamp, headers),
                )
            )

        self._consumer = session.channel.basic_consume(self._queue, take)
        self.consuming.set()

    def cancel(self, session: BrokerSession) -> None:
        """Stop consuming; what was not taken from `deliveries` goes back to its queue."""
        if self._consumer is not None:
            session.channel.basic_cancel(self._consumer)
        self.forget_consumer()
        for delivery in self._take_back():
            session.channel.basic_nack(delivery.tag, requeue=True)

    def acknowledge(self, session: BrokerSession, delivery: Delivery, receipt: str) -> None:
        """Acknowledge the message in hand and delete the receipt.

        The broker confirms the deletion only after it has processed the acknowledgement.
        """
        session.require(delivery)
        self.holding = False
        session.channel.basic_ack(delivery.tag)
        session.channel.queue_delete(receipt)

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

    def _take_back(self) -> list[Delivery]:
        taken = []
        with suppress(queue.Empty):
            while True:
                taken.append(self.deliveries.get_nowait())
        if taken:
            self.holding = False
        return taken
