"""The worker as a process: its parts put together, and the loop that takes one job at a time."""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

from common import amqp, http, logs
from common.errors import ConfigError
from common.ledger import Ledger
from common.outgoing import ClientPolicy, RouteSettings
from common.records import WorkerRecord, WorkerState
from common.settings import or_exit
from worker.admission import Admission
from worker.broker import Broker
from worker.handler import JobHandler
from worker.leaving import Leaving
from worker.messages import Delivery
from worker.metrics import Metrics
from worker.presence import Presence
from worker.process_identity import started, this_instance
from worker.renderer import RENDER_ARGV, Renderer
from worker.scratch import keep_swept
from worker.settings import WorkerSettings, load_settings
from worker.storage import open_storage
from worker.video.themes import Catalogue

_POLL_S = 0.1
_LEAVE_S = 1.5
_LEAVE_DURING_OUTAGE_S = 20.0
# A job that has advanced within this time makes progress.
_PROGRESS_WITHIN_S = 60.0
_log = logs.get("worker")


class WorkerProgram:
    """Takes jobs until it is asked to leave."""

    def __init__(self, settings: WorkerSettings, render_argv: Sequence[str] = RENDER_ARGV) -> None:
        """Raises ConfigError when a part can't work with its settings."""
        self._settings = settings
        self._began = process_start()
        self._leaving = Leaving()
        catalogue = Catalogue.load(settings.themes)
        # Whatever is wrong with these is to be said now, not in a job.
        ClientPolicy("ELEVENLABS", model=RouteSettings)
        storage = open_storage(settings.output)
        self._scratch = {storage.works_in}
        name = f"worker {settings.worker_id}"
        addresses = amqp.parameters(settings, name=name, heartbeat_s=settings.amqp_heartbeat)
        for address in addresses:
            # An alarm of the broker may last for hours; what waits for its end is not lost.
            address.blocked_connection_timeout = None
        self._broker = Broker(
            addresses,
            settings.job_queue,
            declare=settings.declare_job_queue,
            keep_waiting=self._keep_waiting,
        )
        ledger = Ledger.of(settings)
        renderer = Renderer(render_argv, timeout_s=settings.job_timeout)
        record = _first_record(settings, self._began, addresses[0].virtual_host)
        self._admission = Admission(record, heartbeat_s=settings.heartbeat_interval)
        self._presence = Presence(
            ledger,
            record,
            admission=self._admission,
            heartbeat_s=settings.heartbeat_interval,
            status_ttl_s=settings.job_status_ttl,
            problem=self._stuck,
        )
        self._moved_at = time.monotonic()
        metrics = Metrics(
            renderer_pid=lambda: renderer.pid,
            connected=lambda: self._broker.connected,
            reachable=lambda: self._presence.reachable,
            waiting=lambda: len(self._presence.outbox),
            in_vain=lambda: self._broker.in_vain,
        )
        self._handler = JobHandler(
            settings,
            broker=self._broker,
            ledger=ledger,
            presence=self._presence,
            storage=storage,
            renderer=renderer,
            catalogue=catalogue,
            leaving=self._leaving,
            metrics=metrics,
        )
        self._http = http.Server(settings, self._routes(metrics), name="worker")

    def run(self) -> None:
        """Work, then leave. Raises ConfigError when it left because it may not work like this."""
        settings = self._settings
        self._leaving.on_signals(settings.graceful_shutdown_timeout)
        if settings.interruption_notice:
            self._leaving.on_notice(settings.interruption_notice, settings.interruption_grace)
        keep_swept(self._scratch, settings.job_timeout)
        self._http.start()
        self._presence.record.amend(address=f"{_address(settings)}:{self._http.port}")
        self._presence.start()
        self._broker.start()
        if self._await_consuming():
            self._take_jobs()
        self._leave()
        refusal = self._refusal()
        if refusal is not None:
            raise refusal

    def _await_consuming(self) -> bool:
        """Wait until jobs can come; False when asked to leave before.

        The ledger must have been tried by then: a worker that takes a job before its first answer
        can't know that another one has it.
        """
        while not (self._presence.tried.wait(_POLL_S) and self._broker.consuming.wait(_POLL_S)):
            self._moved_at = time.monotonic()
            self._heed_refusal()
            if self._leaving.asked:
                return False
        seconds = time.time() - self._began
        event_id = f"startup:{self._settings.worker_id}:{self._began:.2f}"
        queue_name = self._settings.job_queue
        self._presence.record.amend(startup_seconds=round(seconds, 3))
        self._presence.record.show(WorkerState.IDLE)
        self._presence.outbox.put(
            lambda ledger: ledger.count_startup(queue_name, event_id, seconds)
        )
        _log.info("consuming", queue=queue_name, startup_s=round(seconds, 3), http=self._http.port)
        return True

    def _take_jobs(self) -> None:
        taken = 0
        while not self._leaving.asked:
            self._moved_at = time.monotonic()
            try:
                delivery = self._broker.deliveries.get(timeout=_POLL_S)
            except queue.Empty:
                self._heed_refusal()
                reason = self._presence.drain_reason
                if reason is not None:
                    self._leaving.ask(f"drain: {reason}")
                continue
            self._handle(delivery)
            taken += 1
            if taken == self._settings.max_jobs:
                self._leaving.ask(f"MAX_JOBS: {taken}")

    def _keep_waiting(self) -> bool:
        """Whether to wait on for the broker, whose alarm may last: the main thread does nothing
        else meanwhile."""
        self._moved_at = time.monotonic()
        return not self._leaving.out_of_time

    def _refusal(self) -> ConfigError | None:
        """Why this worker may not work with these settings, as it turned out."""
        if self._broker.unserved:
            allowed = f"a classic or quorum queue ({self._broker.unserved})"
            return ConfigError("JOB_QUEUE", self._settings.job_queue, allowed)
        return self._admission.refusal

    def _heed_refusal(self) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._leaving.ask(str(refusal))

    def _handle(self, delivery: Delivery) -> None:
        self._handler.handle(delivery)
        # A request made during the job counts only if it still stands.
        self._presence.look_again()

    def _leave(self) -> None:
        _log.info("leaving", reason=self._leaving.reason)
        self._presence.record.show(WorkerState.DRAINING)
        self._broker.stop_consuming()
        self._broker.close()
        waits = self._presence.outbox and not self._presence.reachable
        left = self._presence.leave(_LEAVE_DURING_OUTAGE_S if waits else _LEAVE_S)
        if left:
            _log.error("the ledger stayed unreachable; events are lost", events=left)
        self._http.stop()
        _log.info("left")

    # Pages

    def _routes(self, metrics: Metrics) -> http.Routes:
        return {
            "/": self._page,
            "/health": self._page,
            "/-/healthy": http.health(self._to_be_replaced),
            "/-/ready": http.health(self._unready),
            "/metrics": http.metrics(metrics.registry),
        }

    def _stuck(self) -> str | None:
        limit, now = self._settings.health_check_timeout, time.monotonic()
        # With a job in hand the main thread may have to wait, for an upload to end, say.
        patience = self._settings.job_timeout if self._presence.record.current.has_job else 0.0
        for name, moved_at, limit_s in (
            ("broker", self._broker.moved_at, max(limit, self._broker.patience_s)),
            ("ledger", self._presence.moved_at, limit),
            ("main", max(self._moved_at, self._handler.moved_at), max(limit, patience)),
        ):
            if now - moved_at > limit_s:
                return f"the {name} thread has not moved for {now - moved_at:.0f} s"
        return self._broker.problem

    def _to_be_replaced(self) -> str | None:
        """Why an orchestrator should replace it: it is stuck, and no job in hand makes progress."""
        problem = self._stuck()
        if problem and self._presence.record.current.has_job:
            stood_s = time.monotonic() - self._presence.record.progressed_at
            return problem if stood_s > _PROGRESS_WITHIN_S else None
        return problem

    def _unready(self) -> str | None:
        if self._leaving.asked:
            return f"leaving: {self._leaving.reason}"
        busy = self._presence.record.current.has_job
        if self._broker.consuming.is_set() or busy:
            return None
        return self._broker.obstacle or "not consuming yet"

    def _page(self, _: http.Request) -> http.Response:
        problem = self._stuck()
        record = self._presence.record.current
        heartbeat = self._presence.record.last_heartbeat
        content = {
            "status": "unhealthy" if problem else "healthy",
            "last_heartbeat": heartbeat.isoformat() if heartbeat else None,
            "current_job": record.job_id,
            "worker_id": record.id,
            "state": record.status,
            "progress": record.progress,
            "stage": record.stage,
            "jobs_done": record.jobs_done,
            "broker_connected": self._broker.connected,
            "ledger_reachable": self._presence.reachable,
            "waiting_for": self._broker.obstacle,
            "problem": problem,
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        return http.as_json(content, status)


def process_start() -> float:
    """When this process began, epoch seconds."""
    since_boot = started(os.getpid()) / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot)


def _first_record(settings: WorkerSettings, began: float, vhost: str) -> WorkerRecord:
    now = datetime.now(UTC)
    return WorkerRecord(
        id=settings.worker_id,
        instance=this_instance(),
        queue=settings.job_queue,
        vhost=vhost,
        status=WorkerState.STARTING,
        status_since=now,
        started_at=datetime.fromtimestamp(began, UTC),
        last_seen=now,
        node=settings.node_id,
        task=settings.task_id,
        slot=settings.task_slot,
    )


def _address(settings: WorkerSettings) -> str:
    everywhere = settings.http_host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
    return os.uname().nodename if everywhere else settings.http_host


def main() -> None:
    """The command `run`: the exit code is 0 after leaving, 2 for settings that cannot be used."""
    settings = or_exit(load_settings)
    logs.configure("worker", settings.log_level)
    try:
        WorkerProgram(settings).run()
    except ConfigError as error:
        sys.stderr.write(f"invalid configuration: {error}\n")
        raise SystemExit(2) from None
