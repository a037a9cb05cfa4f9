"""The worker's side of RabbitMQ, on a thread of its own.

The thread answers heartbeats during jobs of any length, and reconnects without end. Other threads
hand it work and wait for the result.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Any, TypeVar

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from common.logs import get
from worker.broker_session import BrokerSession
from worker.errors import BrokerLostError, RefusedError, UnservedQueueError
from worker.intake import Intake
from worker.messages import Delivery, Outgoing

_TURN_S = 0.5
_BACKOFF_S = (0.5, 30.0)
# A session that has lasted for so long has been of use, also without a job.
_STEADY_S = 60.0
_IN_VAIN = 5
_CONNECT_S = 20.0
_CANCEL_S = 2.0
_WAIT_S = 0.2
_CONNECTION_FORCED = 320
_log = get("broker")
# We log in one line what pika logs in ten with a traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL)

T = TypeVar("T")


class Broker:
    """A consumer of one queue with one message at a time, and a publisher with confirms."""

    def __init__(
        self,
        addresses: Sequence[pika.ConnectionParameters],
        job_queue: str,
        *,
        declare: bool = False,
        keep_waiting: Callable[[], bool] = lambda: True,
    ) -> None:
        """Of several addresses the first that answers is taken. With `declare` the job queue is
        made where it does not exist. `keep_waiting` is asked, several times a second, by a thread
        that waits for the broker's answer; without it the wait lasts as long as an alarm does."""
        self._addresses = addresses
        self._queue = job_queue
        self._keep_waiting = keep_waiting
        self._intake = Intake(job_queue, declare=declare)
        self.deliveries = self._intake.deliveries
        self.consuming = self._intake.consuming
        self.moved_at = time.monotonic()
        """When the thread last showed that it is alive."""
        self.patience_s = 0.0
        """For how long what it does now may keep it from showing that again. Without end while the
        broker has yet to answer: an alarm can last, and heartbeats tell whether it is there."""
        self.unserved: str | None = None
        """Why jobs can never be taken from this queue, if so; the thread has ended then."""
        self.in_vain = 0
        """How many sessions in a row have ended before anything was settled in them."""
        self.sessions = 0
        """How many there have been."""
        self._last_words = ""
        self._pause = _BACKOFF_S[0]
        self._lock = threading.Lock()
        self._work: list[tuple[Callable[[BrokerSession], Any], Future[Any]]] = []
        self._session: BrokerSession | None = None
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
            self._call(self._intake.cancel, timeout_s=_CANCEL_S)

    @property
    def connected(self) -> bool:
        """Whether there is a session with the broker."""
        return self._session is not None

    @property
    def obstacle(self) -> str | None:
        """Why no job comes although the broker is there, if so."""
        return self._intake.obstacle

    @property
    def problem(self) -> str | None:
        """What is wrong when one session after the other ends, with nothing settled in them."""
        if self.in_vain < _IN_VAIN:
            return None
        return f"{self.in_vain} sessions in a row have ended in vain, the last: {self._last_words}"

    def publish(self, delivery: Delivery, message: Outgoing) -> Outgoing:
        """Publish the outcome of `delivery`; returns, once its queue has confirmed it, what was
        published: the message, or as much of it as fits into the broker's frames.

        Raises RefusedError when the queue does not take it: nothing of it is left then. Raises
        BrokerLostError when the delivery's session has ended; whether it was published is then
        unknown, and the message will be delivered again.
        """
        return self._call(lambda session: session.publish(delivery, message))

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge, for certain. Raises BrokerLostError when that may have failed."""
        self._call(lambda session: self._intake.acknowledge(session, delivery))
        self._note_settled()

    def requeue(self, delivery: Delivery) -> None:
        """Give the message back as it came. Raises BrokerLostError if the broker has it already."""
        self._call(lambda session: self._intake.requeue(session, delivery))
        self._note_settled()

    def drop(self) -> None:
        """Forget the message in hand, whose session has ended, and consume again."""
        self._intake.holding = False
        self._wake()

    def _call(self, work: Callable[[BrokerSession], T], timeout_s: float = math.inf) -> T:
        future: Future[T] = Future()
        with self._lock:
            if self._session is None:
                raise BrokerLostError("not connected")
            self._work.append((work, future))
        self._wake()
        until = time.monotonic() + timeout_s
        while True:
            try:
                return future.result(_WAIT_S)
            except FutureTimeoutError:
                if time.monotonic() > until or not self._keep_waiting():
                    raise BrokerLostError("the broker has not answered in time") from None

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            session.wake()

    def _note_settled(self) -> None:
        self.in_vain, self._pause = 0, _BACKOFF_S[0]

    # The thread

    def _run(self) -> None:
        while not self._stop.is_set():
            began, session = time.monotonic(), None
            try:
                session = self._connect()
                while not self._stop.is_set():
                    self._turn(session)
            except UnservedQueueError as error:
                self.unserved = str(error)
                return
            except Exception as error:  # whatever it is, a new session is the remedy
                self._last_words = repr(error)[:300]
                pause = round(self._pause, 1)
                _log.warning("no broker connection", error=self._last_words, retry_in_s=pause)
            finally:
                self._end_session()
            if session is not None:
                self.in_vain += 1
                if time.monotonic() - began > _STEADY_S:
                    self._note_settled()
            self._rest(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(_BACKOFF_S[1], self._pause * 2)

    def _connect(self) -> BrokerSession:
        self._show(_CONNECT_S * len(self._addresses))
        session = BrokerSession(
            self._addresses,
            self._queue,
            self.sessions + 1,
            cancelled=self._intake.forget_consumer,
        )
        self.sessions += 1
        with self._lock:
            self._session = session
        return session

    def _turn(self, session: BrokerSession) -> None:
        self._show(math.inf)
        self._intake.consume(session)
        self._show()
        session.turn(_TURN_S)
        self._show(math.inf)
        while self._work:
            with self._lock:
                work, future = self._work.pop(0)
            try:
                future.set_result(work(session))
            except (BrokerLostError, RefusedError) as error:
                future.set_exception(error)
            except Exception as error:
                lost = BrokerLostError(f"the broker did not do it: {error!r:.200}")
                lost.caused = _caused(error)
                future.set_exception(lost)
                raise
        self._show()

    def _show(self, patience_s: float = 0.0) -> None:
        """The thread is alive; it may be silent now for as long as that."""
        self.patience_s, self.moved_at = patience_s, time.monotonic()

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
            self._show()


def _caused(error: Exception) -> bool:
    """Whether the request itself ended the session, rather than the end of the connection."""
    if isinstance(error, ConnectionClosedByBroker):
        return bool(error.reply_code != _CONNECTION_FORCED)
    return isinstance(error, ChannelClosedByBroker) or not isinstance(error, AMQPError | OSError)
