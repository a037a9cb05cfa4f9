"""Messages around a job: the delivery, its history, and where it is sent next."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from common.records import Outcome
from worker.envelope import Envelope, short_text
from worker.jobs import Result

ATTEMPT = "x-attempt"
"""Header: how many attempts have failed before this one."""
DEFERRED = "x-deferred"
"""Header: how often the job was put off, without an attempt."""
HISTORY = "x-history"
"""Header: JSON list of the attempts that failed, each with when, by whom and why."""
OUTCOME = "x-outcome"
"""Header of whatever a worker publishes for a job: how that attempt ended."""
ORDER = "x-order"
"""Header of an announcement: the order that it answers, the same when it is announced again."""
ERROR = "x-error"
"""Header of a parked message: why it was parked."""
PUT_OFF = "deferred"
"""Outcome of an attempt that was put off."""
_OURS = frozenset({ATTEMPT, DEFERRED, HISTORY, OUTCOME, ERROR})
BROKERS_OWN = frozenset(
    # What the broker added, and what would make it route a further copy.
    {"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"}
    | {"x-last-death-exchange", "x-last-death-queue", "x-last-death-reason"}
    | {"x-delivery-count", "x-acquired-count", "CC", "BCC"}
)
# A copy with these could expire where it waits, or be refused: the broker compares the user.
_NOT_PASSED_ON: Mapping[str, bytes | None] = {"expiration": None, "user_id": None}
_PERSISTENT = b"\x02"
# A frame's own 8 bytes, and class, weight and body size before the properties.
_FRAME_BYTES = 8 + 12
_MAX_ERROR = 1_000
_MAX_HISTORY = 25
_MAX_HISTORY_BYTES = 64 * 1024
_LONGEST_WAIT_S = 30 * 86_400
_FIRST_IN_MS = 100_000_000_000
_PLAIN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
DEFER_S = 5
MAX_DELAY_S = 3600


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that this worker has; session and tag identify it to the broker."""

    session: int
    tag: int
    body: bytes
    redelivered: bool = False
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def message_id(self) -> str:
        """The publisher's, or empty."""
        return self.envelope.text("message_id")

    @property
    def attempt(self) -> int:
        """How many attempts have failed before."""
        return _count(self.envelope.header(ATTEMPT))

    @property
    def deferred(self) -> int:
        """How often it was put off."""
        return _count(self.envelope.header(DEFERRED))

    @property
    def returned(self) -> int:
        """How often a quorum queue has got it back; 0 where that is not counted."""
        return _count(self.envelope.header("x-delivery-count"))

    @property
    def seen_before(self) -> bool:
        """Whether a worker may have had this very message before."""
        return self.redelivered or self.attempt > 0 or self.deferred > 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The attempts that failed."""
        return read_history(self.envelope)

    @property
    def fingerprint(self) -> str:
        """The same for this message whenever it comes back, whatever its headers."""
        told = hashlib.sha256()
        for part in (self.message_id.encode("utf-8", "replace"), self._timestamp(), self.body):
            told.update(len(part).to_bytes(8, "big") + part)
        return told.hexdigest()[:32]

    def identity(self, job_id: str) -> str:
        """Tells this order for the job from others, as far as the publisher made them differ."""
        if not self.message_id:
            return f"{job_id}.{self.fingerprint}"
        if _PLAIN_ID.fullmatch(self.message_id):
            return f"{job_id}.{self.message_id}"
        known = hashlib.sha256(self.message_id.encode("utf-8", "replace"))
        return f"{job_id}.{known.hexdigest()[:32]}"

    def step(self, job_id: str) -> str:
        """Names what happens to this message this time; the same again when it is redelivered."""
        return f"{self.identity(job_id)}.{self.attempt}.{self.deferred}"

    def wait_s(self, now: float) -> float | None:
        """Seconds from publishing to `now`, for a first delivery whose time is known."""
        published = published_at(self.envelope)
        if published is None or self.seen_before or now - published > _LONGEST_WAIT_S:
            return None
        return max(0.0, now - published)

    def _timestamp(self) -> bytes:
        return self.envelope.properties.get("timestamp", b"")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish, always persistent."""

    queue: str
    body: bytes
    envelope: Envelope
    delay_s: int | None = None
    """For how long `queue` keeps it before it returns to the job queue, if it does."""

    @property
    def outcome(self) -> str:
        """How the attempt ended that this message tells of."""
        return str(self.envelope.header(OUTCOME))

    @property
    def header_bytes(self) -> int:
        """The size of the frame that all but the body travels in; see AMQP 0-9-1, 2.3.5.2."""
        return len(self.envelope.encode()) + _FRAME_BYTES

    def straight_to(self, job_queue: str) -> Outgoing:
        """The same without a delay."""
        return replace(self, queue=job_queue, delay_s=None)


def delay_s(first_s: int, attempt: int) -> int:
    """Seconds to wait before attempt number `attempt` (1 is the first further one)."""
    return min(MAX_DELAY_S, int(first_s * 4 ** (attempt - 1)))


def retry_queue(job_queue: str, seconds: int) -> str:
    """The queue that holds a message for that many seconds and returns it to `job_queue`."""
    return f"{job_queue}.retry.{seconds}"


def own_arguments(job_queue: str, message: Outgoing) -> dict[str, Any]:
    """With what to declare the queue of `message`, where it is one of our own for `job_queue`.

    A retry queue gives a message up only once the job queue has confirmed it, which a queue of the
    classic type does not.
    """
    if message.delay_s is not None:
        return {
            "x-queue-type": "quorum",
            "x-message-ttl": message.delay_s * 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": job_queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    return {"x-queue-type": "quorum"} if message.queue == dead_queue(job_queue) else {}


def dead_queue(job_queue: str) -> str:
    """Where jobs are parked."""
    return f"{job_queue}.dead"


def announced(result: Result, queue: str, order: str) -> Outgoing:
    """The message that announces the video."""
    body = result.model_dump_json().encode()
    properties = {"content_type": short_text("application/json"), "delivery_mode": _PERSISTENT}
    envelope = Envelope(properties).amended(
        {OUTCOME: Outcome.DONE.value, ORDER: order},
        properties={"message_id": short_text(result.job_id)},
    )
    return Outgoing(queue, body, envelope)


@dataclass(frozen=True, slots=True)
class Blame:
    """What went wrong with an attempt, at which worker, and when."""

    error: str
    worker: str
    at: datetime


def retried(delivery: Delivery, job_queue: str, first_s: int, blame: Blame) -> Outgoing:
    """The message that returns the job after a delay."""
    number = delivery.attempt + 1
    headers: dict[str, str | int] = {
        OUTCOME: Outcome.RETRIED.value,
        ATTEMPT: number,
        HISTORY: _with_entry(delivery, blame),
    }
    seconds = delay_s(first_s, number)
    envelope = _onwards(delivery.envelope, headers, without={DEFERRED})
    return Outgoing(retry_queue(job_queue, seconds), delivery.body, envelope, seconds)


def deferred(delivery: Delivery, job_queue: str, seconds: int = DEFER_S) -> Outgoing:
    """The message that returns the job soon, without counting an attempt."""
    headers: dict[str, str | int] = {OUTCOME: PUT_OFF, DEFERRED: delivery.deferred + 1}
    envelope = _onwards(delivery.envelope, headers)
    return Outgoing(retry_queue(job_queue, seconds), delivery.body, envelope, seconds)


def parked(delivery: Delivery, job_queue: str, blame: Blame) -> Outgoing:
    """The message for `<queue>.dead`: the body as it came, with its error and history."""
    headers = {
        OUTCOME: Outcome.PARKED.value,
        ERROR: blame.error[:_MAX_ERROR],
        HISTORY: _with_entry(delivery, blame),
    }
    envelope = _onwards(delivery.envelope, headers)
    return Outgoing(dead_queue(job_queue), delivery.body, envelope)


def quarantined(delivery: Delivery, job_queue: str, error: str) -> Outgoing:
    """As `parked`, with nothing of the message but its body and its id."""
    kept = {k: v for k, v in delivery.envelope.properties.items() if k == "message_id"}
    headers = {OUTCOME: Outcome.PARKED.value, ERROR: error[:_MAX_ERROR]}
    envelope = _onwards(Envelope(kept), headers)
    return Outgoing(dead_queue(job_queue), delivery.body, envelope)


def fitted(message: Outgoing, delivery: Delivery, job_queue: str, room: int) -> Outgoing:
    """The message, with less of its headers where they exceed `room`, the bytes of one frame.

    The history goes first. If the producer's own headers leave no room the job is parked, with its
    body: what it came with can't be sent on.
    """
    if message.header_bytes <= room:
        return message
    shorter = replace(message, envelope=message.envelope.amended({}, without={HISTORY}))
    if shorter.header_bytes <= room:
        return shorter
    told = message.envelope.header(ERROR)
    why = told if isinstance(told, str) else "its attempt ended"
    error = f"{why}; its headers, {message.header_bytes} bytes, left no room and are gone"
    return quarantined(delivery, job_queue, error)


def unburdened(envelope: Envelope) -> Envelope:
    """The message as its producer made it, without what workers and the broker added."""
    return _onwards(envelope, {}, without=_OURS)


def read_history(envelope: Envelope) -> list[dict[str, Any]]:
    """The attempts that failed, by the header of a retried or parked message."""
    text = envelope.header(HISTORY)
    if not isinstance(text, str) or len(text) > _MAX_HISTORY_BYTES:
        return []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [_plain(e) for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def published_at(envelope: Envelope) -> float | None:
    """Epoch seconds by the header `timestamp_in_ms` or the property `timestamp`, which some give in
    milliseconds; None for what can be no time of our days."""
    millis = envelope.header("timestamp_in_ms")
    if isinstance(millis, int | float) and not isinstance(millis, bool):
        seconds = millis / 1000
    else:
        seconds = float(envelope.number("timestamp") or 0)
        if seconds >= _FIRST_IN_MS:
            seconds /= 1000
    return seconds if 0 < seconds < _FIRST_IN_MS else None


def _onwards(
    envelope: Envelope,
    headers: Mapping[str, str | int],
    without: AbstractSet[str] = frozenset(),
) -> Envelope:
    return envelope.amended(
        headers,
        without=BROKERS_OWN | without,
        properties={**_NOT_PASSED_ON, "delivery_mode": _PERSISTENT},
    )


def _with_entry(delivery: Delivery, blame: Blame) -> str:
    entry = {
        "attempt": delivery.attempt + 1,
        "at": blame.at.isoformat(timespec="milliseconds"),
        "worker": blame.worker,
        "error": blame.error[:_MAX_ERROR],
    }
    return json.dumps([*delivery.history, entry][-_MAX_HISTORY:])


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        k: v[:_MAX_ERROR] for k in ("at", "worker", "error") if isinstance(v := entry.get(k), str)
    }
    return {"attempt": _count(entry.get("attempt")), **told}


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 1_000_000 else 0
