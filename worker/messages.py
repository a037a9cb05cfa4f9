"""Messages around a job: the delivery, its history, and where it is sent next."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from common.records import Outcome
from worker.jobs import Result

ATTEMPT = "x-attempt"
"""Header: how many attempts have failed before this one."""
DEFERRED = "x-deferred"
"""Header: how often the job was put off because another worker had it."""
HISTORY = "x-history"
"""Header: JSON list of the attempts that failed, each with when, by whom and why."""
OUTCOME = "x-outcome"
"""Header of whatever a worker publishes for a job: how that attempt ended."""
ERROR = "x-error"
"""Header of a parked message: why it was parked."""
_BROKERS_OWN = frozenset(
    # What the broker added, and what would make it route a further copy.
    {"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason"}
    | {"CC", "BCC"}
)
_MAX_ERROR = 1_000
_MAX_HISTORY = 25
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
    headers: Mapping[str, Any] = field(default_factory=dict)
    message_id: str = ""
    timestamp: float | None = None
    """When it was published, epoch seconds, where the publisher says so."""

    @property
    def attempt(self) -> int:
        """How many attempts have failed before."""
        return _count(self.headers.get(ATTEMPT))

    @property
    def deferred(self) -> int:
        """How often it was put off."""
        return _count(self.headers.get(DEFERRED))

    @property
    def seen_before(self) -> bool:
        """Whether a worker may have had this very message before."""
        return self.redelivered or self.attempt > 0 or self.deferred > 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """The attempts that failed."""
        try:
            entries = json.loads(self.headers.get(HISTORY, "[]"))
        except (TypeError, ValueError):
            return []
        return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []

    def identity(self, job_id: str) -> str:
        """Distinguishes this order for the job from others, where the publisher gave it an id."""
        if not self.message_id:
            return job_id
        if _PLAIN_ID.fullmatch(self.message_id):
            return f"{job_id}.{self.message_id}"
        return f"{job_id}.{hashlib.sha256(self.message_id.encode()).hexdigest()[:32]}"

    def step(self, job_id: str) -> str:
        """Names what happens to this message this time; the same again when it is redelivered."""
        return f"{self.identity(job_id)}.{self.attempt}.{self.deferred}"

    def wait_s(self, now: float) -> float | None:
        """Seconds from publishing to `now`, for a first delivery whose time is known."""
        if self.timestamp is None or self.seen_before:
            return None
        return max(0.0, now - self.timestamp)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish, always persistent."""

    queue: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    message_id: str = ""
    timestamp: float | None = None


def delay_s(first_s: int, attempt: int) -> int:
    """Seconds to wait before attempt number `attempt` (1 is the first further one)."""
    return min(MAX_DELAY_S, int(first_s * 4 ** (attempt - 1)))


def retry_queue(job_queue: str, seconds: int) -> str:
    """The queue that holds a message for that many seconds and returns it to `job_queue`."""
    return f"{job_queue}.retry.{seconds}"


def retry_arguments(job_queue: str, name: str) -> dict[str, Any] | None:
    """With what to declare the queue `name`: None unless it is a retry queue of `job_queue`."""
    prefix, _, seconds = name.rpartition(".")
    if prefix != f"{job_queue}.retry":
        return None
    return {
        "x-message-ttl": int(seconds) * 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": job_queue,
    }


def dead_queue(job_queue: str) -> str:
    """Where jobs are parked."""
    return f"{job_queue}.dead"


def receipt_queue(job_queue: str, step: str) -> str:
    """The queue that shows whether the outcome of `step` has been published."""
    return f"{job_queue}.receipt.{step}"


def announced(result: Result, queue: str) -> Outgoing:
    """The message that announces the video."""
    body = result.model_dump_json().encode()
    return Outgoing(queue, body, {OUTCOME: Outcome.DONE.value}, message_id=result.job_id)


@dataclass(frozen=True, slots=True)
class Blame:
    """What went wrong with an attempt, at which worker, and when."""

    error: str
    worker: str
    at: datetime


def retried(delivery: Delivery, job_queue: str, first_s: int, blame: Blame) -> Outgoing:
    """The message that returns the job after a delay."""
    number = delivery.attempt + 1
    headers = _own(delivery) | {
        OUTCOME: Outcome.RETRIED.value,
        ATTEMPT: number,
        HISTORY: _with_entry(delivery, blame),
    }
    headers.pop(DEFERRED, None)
    return _onwards(delivery, retry_queue(job_queue, delay_s(first_s, number)), headers)


def deferred(delivery: Delivery, job_queue: str) -> Outgoing:
    """The message that returns the job soon, without counting an attempt."""
    headers = _own(delivery) | {OUTCOME: "deferred", DEFERRED: delivery.deferred + 1}
    return _onwards(delivery, retry_queue(job_queue, DEFER_S), headers)


def parked(delivery: Delivery, job_queue: str, blame: Blame) -> Outgoing:
    """The message for `<queue>.dead`: the body as it came, with its error and history."""
    headers = _own(delivery) | {
        OUTCOME: Outcome.PARKED.value,
        ERROR: blame.error[:_MAX_ERROR],
        HISTORY: _with_entry(delivery, blame),
    }
    return _onwards(delivery, dead_queue(job_queue), headers)


def published_at(timestamp: object, headers: Mapping[str, Any]) -> float | None:
    """Epoch seconds from the header `timestamp_in_ms` or the property `timestamp`."""
    millis = headers.get("timestamp_in_ms")
    if isinstance(millis, int | float) and math.isfinite(millis) and millis > 0:
        return millis / 1000
    return float(timestamp) if isinstance(timestamp, int | float) and timestamp > 0 else None


def _onwards(delivery: Delivery, queue: str, headers: Mapping[str, Any]) -> Outgoing:
    return Outgoing(queue, delivery.body, headers, delivery.message_id, delivery.timestamp)


def _own(delivery: Delivery) -> dict[str, Any]:
    return {name: v for name, v in delivery.headers.items() if name not in _BROKERS_OWN}


def _with_entry(delivery: Delivery, blame: Blame) -> str:
    entry = {
        "attempt": delivery.attempt + 1,
        "at": blame.at.isoformat(timespec="milliseconds"),
        "worker": blame.worker,
        "error": blame.error[:_MAX_ERROR],
    }
    return json.dumps([*delivery.history, entry][-_MAX_HISTORY:])


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 1_000_000 else 0
