"""The owner of the jobs, who sends them with confirmation and again when that fails to come."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pika
from pika.exceptions import AMQPError, NackError

from tests.soak.evidence import Order
from tests.soak.plan import Message
from tests.soak.queues import JOBS

_AHEAD = 400
"""So many messages wait in the job queue at most."""


class Sender:
    """Sends a plan on a thread of its own."""

    def __init__(self, url: str, messages: Sequence[Message], ahead: Callable[[], int]) -> None:
        """`ahead` says how many messages wait in the job queue."""
        self._url = url
        self._messages = messages
        self._ahead = ahead
        self._tries: Counter[str] = Counter()
        self.sent = 0
        """How many messages have been confirmed."""

    def run(self, stop: threading.Event) -> None:
        """Send everything, unless told to stop."""
        channel: Any = None
        while self.unsent and not stop.is_set():
            if self.sent % 50 == 0 and self._ahead() > _AHEAD:
                stop.wait(0.2)
                continue
            message = self._messages[self.sent]
            try:
                channel = channel or self._connect()
                self._tries[message.order] += 1
                channel.basic_publish("", JOBS, message.body, message.properties, mandatory=True)
                self.sent += 1
            except NackError:
                self._tries[message.order] -= 1  # refused: it is not in the queue
                stop.wait(0.2)
            except (AMQPError, OSError):
                _closed(channel)
                channel = None  # perhaps it is in the queue
                stop.wait(0.5)
        _closed(channel)

    @property
    def unsent(self) -> int:
        """How many it has not been able to send."""
        return len(self._messages) - self.sent

    def orders(self) -> list[Order]:
        """What has been sent, with the number of copies that the queue may have had of each."""
        orders = {each.order: each for each in self._messages[: self.sent]}
        return [Order(e.order, e.job_id, e.kind, self._tries[e.order]) for e in orders.values()]

    def _connect(self) -> Any:
        channel = pika.BlockingConnection(pika.URLParameters(self._url)).channel()
        channel.confirm_delivery()
        return channel


def _closed(channel: Any) -> None:
    """Close its connection, if there is one that is open."""
    if channel is not None and channel.connection.is_open:
        with suppress(AMQPError, OSError):
            channel.connection.close()
