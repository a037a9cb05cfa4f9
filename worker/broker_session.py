"""One connection to the broker, and what is done on it. Used on the broker's thread alone.

A delivery belongs to the session that received it. Once that has ended nothing can be published or
acknowledged for it, so the broker itself decides who may announce a job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)

from common import amqp
from worker import messages
from worker.envelope import WireProperties
from worker.errors import BrokerLostError, NoDelayError, RefusedError, UnservedQueueError
from worker.messages import Delivery, Outgoing

_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED, _NOT_IMPLEMENTED = 403, 404, 406, 540
_PREFETCH = 1
# A quorum queue is found again by a file that the broker writes half a second after it was made:
# killed before, it comes back without the queue, and without what that has confirmed. Some more,
# as other queues may be made at the time.
_FOUND_AGAIN_S = 2.0


class BrokerSession:
    """A connection with three channels: one consumes and acknowledges, one publishes, and one makes
    requests that the broker may refuse, which closes it."""

    def __init__(
        self,
        addresses: Sequence[pika.ConnectionParameters],
        job_queue: str,
        number: int,
        *,
        cancelled: Callable[[], None],
    ) -> None:
        """Connect to the first address that answers; `cancelled` is called when the broker ends
        the consumer."""
        self.number = number
        self._queue = job_queue
        self._ensured: set[str] = set()
        self.connection = amqp.connect(addresses)
        self.channel = self.connection.channel()
        self._control = self.connection.channel()
        try:
            self._publisher = self._new_publisher()
            self.channel.basic_qos(prefetch_count=_PREFETCH)
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
        if not (self.channel.is_open and self._publisher.is_open):
            raise AMQPError("the broker closed the channel")

    # The job queue

    def obstacle(self, *, declare: bool) -> str | None:
        """Why the job queue can't be consumed from, if so; with `declare` it is made if missing."""
        try:
            if self._exists(self._queue):
                return None
            if declare:
                self._declare(self._queue, {})
                return None
        except RefusedError as error:
            return str(error)
        return f"{self._queue} does not exist: its owner creates it, or DECLARE_JOB_QUEUE=true"

    def first(self) -> tuple[Any, Any, bytes] | None:
        """A message of the job queue, if it has one, before anything is consumed.

        Raises UnservedQueueError for a stream, which gives nothing in this way; as a consumer one
        would not see what was sent before.
        """
        try:
            method, properties, body = self.channel.basic_get(self._queue)
        except ConnectionClosedByBroker as error:
            if error.reply_code == _NOT_IMPLEMENTED:
                raise UnservedQueueError(error.reply_text) from error
            raise
        return None if method is None else (method, properties, body)

    def require(self, delivery: Delivery) -> None:
        """Raises BrokerLostError when the delivery came by another session."""
        if delivery.session != self.number:
            raise BrokerLostError("the connection that delivered the message is closed")

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge, and return when the broker has processed that."""
        self.require(delivery)
        self.channel.basic_ack(delivery.tag)
        # Nothing answers an acknowledgement; whatever is asked next on the channel comes after it.
        self.channel.basic_qos(prefetch_count=_PREFETCH)

    # Publishing

    def publish(self, delivery: Delivery, message: Outgoing) -> Outgoing:
        """Publish the outcome of `delivery`, and return when its queue has confirmed it.

        Returns what was published: the message, or as much of it as fits into the broker's frames.
        Raises RefusedError when the queue does not take it, of which no trace remains, and
        NoDelayError when there is no queue that would keep it safely for later.
        """
        self.require(delivery)
        room = int(self.connection._impl.params.frame_max)  # pika tells it nowhere else
        message = messages.fitted(message, delivery, self._queue, room)
        self._ensure(message)
        properties = WireProperties(message.envelope)
        try:
            self._publisher.basic_publish(
                "", message.queue, message.body, properties, mandatory=True
            )
        except NackError as error:
            # To a channel that it has refused once a quorum queue may do so for ever.
            self._publisher.close()
            self._publisher = self._new_publisher()
            raise RefusedError(message.queue, "refuses messages: it may be full") from error
        except UnroutableError as error:
            self._ensured.discard(message.queue)
            raise RefusedError(message.queue, "does not exist") from error
        return message

    def _new_publisher(self) -> BlockingChannel:
        channel = self.connection.channel()
        channel.confirm_delivery()
        return channel

    def _ensure(self, message: Outgoing) -> None:
        """The queue exists afterwards: as its owner made it, or else as ours."""
        name = message.queue
        if name in self._ensured or name == self._queue:
            return
        arguments = messages.own_arguments(self._queue, message)
        if message.delay_s is not None:
            self._ensure_delay(name, arguments)
        elif not self._exists(name):
            self._make(name, arguments)
        self._ensured.add(name)

    def _ensure_delay(self, name: str, arguments: dict[str, Any]) -> None:
        """A retry queue must be as it is to be: another one may lose what it returns."""
        try:
            if self._exists(name):
                self._declare(name, arguments, renew=True)
            else:
                self._make(name, arguments)
        except RefusedError as error:
            # Who may not declare relies on whoever made it.
            may_not = error.code == _ACCESS_REFUSED
            if not (may_not and self._exists(name)):
                raise NoDelayError(name, f"can't be had as a quorum queue: {error}") from error

    def _make(self, name: str, arguments: dict[str, Any]) -> None:
        """Declare a queue that is not there, and wait until it can be relied on."""
        self._declare(name, arguments)
        if arguments:
            self.connection.sleep(_FOUND_AGAIN_S)

    def _declare(self, name: str, arguments: dict[str, Any], *, renew: bool = False) -> None:
        try:
            self._ask(
                name, lambda: self._control.queue_declare(name, durable=True, arguments=arguments)
            )
        except RefusedError as error:
            if not renew or error.code != _PRECONDITION_FAILED:
                raise
            # One that an earlier version made, of the classic type: once it is empty it can go.
            self._ask(name, lambda: self._control.queue_delete(name, if_unused=True, if_empty=True))
            self._make(name, arguments)

    def _exists(self, name: str) -> bool:
        try:
            self._ask(name, lambda: self._control.queue_declare(name, passive=True))
        except RefusedError as error:
            if error.code == _NOT_FOUND:
                return False
            raise
        return True

    def _ask(self, name: str, request: Callable[[], object]) -> None:
        """Make a request on the control channel. Raises RefusedError."""
        try:
            request()
        except ChannelClosedByBroker as error:
            self._control = self.connection.channel()
            raise RefusedError(name, f"is refused: {error.reply_text}", error.reply_code) from error
