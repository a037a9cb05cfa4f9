"""The worker's side of RabbitMQ, on a thread of its own.

The thread answers heartbeats during jobs of any length, and reconnects without end. Other threads
hand it work and wait for the result.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import pika

from common.logs import get
from worker.broker_session import BrokerSession
from worker.errors import BrokerLostError
from worker.intake import Intake
from worker.messages import Delivery, Outgoing

_TURN_S = 0.5
_BACKOFF_S = (0.5, 30.0)
_log = get("broker")
# We log in one line what pika logs in ten with a traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL)

T = TypeVar("T")


class Broker:
    """A consumer of one queue with one message at a time, and a publisher with confirms."""

    def __init__(self, parameters: pika.URLParameters, job_queue: str) -> None:
        self._parameters = parameters
        self._queue = job_queue
        self._intake = Intake(job_queue)
        self.deliveries = self._intake.deliveries
        self.consuming = self._intake.consuming
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self._lock = threading.Lock()
        self._work: list[tuple[Callable[[BrokerSession], Any], Future[Any]]] = []
        self._session: BrokerSession | None = None
        self._sessions = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    # What other threads call

    def start(self) -> None:
        """Connect and consume; reconnect until closed."""
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Leave the broker; what is unacknowledged goes back to its queue."""
        self._stop.set()
        self._wake()
        self._thread.join(timeout_s)

    def stop_consuming(self) -> None:
        """Take no further message; what arrived and was not taken from `deliveries` goes back."""
        self._intake.wanted = False
        with suppress(BrokerLostError):  # without a connection there is no consumer either
            self._call(self._intake.cancel)

    @property
    def connected(self) -> bool:
        """Whether there is a session with the broker."""
        return self._session is not None

    def publish(self, delivery: Delivery, message: Outgoing, receipt: str) -> bool:
        """Publish the outcome of `delivery` with confirmation, once; False if that was done before.

        The message is routed to its queue and, at once, to the queue `receipt`, which shows later
        whether it was published. Raises BrokerLostError when the delivery's session has ended;
        whether it was published is then unknown until the redelivery reads the receipt.
        """
        return self._call(lambda session: session.publish(delivery, message, receipt))

    def receipt(self, name: str) -> Mapping[str, Any] | None:
        """The headers of what has been published under this receipt, if anything has been.

        Raises BrokerLostError.
        """
        return self._call(lambda session: session.read_receipt(name))

    def acknowledge(self, delivery: Delivery, receipt: str) -> None:
        """Acknowledge and delete the receipt. Raises BrokerLostError when that may have failed."""
        self._call(lambda session: self._intake.acknowledge(session, delivery, receipt))

    def requeue(self, delivery: Delivery) -> None:
        """Give the message back as it came. Raises BrokerLostError if the broker has it already."""
        self._call(lambda session: self._intake.requeue(session, delivery))

    def drop(self) -> None:
        """Forget the message in hand, whose session has ended, and consume again."""
        self._intake.holding = False
        self._wake()

    def _call(self, work: Callable[[BrokerSession], T]) -> T:
        future: Future[T] = Future()
        with self._lock:
            if self._session is None:
                raise BrokerLostError("not connected")
            self._work.append((work, future))
        self._wake()
        return future.result()

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            session.wake()

    # The thread

    def _run(self) -> None:
        pause = _BACKOFF_S[0]
        while not self._stop.is_set():
            try:
                session = self._connect()
                pause = _BACKOFF_S[0]
                while not self._stop.is_set():
                    self._turn(session)
            except Exception as error:  # whatever it is, a new session is the remedy
                _log.warning(
                    "no broker connection", error=repr(error)[:300], retry_in_s=round(pause, 1)
                )
            finally:
                self._end_session()
            self._rest(pause * random.uniform(0.5, 1.0))
            pause = min(_BACKOFF_S[1], pause * 2)

    def _connect(self) -> BrokerSession:
        self._sessions += 1
        session = BrokerSession(
            self._parameters,
            self._queue,
            self._sessions,
            cancelled=self._intake.forget_consumer,
        )
        with self._lock:
            self._session = session
        return session

    def _turn(self, session: BrokerSession) -> None:
        self._intake.consume(session)
        session.turn(_TURN_S)
        self.moved_at = time.monotonic()
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
        self._intake.end_session()
        for _, future in lost:
            future.set_exception(BrokerLostError("the connection to the broker was lost"))
        if session is not None:
            session.close()

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stop.wait(0.2):
            self.moved_at = time.monotonic()
