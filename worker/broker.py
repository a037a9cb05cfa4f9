"""The worker's side of RabbitMQ, on a thread of its own. The only user of `pika` in the worker.

The thread keeps heartbeats going while a job takes its minutes, and connects again for ever. Other
threads hand it work and wait for the answer. A delivery belongs to the session (connection) that
it came by; once that is gone nothing can be published or acknowledged for it any more, which makes
the broker itself the judge of who may announce a job.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from common.logs import get
from worker.errors import BrokerLostError
from worker.messages import Delivery, Outgoing, published_at

_TURN_S = 0.5
_BACKOFF_S = (0.5, 30.0)
_RECEIPT_TTL_MS = 86_400_000
_NOT_FOUND = 404
_log = get("broker")
# One line of ours says what pika would say in ten with a traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL)

Work = Callable[[], Any]


class Broker:
    """A consumer of one queue with one message at a time, and a publisher with confirms."""

    def __init__(self, parameters: pika.URLParameters, job_queue: str) -> None:
        self._parameters = parameters
        self._queue = job_queue
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.consuming = threading.Event()
        """Set while the broker hands messages to this worker."""
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self._lock = threading.Lock()
        self._work: list[tuple[Work, Future[Any]]] = []
        self._session = 0
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._control: BlockingChannel | None = None
        self._consumer: str | None = None
        self._holding = False
        self._wanted = True
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    # What other threads call

    def start(self) -> None:
        """Connect and consume, from now on and for ever."""
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Leave the broker; what is unacknowledged goes back to its queue."""
        self._stop.set()
        self._wake()
        self._thread.join(timeout_s)

    def stop_consuming(self) -> None:
        """Take no further message; what arrived and was not taken from `deliveries` goes back."""
        self._wanted = False
        try:
            self._call(self._cancel)
        except BrokerLostError:
            pass  # without a connection there is no consumer either

    def holds(self, delivery: Delivery) -> bool:
        """Whether the broker still counts the message as ours, as far as we know."""
        return delivery.session == self._session and self.connected

    @property
    def connected(self) -> bool:
        """Whether there is a session with the broker."""
        return self._channel is not None

    def publish(self, delivery: Delivery, message: Outgoing, receipt: str) -> bool:
        """Publish the outcome of `delivery` with confirmation, once; False if that was done before.

        The message goes to its queue and, in the same stroke, to the queue `receipt`, which tells
        afterwards whether it went. Raises BrokerLostError when the delivery's session is gone;
        whether the message went is then unknown until the redelivery looks at the receipt.
        """
        return bool(self._call(lambda: self._publish(delivery, message, receipt)))

    def receipt(self, name: str) -> Mapping[str, Any] | None:
        """The headers of what has been published under this receipt, if anything has been.

        Raises BrokerLostError.
        """
        found: Mapping[str, Any] | None = self._call(lambda: self._read_receipt(name))
        return found

    def acknowledge(self, delivery: Delivery, receipt: str) -> None:
        """Acknowledge and take the receipt away. Raises BrokerLostError when that may have failed.

        The deletion is answered only after the acknowledgement before it has been worked off.
        """
        self._call(lambda: self._acknowledge(delivery, receipt))

    def requeue(self, delivery: Delivery) -> None:
        """Give the message back as it came. Raises BrokerLostError if the broker has it already."""
        self._call(lambda: self._requeue(delivery))

    def drop(self) -> None:
        """Forget the message in hand, which came by a session that is gone, and consume again."""
        self._holding = False
        self._wake()

    def _call(self, work: Work) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            if self._channel is None:
                raise BrokerLostError("not connected")
            self._work.append((work, future))
        self._wake()
        return future.result()

    def _wake(self) -> None:
        connection = self._connection
        if connection is not None and connection.is_open:
            try:
                connection.add_callback_threadsafe(lambda: None)
            except AMQPError:
                pass  # it is going down; the thread will see that by itself

    # The thread

    def _run(self) -> None:
        pause = _BACKOFF_S[0]
        while not self._stop.is_set():
            try:
                self._connect()
                pause = _BACKOFF_S[0]
                while not self._stop.is_set():
                    self._turn()
            except Exception as error:  # whatever it is, the worker's way back is a new session
                _log.warning("broker away", error=repr(error)[:300], retry_in_s=round(pause, 1))
            finally:
                self._end_session()
            self._rest(pause * random.uniform(0.5, 1.0))
            pause = min(_BACKOFF_S[1], pause * 2)

    def _connect(self) -> None:
        connection = pika.BlockingConnection(self._parameters)
        self._connection = connection
        self._control = connection.channel()
        self._ensure(self._queue)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_qos(prefetch_count=1)
        channel.add_on_cancel_callback(lambda _: self._forget_consumer())
        self._session += 1
        with self._lock:
            self._channel = channel

    def _turn(self) -> None:
        assert self._connection is not None
        assert self._channel is not None
        if self._wanted and not self._holding and self._consumer is None:
            self._consumer = self._channel.basic_consume(self._queue, self._on_message)
            self.consuming.set()
        self._connection.process_data_events(time_limit=_TURN_S)
        self.moved_at = time.monotonic()
        if not self._channel.is_open:
            raise pika.exceptions.ChannelClosed(0, "the broker closed the channel")
        with self._lock:
            todo, self._work = self._work, []
        for position, (work, future) in enumerate(todo):
            try:
                future.set_result(work())
            except (AMQPError, OSError) as error:
                with self._lock:
                    self._work = todo[position:] + self._work
                raise error
            except Exception as error:  # the caller's mistake, and for the caller to hear
                future.set_exception(error)

    def _end_session(self) -> None:
        with self._lock:
            self._channel = None
            lost, self._work = self._work, []
        self._forget_consumer()
        self._take_back()
        for _, future in lost:
            if not future.done():
                future.set_exception(BrokerLostError("the connection to the broker was lost"))
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except (AMQPError, OSError):
                pass  # it is gone, which is what was wanted

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.wait(0.2):
            self.moved_at = time.monotonic()

    # What runs on the thread for others

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        headers = properties.headers or {}
        self._holding = True
        self.deliveries.put(
            Delivery(
                session=self._session,
                tag=method.delivery_tag,
                body=body,
                redelivered=bool(method.redelivered),
                headers=headers,
                message_id=str(properties.message_id or ""),
                timestamp=published_at(properties.timestamp, headers),
            )
        )

    def _forget_consumer(self) -> None:
        self._consumer = None
        self.consuming.clear()

    def _cancel(self) -> None:
        assert self._channel is not None
        if self._consumer is not None:
            self._channel.basic_cancel(self._consumer)
        self._forget_consumer()
        for delivery in self._take_back():
            self._channel.basic_nack(delivery.tag, requeue=True)

    def _take_back(self) -> list[Delivery]:
        taken = []
        while True:
            try:
                taken.append(self.deliveries.get_nowait())
            except queue.Empty:
                break
        if taken:
            self._holding = False
        return taken

    def _mine(self, delivery: Delivery) -> BlockingChannel:
        if delivery.session != self._session or self._channel is None:
            raise BrokerLostError("the message came by a connection that is gone")
        return self._channel

    def _publish(self, delivery: Delivery, message: Outgoing, receipt: str) -> bool:
        channel = self._mine(delivery)
        self._ensure(message.queue)
        declared = channel.queue_declare(
            receipt, durable=True, arguments={"x-expires": _RECEIPT_TTL_MS}
        )
        if declared.method.message_count:
            return False
        channel.basic_publish(
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

    def _acknowledge(self, delivery: Delivery, receipt: str) -> None:
        channel = self._mine(delivery)
        self._holding = False
        channel.basic_ack(delivery.tag)
        channel.queue_delete(receipt)

    def _requeue(self, delivery: Delivery) -> None:
        channel = self._mine(delivery)
        self._holding = False
        channel.basic_nack(delivery.tag, requeue=True)

    def _read_receipt(self, name: str) -> Mapping[str, Any] | None:
        try:
            self._passive(name)
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            return None
        assert self._control is not None
        method, properties, _ = self._control.basic_get(name)
        if method is None:
            return None
        self._control.basic_nack(method.delivery_tag, requeue=True)
        return dict(properties.headers or {})

    def _ensure(self, name: str) -> None:
        """The queue exists afterwards: as its owner made it, or else as ours."""
        try:
            self._passive(name)
        except ChannelClosedByBroker as error:
            if error.reply_code != _NOT_FOUND:
                raise
            assert self._control is not None
            self._control.queue_declare(name, durable=True, arguments=self._arguments(name))

    def _passive(self, name: str) -> int:
        """Messages in the queue; asked on a channel of its own, which a refusal closes."""
        assert self._connection is not None
        assert self._control is not None
        try:
            return int(self._control.queue_declare(name, passive=True).method.message_count)
        except ChannelClosedByBroker:
            self._control = self._connection.channel()
            raise

    def _arguments(self, name: str) -> dict[str, Any] | None:
        prefix, _, seconds = name.rpartition(".")
        if prefix != f"{self._queue}.retry":
            return None
        return {
            "x-message-ttl": int(seconds) * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._queue,
        }
