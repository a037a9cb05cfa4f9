"""One connection to the broker, and what is done on it. Used on the broker's thread alone.

A delivery belongs to the session that received it. Once that has ended nothing can be published or
acknowledged for it, so the broker itself decides who may announce a job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from worker import messages
from worker.errors import BrokerLostError
from worker.messages import Delivery, Outgoing

_RECEIPT_TTL_MS = 86_400_000
_NOT_FOUND = 404


class BrokerSession:
    """A connection with two channels: one consumes, publishes and acknowledges, all in order; the
    other makes requests that the broker may refuse, which closes it."""

    def __init__(
        self,
        parameters: pika.URLParameters,
        job_queue: str,
        number: int,
        *,
        cancelled: Callable[[], None],
    ) -> None:
        """Connect, and make sure that the job queue exists; `cancelled` is called when the broker
        ends the consumer."""
        self.number = number
        self._queue = job_queue
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self._control = self.connection.channel()
        try:
            self._ensure(job_queue)
            self.channel.confirm_delivery()
            self.channel.basic_qos(prefetch_count=1)
            self.channel.add_on_cancel_callback(lambda _: cancelled())
        except AMQPError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; what is unacknowledged goes back to its queue."""
        with suppress(AMQPError, OSError):  # closed already
            self.connection.close()

    def wake(self) -> None:
        """Make the thread look for work. The only method for other threads."""
        with suppress(AMQPError):  # closing; the thread will notice
            self.connection.add_callback_threadsafe(lambda: None)

    def turn(self, seconds: float) -> None:
        """Process events for that long at most. Raises AMQPError when the channel is closed."""
        self.connection.process_data_events(time_limit=seconds)
        if not self.channel.is_open:
            raise AMQPError("the broker closed the channel")

    def require(self, delivery: Delivery) -> None:
        """Raises BrokerLostError when the delivery came by another session."""
        if delivery.session != self.number:
            raise BrokerLostError("the connection that delivered the message is closed")

    def publish(self, delivery: Delivery, message: Outgoing, receipt: str) -> bool:
        """Publish the outcome of `delivery` and its receipt; False if that was done before."""
        self.require(delivery)
        self._ensure(message.queue)
        expiry = {"x-expires": _RECEIPT_TTL_MS}
        declared = self.channel.queue_declare(receipt, durable=True, arguments=expiry)
        if declared.method.message_count:
            return False
        self.channel.basic_publish(
            "",
            message.queue,
            message.body,
            pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent.value,
                headers={**message.headers, "BCC": [receipt]},
                message_id=message.message_id or None,
                timestamp=None if message.timestamp is None else int(message.timestamp),
            ),
            mandatory=True,
        )
        return True

    def read_receipt(self, name: str) -> Mapping[str, Any] | None:
        """The headers of what has been published under this receipt, if anything has been."""
        if not self._exists(name):
            return None
        method, properties, _ = self._control.basic_get(name)
        if method is None:
            return None
        self._control.basic_nack(method.delivery_tag, requeue=True)
        return dict(properties.headers or {})

    def _ensure(self, name: str) -> None:
        """The queue exists afterwards: as its owner made it, or else as ours."""
        if not self._exists(name):
            arguments = messages.retry_arguments(self._queue, name)
            self._control.queue_declare(name, durable=True, arguments=arguments)

    def _exists(self, name: str) -> bool:
        try:
            self._control.queue_declare(name, passive=True)
        except ChannelClosedByBroker as error:
            self._control = self.connection.channel()
            if error.reply_code != _NOT_FOUND:
                raise
            return False
        return True
