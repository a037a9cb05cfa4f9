"""One job from delivery to acknowledgement, in an order in which a crash does no damage.

A result is made durable, then settled. A crash between any two steps leads to a redelivery that
continues from there. See docs/settlement.md.
"""

from __future__ import annotations

import time
from collections import Counter
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
from worker.job_status import JobStatus, Status, begin_status, put_status
from worker.jobs import InvalidJobError, Job, Result, job_id_in, parse_job
from worker.leaving import Leaving
from worker.messages import Delivery, Outgoing
from worker.metrics import Metrics
from worker.outbox import Event
from worker.presence import Presence
from worker.renderer import Renderer
from worker.settings import WorkerSettings
from worker.settlement import WEEK_S, Settlement, mark_settled
from worker.storage import Storage
from worker.video.themes import Catalogue

# A message that so many workers began with and none ended is not given to another.
_MAX_UNENDED = 2
# A quorum queue drops a message after 20 returns, unless its owner says otherwise.
_MAX_RETURNS = 10
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
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
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
        self._waiting_for = ""
        self._unended: Counter[str] = Counter()
        """Messages that ended this worker's sessions; the ledger, which knows all, may be away."""
        self._settlement = Settlement(
            settings.job_queue,
            broker=broker,
            presence=presence,
            leaving=leaving,
            waiting=self._wait,
            clock=clock,
            sleep=sleep,
        )
        self.moved_at = time.monotonic()
        """When the handling thread last showed that it is alive, by `time.monotonic`."""

    def handle(self, delivery: Delivery) -> None:
        """Process the delivery. Never raises for anything that a message can contain."""
        try:
            self._handle(delivery)
        except BrokerLostError as error:
            # The broker delivers the message again; what was done by then is found. What itself
            # ended the session counts as never ended, so that it can't do so for ever.
            if error.caused:
                self._note_broken(delivery)
            else:
                self._presence.outbox.put(self._settlement.ended(delivery))
            _log.warning(
                "the job's connection was lost; its redelivery will continue it", why=str(error)
            )
            self._broker.drop()
        finally:
            self._let_go()
            logs.bind()

    def _handle(self, delivery: Delivery) -> None:
        job_id = job_id_in(delivery.body)
        if job_id:
            logs.bind(job_id=job_id)
        try:
            self._work_on(delivery, job_id)
        except GivenBackError as error:
            self._give_back(delivery, job_id, str(error))
        except BrokerLostError:
            raise
        except Exception:
            # A bug of ours: it counts as never ended, and the third time the message is parked.
            _log.exception("unexpected error; the message goes back")
            self._note_broken(delivery)
            self._broker.requeue(delivery)

    def _work_on(self, delivery: Delivery, job_id: str | None) -> None:
        reason = self._reason_for_quarantine(delivery, job_id)
        if reason is not None:
            self._quarantine(delivery, job_id, reason)
            return
        try:
            job = parse_job(delivery.body)
            self._catalogue.check(job)
        except InvalidJobError as error:
            self._refuse(delivery, error)
            return
        attempt = Attempt(job, delivery)
        try:
            self._attempt(attempt)
        except SupersededError:
            self._put_off(attempt, "another worker has it")
        except GivenBackError:
            raise
        except JobError as error:
            self._fail(attempt, error)
        except BrokerLostError:
            raise
        except Exception as error:
            # A bug of ours must not kill one worker after another as the job is redelivered.
            _log.exception("unexpected error")
            self._fail(attempt, TransientError(f"unexpected {type(error).__name__}: {error}"))

    def _reason_for_quarantine(self, delivery: Delivery, job_id: str | None) -> str | None:
        """Why not even to try: what it is or did to those who had it before."""
        fingerprint = delivery.fingerprint
        record = self._presence.record.current
        known = self._ask(lambda one: one.begin_handling(fingerprint, record)) or 0
        before = max(known, self._unended[fingerprint])
        if delivery.envelope.problem:
            return delivery.envelope.problem
        if not delivery.seen_before or before < _MAX_UNENDED:
            return None
        if job_id is not None and (
            self._held_elsewhere(job_id) or self._settled(delivery, job_id) is not None
        ):
            return None
        return f"{before} workers, or their sessions with the broker, ended while they had it"

    def _note_broken(self, delivery: Delivery) -> None:
        """The message itself ended what this worker did with it."""
        fingerprint, record = delivery.fingerprint, self._presence.record.current
        self._unended[fingerprint] += 1
        self._presence.outbox.put(lambda ledger: ledger.break_handling(fingerprint, record))

    def _attempt(self, attempt: Attempt) -> None:
        job = attempt.job
        outcome = self._settled(attempt.delivery, job.job_id)
        if outcome is not None:
            self._settlement.acknowledge(attempt.delivery, attempt.step)
            _log.info("settled by an earlier holder; acknowledged", outcome=outcome)
            return
        if attempt.delivery.returned >= _MAX_RETURNS:
            self._put_off(attempt, "the queue has got it back too often to be safe there")
            return
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
        message = messages.announced(result, self._settings.result_queue, attempt.order)
        done = self._status(job.job_id, Status.DONE, "done", progress=1, download_url=path)
        if self._settle(attempt, message, done, seconds) == Outcome.DONE:
            record = self._presence.record
            record.amend(jobs_done=record.current.jobs_done + 1)
            _log.info("job done", seconds=round(seconds, 2), path=path)

    def _fail(self, attempt: Attempt, error: JobError) -> None:
        delivery, settings = attempt.delivery, self._settings
        why = str(error)
        final = isinstance(error, PermanentError) or delivery.attempt >= settings.job_max_retries
        blame = messages.Blame(why, settings.worker_id, datetime.now(UTC))
        if final:
            message = messages.parked(delivery, settings.job_queue, blame)
            status, stage = Status.ERROR, "failed"
        else:
            message = messages.retried(
                delivery, settings.job_queue, settings.job_retry_delay, blame
            )
            tries = f"attempt {delivery.attempt + 2} of {settings.job_max_retries + 1}"
            status, stage = Status.QUEUED, f"waiting {message.delay_s} s for {tries}"
        shown = self._status(attempt.job.job_id, status, stage, error_msg=why)
        outcome = self._settle(attempt, message, shown)
        _log.warning("job failed", outcome=outcome, error=why, next=message.queue)

    def _refuse(self, delivery: Delivery, error: InvalidJobError) -> None:
        """Park what can never become a video."""
        blame = messages.Blame(str(error), self._settings.worker_id, datetime.now(UTC))
        message = messages.parked(delivery, self._settings.job_queue, blame)
        self._count_start(delivery)
        if self._park(delivery, message, error.job_id, "refused", str(error)):
            _log.warning("job refused", job_id=error.job_id, error=str(error), next=message.queue)

    def _quarantine(self, delivery: Delivery, job_id: str | None, why: str) -> None:
        """Park the bare body, without another look at what came with it."""
        queue = self._settings.job_queue
        message = messages.quarantined(delivery, queue, f"quarantined: {why}")
        if not self._park(delivery, message, job_id, "quarantined", why):
            return
        self._unended.pop(delivery.fingerprint, None)
        event_id = uuid4().hex  # one, however often the ledger is told
        self._presence.outbox.put(lambda ledger: ledger.count_quarantined(queue, event_id))
        self._metrics.quarantined()
        _log.error("message quarantined", job_id=job_id, why=why, next=message.queue)

    def _park(
        self, delivery: Delivery, message: Outgoing, job_id: str | None, stage: str, why: str
    ) -> bool:
        """Whether the message is parked; where the queue refuses it, it is put off instead."""
        # Two broken messages may be equal and are still two: nothing ties them together.
        step = f"{stage}.{uuid4().hex}"

        def told(outcome: str) -> list[Event]:
            if outcome != Outcome.PARKED:
                return []
            counted = [self._outcome(step, Outcome.PARKED)]
            if job_id is not None:
                counted.append(self._status(job_id, Status.ERROR, stage, error_msg=why))
            return counted

        self._waiting_for = job_id or f"unreadable-{delivery.fingerprint[:12]}"
        parked = self._settlement.settle(delivery, message, step, told) == Outcome.PARKED
        if parked:
            self._metrics.ended(Outcome.PARKED)
        return parked

    def _put_off(self, attempt: Attempt, why: str) -> None:
        """Let the job be looked at again later, without an attempt."""
        message = messages.deferred(attempt.delivery, self._settings.job_queue)
        self._settle(attempt, message, None)
        _log.info("put off", why=why, seconds=messages.DEFER_S)

    def _give_back(self, delivery: Delivery, job_id: str | None, why: str) -> None:
        events = [self._outcome(uuid4().hex, Outcome.REQUEUED)]
        if job_id is not None:
            stage = "given back: the worker had to leave"
            events.append(self._status(job_id, Status.QUEUED, stage))
        self._settlement.give_back(delivery, *events)
        self._metrics.ended(Outcome.REQUEUED)
        _log.warning("job given back", why=why)

    def _settled(self, delivery: Delivery, job_id: str) -> str | None:
        """What an earlier holder of this message made of it, if it is known to have settled it."""
        if not delivery.seen_before:
            return None
        step, order = delivery.step(job_id), delivery.identity(job_id)
        outcome: str | None = None
        if delivery.message_id:
            # The end of an order, by whichever of its copies, says more than this step of it,
            # which may only have been put off.
            outcome = self._ask(lambda ledger: ledger.settled(order))
        if outcome is None:
            outcome = self._ask(lambda ledger: ledger.settled(step))
        if outcome == Outcome.DONE and not self._storage.has_whole(job_id):
            return None
        return outcome

    def _settle(
        self, attempt: Attempt, message: Outgoing, shown: Event | None, seconds: float | None = None
    ) -> str:
        """Settle with `message`, of which `shown` is the status; the outcome that came of it."""
        job_id, planned = attempt.job.job_id, message.outcome

        def told(outcome: str) -> list[Event]:
            events = (
                []
                if outcome == messages.PUT_OFF
                else [self._outcome(attempt.event, Outcome(outcome), seconds)]
            )
            if outcome != planned:
                stage = "put off: a queue refuses" if outcome == messages.PUT_OFF else "failed"
                status = Status.QUEUED if outcome == messages.PUT_OFF else Status.ERROR
                events.append(self._status(job_id, status, stage))
            elif shown is not None:
                events.append(shown)
            if outcome == Outcome.DONE and attempt.delivery.message_id:
                events.append(mark_settled(attempt.order, outcome, WEEK_S))
            return events

        self._waiting_for = job_id
        outcome = self._settlement.settle(attempt.delivery, message, attempt.step, told)
        if outcome != messages.PUT_OFF:
            self._metrics.ended(Outcome(outcome), seconds)
        return outcome

    def _wait(self, why: str) -> None:
        """An outcome waits with this worker, which is busy for as long."""
        self.moved_at = time.monotonic()
        self._presence.record.show(self._state(), job_id=self._waiting_for, stage=f"waiting: {why}")
        self._metrics.busy(True)

    # The ledger

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
        begun = JobStatus(job_id=job_id, status=Status.RENDERING, stage="starting")
        self._ask(lambda ledger: begin_status(ledger, begun, self._settings.job_status_ttl))

    def _let_go(self) -> None:
        self._presence.claim.let_go()
        self._presence.record.show(self._state(WorkerState.IDLE))
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

    def _state(self, otherwise: WorkerState = WorkerState.BUSY) -> WorkerState:
        return WorkerState.DRAINING if self._leaving.asked else otherwise

    def _show(self, job_id: str, stage: str) -> None:
        self._presence.record.show(self._state(), job_id=job_id, stage=stage)
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

    def _status(self, job_id: str, status: Status, stage: str, **fields: Any) -> Event:
        shown = JobStatus(job_id=job_id, status=status, stage=stage, **fields)
        return partial(put_status, status=shown, ttl_s=self._settings.job_status_ttl)

    def _outcome(self, step: str, outcome: Outcome, seconds: float | None = None) -> Event:
        queue = self._settings.job_queue
        return lambda ledger: ledger.count_outcome(
            queue, f"{step}:{outcome}", outcome, duration_s=seconds
        )


class Attempt:
    """A job and the delivery that brought it."""

    def __init__(self, job: Job, delivery: Delivery) -> None:
        self.job = job
        self.delivery = delivery
        self.began = time.monotonic()
        self.order = delivery.identity(job.job_id)
        self.step = delivery.step(job.job_id)
        # Without an id of its own another order may have the same step, and counts as well.
        self.event = self.step if delivery.message_id else f"{self.step}.{uuid4().hex}"
