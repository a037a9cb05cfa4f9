"""How an attempt is settled: its outcome published, told to the ledger, its message acknowledged.

In this order, and no step before the one before it is certain. What is published counts only once
the very queue that it is for has confirmed it, so a refusal leaves nothing behind that could pass
for an outcome; the ledger's mark says no more than that confirmation. Where a crash leaves open
whether there was one, the outcome is published again, with the same ids. See docs/settlement.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from uuid import uuid4

from common.ledger import Ledger
from common.logs import get
from worker import messages
from worker.broker import Broker
from worker.errors import GivenBackError, NoDelayError, RefusedError
from worker.leaving import Leaving
from worker.messages import Delivery, Outgoing
from worker.outbox import Event
from worker.presence import Presence

_FLUSH_S = 1.0
_PAUSE_S = (0.5, 8.0)
_TURN_S = 0.2
# A queue that has refused for so long will go on: the worker has other jobs to do.
_PATIENCE_S = 15.0
_PUT_OFF_S = 20
# A message with an id of its own is known by it for a week, others until they are acknowledged.
WEEK_S = 7 * 86_400
_NAMELESS_MARK_S = 3_600
_log = get("job")


class Settlement:
    """Settles what is in hand, one after the other, on the worker's main thread."""

    def __init__(
        self,
        job_queue: str,
        *,
        broker: Broker,
        presence: Presence,
        leaving: Leaving,
        waiting: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`waiting` is called, several times a second, with what the worker waits for."""
        self._job_queue = job_queue
        self._broker = broker
        self._presence = presence
        self._leaving = leaving
        self._waiting = waiting
        self._clock = clock
        self._sleep = sleep

    def settle(
        self,
        delivery: Delivery,
        message: Outgoing,
        step: str,
        told: Callable[[str], list[Event]],
    ) -> str:
        """Publish `message` for what was delivered, and acknowledge that; the outcome it came to.

        That is the message's own, or another where the broker did not take it: put off, or parked.
        `told` gives the events for the ledger by outcome. Raises GivenBackError when the worker has
        to leave before any queue takes it, and BrokerLostError.
        """
        outcome = self._publish(delivery, message).outcome
        ttl_s = WEEK_S if delivery.message_id else _NAMELESS_MARK_S
        self._presence.conclude(*told(outcome), mark_settled(step, outcome, ttl_s))
        self.acknowledge(delivery, step)
        return outcome

    def acknowledge(self, delivery: Delivery, step: str) -> None:
        """Acknowledge what has been settled, once the ledger had its chance to know."""
        self._presence.outbox.put(self.ended(delivery))
        self._presence.flush(_FLUSH_S)
        self._broker.acknowledge(delivery)
        if not delivery.message_id:
            self._presence.outbox.put(lambda ledger: ledger.forget_settled(step))

    def give_back(self, delivery: Delivery, *events: Event) -> None:
        """Return the message as it came, for another worker."""
        self._broker.requeue(delivery)
        self._presence.conclude(*events, self.ended(delivery))

    def ended(self, delivery: Delivery) -> Event:
        """The handling of this message has come to an end."""
        fingerprint, instance = delivery.fingerprint, self._presence.record.current.instance
        return lambda ledger: ledger.end_handling(fingerprint, instance)

    def _publish(self, delivery: Delivery, message: Outgoing) -> Outgoing:
        """Publish, however often that takes; what was published in the end."""
        pause_s, since = _PAUSE_S[0], self._clock()
        while True:
            try:
                return self._broker.publish(delivery, message)
            except NoDelayError as error:
                _log.warning("the retry waits with this worker", why=str(error))
                self._wait(str(error), float(message.delay_s or 0))
                message = message.straight_to(self._job_queue)
                continue
            except RefusedError as error:
                why = str(error)
            self._note_refusal(why, pause_s)
            if self._clock() - since >= _PATIENCE_S:
                for way in self._ways_round(delivery, message):
                    try:
                        return self._broker.publish(delivery, way)
                    except RefusedError:
                        continue
            self._wait(why, pause_s)
            pause_s = min(_PAUSE_S[1], 2 * pause_s)

    def _note_refusal(self, why: str, pause_s: float) -> None:
        queue, event_id = self._job_queue, uuid4().hex
        self._presence.outbox.put(lambda ledger: ledger.count_refused(queue, event_id))
        _log.warning("outcome refused; it is kept", why=why, retry_in_s=pause_s)

    def _ways_round(self, delivery: Delivery, message: Outgoing) -> Iterator[Outgoing]:
        """Where the job can go meanwhile, in place of a queue that refuses its outcome."""
        if message.delay_s is None and message.queue != self._job_queue:
            put_off = messages.deferred(delivery, self._job_queue, _PUT_OFF_S)
            yield put_off
            yield put_off.straight_to(self._job_queue)
        elif message.delay_s is not None:
            yield message.straight_to(self._job_queue)

    def _wait(self, why: str, seconds: float) -> None:
        until = self._clock() + seconds
        while self._clock() < until:
            if self._leaving.asked:
                raise GivenBackError(f"the worker leaves, and {why}")
            self._waiting(why)
            self._sleep(_TURN_S)


def mark_settled(name: str, outcome: str, ttl_s: int) -> Event:
    """This step, or this order, has been settled with this outcome."""

    def tell(ledger: Ledger) -> None:
        ledger.mark_settled(name, outcome, ttl_s=ttl_s)

    return tell
