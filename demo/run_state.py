"""The state of a run: jobs from the ledger, fleet and target from Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.ledger import Ledger, LedgerError
from common.records import WorkerRecord, WorkerState
from scaler.prometheus.client import Prometheus, PrometheusError
from worker.job_status import Status, read_status
from worker.jobs import Job


@dataclass
class JobSeen:
    """One job's way through the system; times are epoch seconds."""

    job: Job
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    worker: str = ""
    status: Status = Status.QUEUED
    progress: float = 0.0
    stage: str = ""
    error: str = ""

    @property
    def waited_s(self) -> float | None:
        """From submission to the start of rendering."""
        return None if self.started_at is None else self.started_at - self.submitted_at

    @property
    def rendered_s(self) -> float | None:
        """From the start of rendering to done."""
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at


@dataclass
class RunState:
    """What is known of a run; `refresh()` reads ledger and Prometheus again."""

    ledger: Ledger
    prometheus: Prometheus
    target: str
    jobs: dict[str, JobSeen] = field(default_factory=dict)
    workers: Sequence[WorkerRecord] = ()
    target_replicas: int | None = None
    waiting: int | None = None
    reason: str = ""
    peak: int = 0

    def submitted(self, jobs: Sequence[Job]) -> None:
        """These have just been sent."""
        for job in jobs:
            self.jobs[job.job_id] = JobSeen(job, time.time())

    def refresh(self) -> None:
        """Read what has changed. While the ledger does not answer, its part stays as it was."""
        try:
            self.workers = sorted(self.ledger.workers(), key=lambda worker: worker.started_at)
            for seen in self.jobs.values():
                if seen.ended_at is None:
                    self._refresh_job(seen)
        except LedgerError:
            pass
        self.peak = max(self.peak, len(self.workers))
        self.target_replicas = self._number(f'autoscaler_target_replicas{{target="{self.target}"}}')
        self.waiting = self._number('rabbitmq_queue_messages_ready{queue="video-queue"}')

    def _refresh_job(self, seen: JobSeen) -> None:
        status = read_status(self.ledger, seen.job.job_id)
        if status is None:
            return
        now = time.time()
        seen.status, seen.progress, seen.stage = status.status, status.progress, status.stage
        holder = next((w.id for w in self.workers if w.job_id == seen.job.job_id), "")
        seen.worker = holder or seen.worker
        if status.status is not Status.QUEUED and seen.started_at is None:
            seen.started_at = now
        if status.status in (Status.DONE, Status.ERROR):
            seen.ended_at = now
            seen.error = status.error_msg or ""

    def _number(self, query: str) -> int | None:
        try:
            samples = self.prometheus.vector(query)
        except PrometheusError:
            return None
        return int(samples[0].value) if samples else None

    @property
    def states(self) -> Counter[WorkerState]:
        """Workers by the state that they report."""
        return Counter(worker.status for worker in self.workers)

    @property
    def by_status(self) -> Counter[Status]:
        """Jobs by status."""
        return Counter(seen.status for seen in self.jobs.values())

    @property
    def all_ended(self) -> bool:
        """Whether every job is done or has failed."""
        return all(seen.ended_at is not None for seen in self.jobs.values())

    @property
    def at_rest(self) -> bool:
        """Whether the fleet is back at one idle worker."""
        return [worker.status for worker in self.workers] == [WorkerState.IDLE]
