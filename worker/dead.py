"""Work on the parked jobs in `<queue>.dead`, from the command line.

A quorum queue counts how often a message was given back, and drops it above a limit (20 by default
since RabbitMQ 4). Whoever only looks must not use that up. So before messages that were given back
before are given back once more they are renewed: each is published again as it is, and the original
acknowledged once the queue has confirmed the copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

from worker import messages
from worker.envelope import Envelope, WireProperties
from worker.job_queue import BrokerError, JobQueue
from worker.jobs import MAX_BODY_BYTES

# What the broker says of a message, and what would make it route a further copy or refuse ours.
_NOT_COPIED = frozenset({"x-delivery-count", "x-acquired-count", "CC", "BCC"})
_RESOURCE_LOCKED = 405
_LOCKED_S = 30.0
_POLL_S = 0.2
_TRIES_S = (0.0, 0.1, 0.5, 0.0)

Choice = Callable[[Sequence["Parked"]], Collection[int]]
"""Of what is parked, the places of those that something is to be done with."""


@dataclass(frozen=True)
class Parked:
    """A parked message."""

    body: bytes
    envelope: Envelope

    @property
    def error(self) -> str:
        """Why it was parked, where it says so."""
        return str(self.envelope.header(messages.ERROR) or "")

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """The attempts that failed."""
        return messages.read_history(self.envelope)

    @cached_property
    def job_id(self) -> str | None:
        """The id of the job in it, where one can be read."""
        try:
            value = (
                json.loads(self.body).get("job_id") if len(self.body) <= MAX_BODY_BYTES else None
            )
        except (ValueError, AttributeError, RecursionError):
            return None
        return value if isinstance(value, str) else None


class ParkedJobs:
    """The parked jobs of a queue. Methods raise BrokerError."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def all(self) -> list[Parked]:
        """Every parked message, oldest first; all stay where they are, as they are."""
        with self._taken() as hand:
            return list(hand.parked)

    def requeue(self, choose: Choice) -> int:
        """Return those chosen to the job queue, as their producers made them; how many."""
        with self._taken() as hand:
            chosen = sorted(choose(hand.parked))
            for done, place in enumerate(chosen):
                try:
                    self._jobs.resubmit(hand.parked[place].body, hand.parked[place].envelope)
                except (NackError, UnroutableError) as error:
                    said = f"{done} of {len(chosen)} handed back; {self._jobs.name} takes no more"
                    raise BrokerError(f"{said}: it is full, or not there") from error
                hand.acknowledge(place)
            return len(chosen)

    def drop(self, choose: Choice) -> int:
        """Delete those chosen; how many."""
        with self._taken() as hand:
            chosen = choose(hand.parked)
            for place in chosen:
                hand.acknowledge(place)
            return len(chosen)

    @contextmanager
    def _taken(self) -> Iterator[_Hand]:
        """All that is parked; what is not acknowledged goes back."""
        hand = _Hand(self._jobs.channel, messages.dead_queue(self._jobs.name))
        with self._alone(hand.queue):
            hand.take()
            try:
                yield hand
            finally:
                hand.give_back()

    @contextmanager
    def _alone(self, dead: str) -> Iterator[None]:
        """While nobody else works on them, as two would each see a part; and while the broker
        takes messages at all, as what is taken from it may have to be renewed."""
        name, until = f"{dead}.reader", time.monotonic() + _LOCKED_S
        while not self._own(name):
            if time.monotonic() > until:
                raise BrokerError(f"somebody else works on {dead}; try again")
            time.sleep(_POLL_S)
        self._jobs.channel.basic_publish("", name, b"", mandatory=True)
        try:
            yield
        finally:
            if self._jobs.channel.is_open:
                self._jobs.channel.queue_delete(name)

    def _own(self, name: str) -> bool:
        channel = self._jobs.channel.connection.channel()
        try:
            # Of one connection alone, and gone with it.
            channel.queue_declare(name, exclusive=True, arguments={"x-queue-type": "classic"})
        except ChannelClosedByBroker as error:
            if error.reply_code != _RESOURCE_LOCKED:
                raise
            return False
        channel.close()
        return True


@dataclass(frozen=True, slots=True)
class _Got:
    """A message that was taken and not acknowledged."""

    tag: int
    parked: Parked

    @property
    def returned(self) -> bool:
        """Whether a queue that counts it has had the message back before."""
        return bool(self.parked.envelope.header("x-delivery-count"))


class _Hand:
    """Messages taken from a queue, in its order."""

    def __init__(self, channel: BlockingChannel, queue: str) -> None:
        self.queue = queue
        self.parked: Sequence[Parked] = ()
        """What was taken."""
        self._channel = channel
        self._held: dict[int, _Got] = {}

    def take(self) -> None:
        """Take all that the queue has; nothing where nothing was ever parked."""
        try:
            self._channel.queue_declare(self.queue, passive=True)
        except ChannelClosedByBroker:
            return
        self._held = dict(enumerate(self._get()))
        self.parked = [each.parked for each in self._held.values()]

    def acknowledge(self, place: int) -> None:
        """The message at that place in `parked` is done with."""
        self._channel.basic_ack(self._held.pop(place).tag)

    def give_back(self) -> None:
        """Return what is left to its place in the queue. Raises BrokerError when what was returned
        before can't be renewed: then the queue has counted it once more."""
        if not self._channel.is_open:
            return  # it has gone back with the channel
        left = list(self._held.values())
        retaken: list[_Got] = []
        refused = False
        if any(each.returned for each in left):
            while left and not refused:
                refused = not self._renew(left[0], retaken)
                left = left[0 if refused else 1 :]
        # What goes back comes first, in the order in which it goes.
        for each in (*retaken, *left):
            self._channel.basic_nack(each.tag, requeue=True)
        if refused:
            raise BrokerError(
                f"{self.queue} takes no copies of its own messages: all are still there, but it "
                "counts how often they are looked at, and may have a limit for that"
            )

    def _renew(self, held: _Got, retaken: list[_Got]) -> bool:
        """Put a copy at the end of the queue in place of the message, if the queue takes it."""
        copy = held.parked.envelope.amended({}, without=_NOT_COPIED, properties={"user_id": None})
        body = held.parked.body
        if copy.problem:
            return False
        for pause_s in _TRIES_S:
            if self._publish(body, copy):
                break
            # Full: of what is ready, which is what makes it so, we take what there is. It may take
            # a moment until the queue knows.
            retaken.extend(self._get())
            time.sleep(pause_s)
        else:
            return False
        self._channel.basic_ack(held.tag)
        return True

    def _publish(self, body: bytes, envelope: Envelope) -> bool:
        try:
            self._channel.basic_publish(
                "", self.queue, body, WireProperties(envelope), mandatory=True
            )
        except (NackError, UnroutableError):
            return False
        return True

    def _get(self) -> Iterator[_Got]:
        # Until it is empty: the count that a quorum queue gives leaves out what was just returned.
        while True:
            method, properties, body = self._channel.basic_get(self.queue)
            if method is None:
                return
            yield _Got(method.delivery_tag, Parked(body, properties.envelope))
