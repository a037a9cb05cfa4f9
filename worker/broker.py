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
from contextlib import suppress
from dataclasses import dataclass
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

Work = Callable[["Session"], Any]


@dataclass
class Session:
    """A connection with its two channels."""

    number: int
    connection: pika.BlockingConnection
    channel: BlockingChannel
    """Consumes, publishes and acknowledges: what happens on it happens in order."""
    control: BlockingChannel
    """Asks what may be refused; a refusal closes it, and another is opened."""
    consumer: str | None = None


class Broker:
    """A consumer of one queue with one message at a time, and a publisher with confirms."""

    def __init__(self, parameters: pika.URLParameters, job_queue: str) -> None:
        self._parameters = parameters
        self._queue = job_queue
        # No SimpleQueue: its get() waits for ever if a signal comes as its timeout runs out.
        self.deliveries: queue.Queue[Delivery] = queue.Queue()
        self.consuming = threading.Event()
        """Set while the broker hands messages to this worker."""
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self._lock = threading.Lock()
        self._work: list[tuple[Work, Future[Any]]] = []
        self._session: Session | None = None
        self._sessions = 0
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
        with suppress(BrokerLostError):  # without a connection there is no consumer either
            self._call(self._cancel)

    @property
    def connected(self) -> bool:
        """Whether there is a session with the broker."""
        return self._session is not None

    def publish(self, delivery: Delivery, message: Outgoing, receipt: str) -> bool:
        """Publish the outcome of `delivery` with confirmation, once; False if that was done before.

        The message goes to its queue and, in the same stroke, to the queue `receipt`, which tells
        afterwards whether it went. Raises BrokerLostError when the delivery's session is gone;
        whether the message went is then unknown until the redelivery looks at the receipt.
        """
        return bool(self._call(lambda session: self._publish(session, delivery, message, receipt)))

    def receipt(self, name: str) -> Mapping[str, Any] | None:
        """The headers of what has been published under this receipt, if anything has been.

        Raises BrokerLostError.
        """
        found: Mapping[str, Any] | None = self._call(
            lambda session: self._read_receipt(session, name)
        )
        return found

    def acknowledge(self, delivery: Delivery, receipt: str) -> None:
        """Acknowledge and take the receipt away. Raises BrokerLostError when that may have failed.

        The deletion is answered only after the acknowledgement before it has been worked off.
        """
        self._call(lambda session: self._acknowledge(session, delivery, receipt))

    def requeue(self, delivery: Delivery) -> None:
        """Give the message back as it came. Raises BrokerLostError if the broker has it already."""
        self._call(lambda session: self._requeue(session, delivery))

    def drop(self) -> None:
        """Forget the message in hand, which came by a session that is gone, and consume again."""
        self._holding = False
        self._wake()

    def _call(self, work: Work) -> Any:
        future: Future[Any] = Future()
        with self._lock:
            if self._session is None:
                raise BrokerLostError("not connected")
            self._work.append((work, future))
        self._wake()
        return future.result()

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            with suppress(AMQPError):  # going down; the thread will see that by itself
                session.connection.add_callback_threadsafe(lambda: None)

    # The thread

    def _run(self) -> None:
        pause = _BACKOFF_S[0]
        while not self._stop.is_set():
            try:
                session = self._connect()
                pause = _BACKOFF_S[0]
                while not self._stop.is_set():
                    self._turn(session)
            except Exception as error:  # whatever it is, the worker's way back is a new session
                _log.warning("broker away", error=repr(error)[:300], retry_in_s=round(pause, 1))
            finally:
                self._end_session()
            self._rest(pause * random.uniform(0.5, 1.0))
            pause = min(_BACKOFF_S[1], pause * 2)

    def _connect(self) -> Session:
        connection = pika.BlockingConnection(self._parameters)
        self._sessions += 1
        session = Session(self._sessions, connection, connection.channel(), connection.channel())
        try:
            self._ensure(session, self._queue)
            session.channel.confirm_delivery()
            session.channel.basic_qos(prefetch_count=1)
            session.channel.add_on_cancel_callback(lambda _: self._forget_consumer(session))
        except AMQPError:
            _close(connection)
            raise
        with self._lock:
            self._session = session
        return session

    def _turn(self, session: Session) -> None:
        if self._wanted and not self._holding and session.consumer is None:
            session.consumer = session.channel.basic_consume(self._queue, self._on_message)
            self.consuming.set()
        session.connection.process_data_events(time_limit=_TURN_S)
        self.moved_at = time.monotonic()
        if not session.channel.is_open:
            raise AMQPError("the broker closed the channel")
        while self._work:
            with self._lock:
                work, future = self._work.pop(0)
            try:
                future.set_result(work(session))
            except BrokerLostError as error:
                future.set_exception(error)
            except Exception as error:
                future.set_exception(BrokerLostError(f"the broker did not do it: {error!r:.200}"))
                raise

    def _end_session(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            lost, self._work = self._work, []
        self.consuming.clear()
        self._take_back()
        for _, future in lost:
            future.set_exception(BrokerLostError("the connection to the broker was lost"))
        if session is not None:
            _close(session.connection)

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
                session=self._sessions,
                tag=method.delivery_tag,
                body=body,
                redelivered=bool(method.redelivered),
                headers=headers,
                message_id=str(properties.message_id or ""),
                timestamp=published_at(properties.timestamp, headers),
            )
        )

    def _forget_consumer(self, session: Session) -> None:
        session.consumer = None
        self.consuming.clear()

    def _cancel(self, session: Session) -> None:
        if session.consumer is not None:
            session.channel.basic_cancel(session.consumer)
        self._forget_consumer(session)
        for delivery in self._take_back():
            session.channel.basic_nack(delivery.tag, requeue=True)

    def _take_back(self) -> list[Delivery]:
        taken = []
        with suppress(queue.Empty):
            while True:
                taken.append(self.deliveries.get_nowait())
        if taken:
            self._holding = False
        return taken

    def _publish(
        self, session: Session, delivery: Delivery, message: Outgoing, receipt: str
    ) -> bool:
        _require(session, delivery)
        self._ensure(session, message.queue)
        expiry = {"x-expires": _RECEIPT_TTL_MS}
        declared = session.channel.queue_declare(receipt, durable=True, arguments=expiry)
        if declared.method.message_count:
            return False
        session.channel.basic_publish(
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

    def _acknowledge(self, session: Session, delivery: Delivery, receipt: str) -> None:
        _require(session, delivery)
        self._holding = False
        session.channel.basic_ack(delivery.tag)
        session.channel.queue_delete(receipt)

    def _requeue(self, session: Session, delivery: Delivery) -> None:
        _require(session, delivery)
        self._holding = False
        session.channel.basic_nack(delivery.tag, requeue=True)

    def _read_receipt(self, session: Session, name: str) -> Mapping[str, Any] | None:
        if not self._exists(session, name):
            return None
        method, properties, _ = session.control.basic_get(name)
        if method is None:
            return None
        session.control.basic_nack(method.delivery_tag, requeue=True)
        return dict(properties.headers or {})

    def _ensure(self, session: Session, name: str) -> None:
        """The queue exists afterwards: as its owner made it, or else as ours."""
        if not self._exists(session, name):
            session.control.queue_declare(name, durable=True, arguments=self._arguments(name))

    def _exists(self, session: Session, name: str) -> bool:
        try:
            session.control.queue_declare(name, passive=True)
        except ChannelClosedByBroker as error:
            session.control = session.connection.channel()
            if error.reply_code != _NOT_FOUND:
                raise
            return False
        return True

    def _arguments(self, name: str) -> dict[str, Any] | None:
        prefix, _, seconds = name.rpartition(".")
        if prefix != f"{self._queue}.retry":
            return None
        return {
            "x-message-ttl": int(seconds) * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._queue,
        }


def _require(session: Session, delivery: Delivery) -> None:
    if delivery.session != session.number:
        raise BrokerLostError("the message came by a connection that is gone")


def _close(connection: pika.BlockingConnection) -> None:
    with suppress(AMQPError, OSError):  # gone already, which is what was wanted
        connection.close()
