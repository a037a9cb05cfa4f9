"""One job from delivery to acknowledgement: the order of these steps is what keeps it from harm.

A result is made durable, then announced with confirmation, then counted, then acknowledged. A crash
between any two of these steps leads to a redelivery that goes on where it stopped.
See docs/adr/0010-one-effect-per-job.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from common import logs
from common.ledger import Ledger, LedgerError
from common.records import Outcome, WorkerState
from worker import messages
from worker.broker import Broker
from worker.errors import (
    BrokerLostError,
    GivenBackError,
    JobError,
    PermanentError,
    SupersededError,
    TransientError,
)
from worker.held_claim import CLAIM_TTL_S
from worker.job_status import JobStatus, Status, put_status
from worker.jobs import InvalidJobError, Job, Result, parse_job
from worker.leaving import Leaving
from worker.messages import Delivery, Outgoing
from worker.metrics import Metrics
from worker.outbox import Event
from worker.presence import Presence
from worker.renderer import Renderer
from worker.settings import WorkerSettings
from worker.storage import Storage
from worker.video.themes import Catalogue

_FLUSH_S = 1.0
_log = logs.get("job")


class JobHandler:
    """Handles deliveries one after the other, on the worker's main thread."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        broker: Broker,
        ledger: Ledger,
        presence: Presence,
        storage: Storage,
        renderer: Renderer,
        catalogue: Catalogue,
        leaving: Leaving,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._ledger = ledger
        self._presence = presence
        self._storage = storage
        self._renderer = renderer
        self._catalogue = catalogue
        self._leaving = leaving
        self._metrics = metrics
        self.moved_at = time.monotonic()
        """When a job last showed that the thread which handles it is alive."""

    def handle(self, delivery: Delivery) -> None:
        """Bring the delivery to an end. Never raises for anything that a message can contain."""
        try:
            self._handle(delivery)
        except BrokerLostError as error:
            # The broker hands the message out again; whatever was reached here is found then.
            _log.warning(
                "the job's connection is gone; leaving it to its redelivery", why=str(error)
            )
            self._broker.drop()
        finally:
            self._let_go()
            logs.bind()

    def _handle(self, delivery: Delivery) -> None:
        try:
            job = parse_job(delivery.body)
            self._catalogue.check(job)
        except InvalidJobError as error:
            self._refuse(delivery, error)
            return
        logs.bind(job_id=job.job_id)
        attempt = Attempt(job, delivery, self._settings.job_queue)
        if self._ended_before(attempt):
            return
        try:
            self._attempt(attempt)
        except SupersededError:
            self._defer(attempt)
        except GivenBackError as error:
            self._give_back(attempt, str(error))
        except JobError as error:
            self._fail(attempt, error)
        except BrokerLostError:
            raise
        except Exception as error:
            # A mistake of ours must not take down worker after worker as the job goes round.
            _log.exception("unexpected error")
            self._fail(attempt, TransientError(f"unexpected {type(error).__name__}: {error}"))

    def _attempt(self, attempt: Attempt) -> None:
        job = attempt.job
        if self._storage.has_whole(job.job_id):
            self._count_start(attempt.delivery)
            self._announce(attempt, self._storage.path(job.job_id))
            return
        if self._held_elsewhere(job.job_id):
            raise SupersededError(f"{job.job_id} is in another worker's hands")
        self._show(job.job_id, "starting")
        self._claim(job.job_id)
        self._count_start(attempt.delivery)
        _log.info("job taken", attempt=attempt.delivery.attempt + 1)
        self._announce(attempt, self._make(job))

    def _make(self, job: Job) -> str:
        """Render and keep; where the result is."""
        made = self._storage.workplace(job.job_id)
        request = {
            "job": job.model_dump(),
            "path": str(made),
            "threads": self._settings.render_threads,
            "voices": self._settings.for_voices(),
            "themes": str(self._settings.themes) if self._settings.themes else None,
        }
        try:
            self._renderer.run(request, partial(self._progress, job.job_id), self._reason_to_stop)
            self._progress(job.job_id, 0.99, "storing the video")
            return self._storage.keep(job.job_id, made)
        finally:
            with suppress(OSError):
                made.unlink(missing_ok=True)

    def _reason_to_stop(self) -> JobError | None:
        self.moved_at = time.monotonic()
        if self._presence.claim.superseded.is_set():
            return SupersededError("another worker has taken the job")
        if self._leaving.out_of_time:
            return GivenBackError(f"grace period is over ({self._leaving.reason})")
        return None

    # How attempts end

    def _announce(self, attempt: Attempt, path: str) -> None:
        job = attempt.job
        result = Result(job_id=job.job_id, title=job.title, storage_path=path)
        seconds = time.monotonic() - attempt.began
        self._settle(
            attempt.delivery,
            messages.announced(result, self._settings.result_queue),
            attempt.step,
            [
                *_done_events(attempt, path),
                self._outcome(attempt.step, Outcome.DONE, seconds),
            ],
        )
        record = self._presence.record
        record.amend(jobs_done=record.current.jobs_done + 1)
        self._metrics.ended(Outcome.DONE, seconds)
        _log.info("job done", seconds=round(seconds, 2), path=path)

    def _fail(self, attempt: Attempt, error: JobError) -> None:
        delivery, settings = attempt.delivery, self._settings
        why = str(error)
        final = isinstance(error, PermanentError) or delivery.attempt >= settings.job_max_retries
        outcome = Outcome.PARKED if final else Outcome.RETRIED
        blame = messages.Blame(why, settings.worker_id, datetime.now(UTC))
        if final:
            message = messages.parked(delivery, settings.job_queue, blame)
            status = JobStatus(
                job_id=attempt.job.job_id, status=Status.ERROR, stage="failed", error_msg=why
            )
        else:
            message = messages.retried(
                delivery, settings.job_queue, settings.job_retry_delay, blame
            )
            wait = messages.delay_s(settings.job_retry_delay, delivery.attempt + 1)
            tries = f"attempt {delivery.attempt + 2} of {settings.job_max_retries + 1}"
            status = JobStatus(
                job_id=attempt.job.job_id,
                status=Status.QUEUED,
                stage=f"waiting {wait} s for {tries}",
                error_msg=why,
            )
        self._settle(
            delivery,
            message,
            attempt.step,
            [
                lambda ledger: put_status(ledger, status),
                self._outcome(attempt.step, outcome),
            ],
        )
        self._metrics.ended(outcome)
        _log.warning("job failed", outcome=outcome.value, error=why, next=message.queue)

    def _refuse(self, delivery: Delivery, error: InvalidJobError) -> None:
        """Park what can never become a video."""
        # Two broken messages may be equal and are still two: nothing ties them together.
        step = f"refused.{uuid4().hex}"
        settings = self._settings
        events: list[Event] = []
        self._count_start(delivery)
        if error.job_id is not None:
            status = JobStatus(
                job_id=error.job_id, status=Status.ERROR, stage="refused", error_msg=str(error)
            )
            events.append(lambda ledger: put_status(ledger, status))
        blame = messages.Blame(str(error), settings.worker_id, datetime.now(UTC))
        message = messages.parked(delivery, settings.job_queue, blame)
        self._settle(delivery, message, step, [*events, self._outcome(step, Outcome.PARKED)])
        self._metrics.ended(Outcome.PARKED)
        _log.warning("job refused", job_id=error.job_id, error=str(error), next=message.queue)

    def _defer(self, attempt: Attempt) -> None:
        """Another worker has the job: look again in a while, by then its result may be there."""
        message = messages.deferred(attempt.delivery, self._settings.job_queue)
        self._settle(attempt.delivery, message, attempt.step, [])
        _log.info("job is in another worker's hands; put off", seconds=messages.DEFER_S)

    def _give_back(self, attempt: Attempt, why: str) -> None:
        self._broker.requeue(attempt.delivery)
        status = JobStatus(
            job_id=attempt.job.job_id,
            status=Status.QUEUED,
            stage="given back: the worker had to leave",
        )
        ended = self._outcome(uuid4().hex, Outcome.REQUEUED)
        self._presence.conclude(lambda ledger: put_status(ledger, status), ended)
        self._metrics.ended(Outcome.REQUEUED)
        _log.warning("job given back", why=why)

    def _ended_before(self, attempt: Attempt) -> bool:
        """Finish what an earlier holder of this message began, if it got as far as publishing."""
        delivery = attempt.delivery
        if not delivery.seen_before:
            return False
        headers = self._broker.receipt(attempt.receipt)
        outcome = str(headers.get(messages.OUTCOME)) if headers is not None else None
        if outcome is None and self._known_as_announced(attempt.order):
            outcome = Outcome.DONE.value
        if outcome is None:
            return False
        if outcome in (Outcome.DONE, Outcome.RETRIED, Outcome.PARKED):
            self._presence.outbox.put(self._outcome(attempt.step, Outcome(outcome)))
        if outcome == Outcome.DONE:
            path = self._storage.path(attempt.job.job_id)
            self._presence.outbox.put(*_done_events(attempt, path))
        self._presence.flush(_FLUSH_S)
        self._broker.acknowledge(delivery, attempt.receipt)
        _log.info("job was published by an earlier holder; acknowledged", outcome=outcome)
        return True

    def _settle(
        self, delivery: Delivery, message: Outgoing, step: str, events: list[Event]
    ) -> None:
        receipt = messages.receipt_queue(self._settings.job_queue, step)
        self._broker.publish(delivery, message, receipt)
        self._presence.conclude(*events)
        self._presence.flush(_FLUSH_S)
        self._broker.acknowledge(delivery, receipt)

    # The ledger

    def _known_as_announced(self, order: str) -> bool:
        return bool(self._ask(lambda ledger: ledger.announced(order)))

    def _held_elsewhere(self, job_id: str) -> bool:
        """Whether another worker, which is alive, works on the job."""
        holder = self._ask(lambda ledger: ledger.at_work(job_id))
        return holder is not None and holder.worker_id != self._settings.worker_id

    def _claim(self, job_id: str) -> None:
        worker = self._settings.worker_id
        # A claim counts only while its holder's record names the job, so that goes first.
        self._ask(lambda ledger: ledger.put_worker(self._presence.record.current))
        claim = self._ask(lambda ledger: ledger.claim(job_id, worker, ttl_s=CLAIM_TTL_S))
        self._presence.claim.hold(job_id, claim)

    def _let_go(self) -> None:
        self._presence.claim.let_go()
        state = WorkerState.DRAINING if self._leaving.asked else WorkerState.IDLE
        self._presence.record.show(state)
        self._metrics.busy(False)

    def _ask(self, question: Callable[[Ledger], Any]) -> Any:
        """The ledger's answer; None while it is away, since jobs go on without it."""
        if not self._presence.reachable:
            return None
        try:
            return question(self._ledger)
        except LedgerError as error:
            _log.warning("ledger away; going on without", error=str(error)[:300])
            return None

    def _show(self, job_id: str, stage: str) -> None:
        state = WorkerState.DRAINING if self._leaving.asked else WorkerState.BUSY
        self._presence.record.show(state, job_id=job_id, stage=stage)
        self._metrics.busy(True)
        self._progress(job_id, 0.0, stage)

    def _progress(self, job_id: str, progress: float, stage: str) -> None:
        if self._leaving.asked and self._presence.record.current.status is WorkerState.BUSY:
            self._presence.record.show(WorkerState.DRAINING, job_id=job_id, stage=stage)
        self._presence.record.progress(
            JobStatus(
                job_id=job_id,
                status=Status.RENDERING,
                progress=min(1.0, max(0.0, progress)),
                stage=stage,
            )
        )

    def _count_start(self, delivery: Delivery) -> None:
        queue, event_id = self._settings.job_queue, uuid4().hex
        first, wait = not delivery.seen_before, delivery.wait_s(time.time())
        if wait is not None:
            self._metrics.waited(wait)
        self._presence.outbox.put(
            lambda ledger: ledger.count_started(queue, event_id, first=first, wait_s=wait)
        )

    def _outcome(self, step: str, outcome: Outcome, seconds: float | None = None) -> Event:
        queue = self._settings.job_queue
        return lambda ledger: ledger.count_outcome(
            queue, f"{step}:{outcome}", outcome, duration_s=seconds
        )


class Attempt:
    """A job and the delivery that brought it."""

    def __init__(self, job: Job, delivery: Delivery, job_queue: str) -> None:
        self.job = job
        self.delivery = delivery
        self.began = time.monotonic()
        self.order = delivery.identity(job.job_id)
        self.step = delivery.step(job.job_id)
        self.receipt = messages.receipt_queue(job_queue, self.step)


def _done_events(attempt: Attempt, path: str) -> list[Event]:
    status = JobStatus(
        job_id=attempt.job.job_id, status=Status.DONE, progress=1, stage="done", download_url=path
    )
    return [
        lambda ledger: put_status(ledger, status),
        lambda ledger: ledger.mark_announced(attempt.order),
    ]
