"""What the ledger holds, as data: workers, drain requests, claims, counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict

Entry = TypeVar("Entry")

WORKERS = "video_workers"
"""The ledger's hash with a WorkerRecord for each worker."""
# Upper bounds in seconds of the histograms' buckets; +Inf is implied.
DURATION_BUCKETS = (5, 10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800)
WAIT_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
STARTUP_BUCKETS = (0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 45, 60, 90, 120, 300)


class WorkerState(StrEnum):
    """What a worker reports of itself. Whether it is healthy is judged from `last_seen`."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    """Takes no further job: finishes the one it has, if any, and leaves."""


class Outcome(StrEnum):
    """How one attempt at a job ended."""

    DONE = "done"
    RETRIED = "retried"
    PARKED = "parked"
    REQUEUED = "requeued"
    """Given back unfinished because the worker had to leave."""


class WorkerRecord(BaseModel):
    """One worker's entry in the hash WORKERS, as JSON under its id."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    id: str
    queue: str
    vhost: str = ""
    """Where the queue is; empty in records of workers that did not say so yet."""
    instance: str = ""
    """Of this very process, so that another with the same `id` is known for another."""
    status: WorkerState
    status_since: AwareDatetime
    started_at: AwareDatetime
    last_seen: AwareDatetime
    """By the ledger's clock, so that hosts' clocks need not agree."""
    job_id: str | None = None
    progress: float = 0.0
    stage: str = ""
    node: str = ""
    """The host: Swarm's node id, or the Kubernetes node, or the host name."""
    task: str = ""
    """Swarm's task id, or the pod's name, or the process id: what the orchestrator calls it."""
    slot: str = ""
    address: str = ""
    """host:port of the worker's own HTTP surface, for scraping."""
    startup_seconds: float | None = None
    """From process start to consuming."""
    jobs_done: int = 0
    problem: str = ""
    """Why its own health check fails; empty while it is well."""
    problem_since: AwareDatetime | None = None

    @property
    def has_job(self) -> bool:
        """Whether this worker has a job, draining or not."""
        return self.job_id is not None


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """What the scaler asked of one worker."""

    worker_id: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job. A later claim has the higher token and wins."""

    job_id: str
    worker_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative counts per upper bound; the last bound is +Inf, so its count is the total."""

    buckets: tuple[tuple[float, int], ...]
    sum: float

    @property
    def count(self) -> int:
        """How many observations in all."""
        return self.buckets[-1][1] if self.buckets else 0


@dataclass(frozen=True, slots=True)
class QueueCounters:
    """Totals of one queue since the ledger began; they outlive every worker."""

    queue: str
    started: int = 0
    """First attempts begun: arrivals that have reached a worker."""
    outcomes: dict[Outcome, int] = field(default_factory=dict)
    redelivered: int = 0
    quarantined: int = 0
    """Messages parked unread, as nobody could handle them."""
    refused: int = 0
    """Outcomes that a queue refused to take, each time one did."""
    duration: Histogram = field(default_factory=lambda: Histogram((), 0.0))
    wait: Histogram = field(default_factory=lambda: Histogram((), 0.0))
    startup: Histogram = field(default_factory=lambda: Histogram((), 0.0))
    vhost: str = ""
    """Where the queue is; empty where no worker has said so."""


@dataclass(frozen=True, slots=True)
class Entries(Generic[Entry]):
    """What was read of several entries, and which could not be read."""

    found: list[Entry]
    damaged: tuple[str, ...] = ()
    """Their names, as far as those are text."""
    unnamed: Mapping[tuple[str, bool], int] = field(default_factory=dict)
    """How many silent workers were only counted, by queue and whether they have a job."""
