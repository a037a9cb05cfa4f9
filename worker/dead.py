"""Work on the parked jobs in `<queue>.dead`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pika.exceptions import ChannelClosedByBroker

from worker import messages
from worker.job_queue import JobQueue


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked message."""

    body: bytes
    error: str
    history: tuple[Mapping[str, Any], ...]

    @property
    def job_id(self) -> str | None:
        """The id of the job in it, where one can be read."""
        try:
            value = json.loads(self.body).get("job_id")
        except (ValueError, AttributeError, RecursionError):
            return None
        return value if isinstance(value, str) else None


class ParkedJobs:
    """The parked jobs of a queue."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def all(self) -> list[Parked]:
        """Every parked message, oldest first; all stay where they are."""
        found: list[Parked] = []

        def note(parked: Parked) -> bool:
            found.append(parked)
            return False

        self._visit(note)
        return found

    def requeue(self, chosen: Callable[[Parked], bool]) -> int:
        """Return those chosen to the job queue with a clean history; how many."""

        def visit(parked: Parked) -> bool:
            if not chosen(parked):
                return False
            self._jobs.submit(parked.body)
            return True

        return self._visit(visit)

    def drop(self, chosen: Callable[[Parked], bool]) -> int:
        """Delete those chosen; how many."""
        return self._visit(chosen)

    def _visit(self, take: Callable[[Parked], bool]) -> int:
        """Show every message to `take` once; those it takes are acknowledged. How many."""
        channel, dead = self._jobs.channel, messages.dead_queue(self._jobs.name)
        try:
            left = channel.queue_declare(dead, passive=True).method.message_count
        except ChannelClosedByBroker:
            return 0  # nothing has ever been parked
        taken, kept = 0, 0
        for _ in range(left):
            method, properties, body = channel.basic_get(dead)
            if method is None:
                break
            if take(_parked(properties, body)):
                channel.basic_ack(method.delivery_tag)
                taken += 1
            else:
                kept = method.delivery_tag
        if kept:
            # All at once and only now, so that none is shown twice and their order stays.
            channel.basic_nack(kept, multiple=True, requeue=True)
        return taken


def _parked(properties: Any, body: bytes) -> Parked:
    envelope = properties.envelope
    history = messages.read_history(envelope)
    return Parked(body, str(envelope.header(messages.ERROR) or ""), tuple(history))
