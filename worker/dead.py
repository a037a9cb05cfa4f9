"""Work on the parked jobs in `<queue>.dead`, and publish jobs, from the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from common import amqp
from worker import messages
from worker.settings import WorkerSettings


class BrokerError(Exception):
    """The broker did not answer, or refused."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked message."""

    body: bytes
    error: str
    history: tuple[Mapping[str, Any], ...]
    headers: Mapping[str, Any]
    message_id: str

    @property
    def job_id(self) -> str | None:
        """The id of the job in it, where one can be read."""
        try:
            value = json.loads(self.body).get("job_id")
        except (ValueError, AttributeError, RecursionError):
            return None
        return value if isinstance(value, str) else None


class JobQueues:
    """The job queue and its parked jobs, over one connection."""

    def __init__(self, channel: BlockingChannel, job_queue: str) -> None:
        self._channel = channel
        self._queue = job_queue
        self._dead = messages.dead_queue(job_queue)

    @classmethod
    @contextmanager
    def connect(cls, settings: WorkerSettings) -> Iterator[JobQueues]:
        """The queues of these settings. Raises BrokerError, also from inside."""
        parameters = amqp.parameters(settings, name="worker command line")
        try:
            connection = pika.BlockingConnection(parameters)
            with connection:
                channel = connection.channel()
                channel.confirm_delivery()
                yield cls(channel, settings.job_queue)
        except AMQPError as error:
            raise BrokerError(f"broker: {error!r}") from error

    def submit(self, body: bytes) -> None:
        """Publish a job, persistent and with the time. The queue must exist."""
        self._publish(body)

    def parked(self) -> list[Parked]:
        """Every parked message, oldest first; all stay where they are."""
        found: list[Parked] = []

        def note(parked: Parked) -> bool:
            found.append(parked)
            return False

        self._visit(note)
        return found

    def requeue(self, chosen: Callable[[Parked], bool]) -> int:
        """Hand those chosen back to the job queue with a clean record; how many."""

        def visit(parked: Parked) -> bool:
            if not chosen(parked):
                return False
            self._publish(parked.body)
            return True

        return self._visit(visit)

    def drop(self, chosen: Callable[[Parked], bool]) -> int:
        """Forget those chosen for good; how many."""
        return self._visit(chosen)

    def _publish(self, body: bytes) -> None:
        self._channel.queue_declare(self._queue, passive=True)
        self._channel.basic_publish(
            "",
            self._queue,
            body,
            pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent.value,
                # An order of its own: tells it from an earlier one for the same job.
                message_id=uuid4().hex,
                timestamp=int(time.time()),
                headers={"timestamp_in_ms": int(time.time() * 1000)},
            ),
            mandatory=True,
        )

    def _visit(self, take: Callable[[Parked], bool]) -> int:
        """Show every message to `take` once; those it takes are acknowledged. How many."""
        try:
            left = self._channel.queue_declare(self._dead, passive=True).method.message_count
        except ChannelClosedByBroker:
            self._channel = self._channel.connection.channel()
            self._channel.confirm_delivery()
            return 0  # nothing has ever been parked
        taken, kept = 0, 0
        for _ in range(left):
            method, properties, body = self._channel.basic_get(self._dead)
            if method is None:
                break
            if take(_parked(properties, body)):
                self._channel.basic_ack(method.delivery_tag)
                taken += 1
            else:
                kept = method.delivery_tag
        if kept:
            # All at once and only now, so that none is shown twice and their order stays.
            self._channel.basic_nack(kept, multiple=True, requeue=True)
        return taken


def _parked(properties: Any, body: bytes) -> Parked:
    headers = dict(properties.headers or {})
    as_delivery = messages.Delivery(0, 0, body, headers=headers)
    return Parked(
        body,
        error=str(headers.get(messages.ERROR, "")),
        history=tuple(as_delivery.history),
        headers=headers,
        message_id=str(properties.message_id or ""),
    )
