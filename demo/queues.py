"""The demo's own look at the broker. The only module here that speaks AMQP."""

from __future__ import annotations

import pika


def count_messages(rabbit_url: str, queue: str) -> int:
    """Ready messages in `queue`; 0 when there is no such queue."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbit_url))
    try:
        declared = connection.channel().queue_declare(queue, passive=True)
        return int(declared.method.message_count)
    except pika.exceptions.ChannelClosedByBroker:
        return 0
    finally:
        connection.close()


def declare(rabbit_url: str, queue: str) -> None:
    """Declare the job queue as RabbitReels' producers do: durable, no arguments."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbit_url))
    try:
        connection.channel().queue_declare(queue, durable=True)
    finally:
        connection.close()
