"""The job queue as a producer uses it, from the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from common import amqp
from common.errors import shorten
from worker import messages
from worker.envelope import Envelope, WireProperties, short_text
from worker.settings import WorkerSettings


class BrokerError(Exception):
    """The broker did not answer, or refused."""


class JobQueue:
    """The queue that jobs are published to, over a channel with confirms."""

    def __init__(self, channel: BlockingChannel, name: str) -> None:
        self.channel = channel
        self.name = name

    @classmethod
    @contextmanager
    def connect(cls, settings: WorkerSettings) -> Iterator[JobQueue]:
        """The queue of these settings. Raises BrokerError, also from inside, and ConfigError."""
        addresses = amqp.parameters(settings, name="worker command line")
        try:
            connection = amqp.connect(addresses)
        except (AMQPError, OSError) as error:
            raise BrokerError(f"broker: {shorten(error, 300)}") from error
        try:
            with connection:
                channel = connection.channel()
                channel.confirm_delivery()
                yield cls(channel, settings.job_queue)
        except AMQPError as error:
            raise BrokerError(f"broker: {shorten(error, 300)}") from error

    def submit(self, body: bytes) -> None:
        """Publish a job, persistent and with the time. The queue must exist."""
        self.channel.queue_declare(self.name, passive=True)
        self.channel.basic_publish(
            "",
            self.name,
            body,
            pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent.value,
                # Distinguishes this order from an earlier one for the same job.
                message_id=uuid4().hex,
                timestamp=int(time.time()),
                headers={"timestamp_in_ms": int(time.time() * 1000)},
            ),
            mandatory=True,
        )

    def resubmit(self, body: bytes, envelope: Envelope) -> None:
        """Publish a job again as its producer made it, but for its time and its id: an order that
        has been settled is known by that. Raises NackError and UnroutableError."""
        now = time.time()
        renewed = messages.unburdened(envelope).amended(
            {"timestamp_in_ms": int(now * 1000)},
            properties={
                "message_id": short_text(uuid4().hex),
                "timestamp": int(now).to_bytes(8, "big"),
            },
        )
        self.channel.basic_publish("", self.name, body, WireProperties(renewed), mandatory=True)
