"""One job from delivery to acknowledgement, in an order in which a crash does no damage.

A result is made durable, then announced with confirmation, then counted, then acknowledged. A crash
between any two of these steps leads to a redelivery that continues from there.
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
        """When the handling thread last showed that it is alive, by `time.monotonic`."""

    def handle(self, delivery: Delivery) -> None:
        """Process the delivery. Never raises for anything that a message can contain."""
        try:
            self._handle(delivery)
        except BrokerLostError as error:
            # The broker delivers the message again; what was done by then is found.
            _log.warning(
                "the job's connection was lost; its redelivery will continue it", why=str(error)
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
            # A bug of ours must not kill one worker after another as the job is redelivered.
            _log.exception("unexpected error")
            self._fail(attempt, TransientError(f"unexpected {type(error).__name__}: {error}"))

    def _attempt(self, attempt: Attempt) -> None:
        job = attempt.job
        if self._storage.has_whole(job.job_id):
            self._count_start(attempt.delivery)
            self._announce(attempt, self._storage.path(job.job_id))
            return
        if self._held_elsewhere(job.job_id):
            raise SupersededError(f"another worker has {job.job_id}")
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
            *_done_events(attempt, path),
            self._outcome(attempt.step, Outcome.DONE, seconds),
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
            status, stage = Status.ERROR, "failed"
        else:
            first_s = settings.job_retry_delay
            message = messages.retried(delivery, settings.job_queue, first_s, blame)
            wait = messages.delay_s(first_s, delivery.attempt + 1)
            tries = f"attempt {delivery.attempt + 2} of {settings.job_max_retries + 1}"
            status, stage = Status.QUEUED, f"waiting {wait} s for {tries}"
        shown = _status_event(attempt.job.job_id, status, stage, error_msg=why)
        self._settle(delivery, message, attempt.step, shown, self._outcome(attempt.step, outcome))
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
            shown = _status_event(error.job_id, Status.ERROR, "refused", error_msg=str(error))
            events.append(shown)
        blame = messages.Blame(str(error), settings.worker_id, datetime.now(UTC))
        message = messages.parked(delivery, settings.job_queue, blame)
        self._settle(delivery, message, step, *events, self._outcome(step, Outcome.PARKED))
        self._metrics.ended(Outcome.PARKED)
        _log.warning("job refused", job_id=error.job_id, error=str(error), next=message.queue)

    def _defer(self, attempt: Attempt) -> None:
        """Another worker has the job: look again later, when its result may exist."""
        message = messages.deferred(attempt.delivery, self._settings.job_queue)
        self._settle(attempt.delivery, message, attempt.step)
        _log.info("another worker has the job; put off", seconds=messages.DEFER_S)

    def _give_back(self, attempt: Attempt, why: str) -> None:
        self._broker.requeue(attempt.delivery)
        stage = "given back: the worker had to leave"
        shown = _status_event(attempt.job.job_id, Status.QUEUED, stage)
        self._presence.conclude(shown, self._outcome(uuid4().hex, Outcome.REQUEUED))
        self._metrics.ended(Outcome.REQUEUED)
        _log.warning("job given back", why=why)

    def _ended_before(self, attempt: Attempt) -> bool:
        """Finish what an earlier holder of this message began, if it had published the outcome."""
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

    def _settle(self, delivery: Delivery, message: Outgoing, step: str, *events: Event) -> None:
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
        """The ledger's answer; None while it is unreachable, as jobs continue without it."""
        if not self._presence.reachable:
            return None
        try:
            return question(self._ledger)
        except LedgerError as error:
            _log.warning("ledger unreachable; continuing without", error=str(error)[:300])
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


def _status_event(job_id: str, status: Status, stage: str, **fields: Any) -> Event:
    return partial(
        put_status, status=JobStatus(job_id=job_id, status=status, stage=stage, **fields)
    )


def _done_events(attempt: Attempt, path: str) -> list[Event]:
    job_id = attempt.job.job_id
    return [
        _status_event(job_id, Status.DONE, "done", progress=1, download_url=path),
        lambda ledger: ledger.mark_announced(attempt.order),
    ]
