"""A controller over queues and fleets in memory, for tests of what a person sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scaler.loop.controller import Controller
from scaler.loop.history import History
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.order_sync import OrderBoard
from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.policy.observation import (
    Fleet,
    Known,
    Observation,
    Signal,
    Unknown,
    Worker,
    WorkerCondition,
)
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, Sample
from scaler.prometheus.look import Seen
from scaler.web.page_data import PageData
from scaler.web.status import Links, StatusBoard
from tests.support.handles import Handle
from tests.support.remembering import as_kept, never_set

START = 1_700_000_000.0


class Crew(Orchestrator):
    """One queue and fleet for each target; workers do as they are asked, at once."""

    def __init__(self) -> None:
        self.now = START
        self.waiting: dict[str, int] = {}
        self.states: dict[str, dict[str, str]] = {}
        self.blind = False
        self.hold: str | None = None
        self.obstacle: str | None = None
        self.starting = 0
        self.unseen = ""
        """Why nobody sees the fleets."""

    def observe(self, target: Target) -> Observation:
        def known(value: float, query: str) -> Signal:
            reason = "Prometheus at http://prometheus:9090 is not reachable"
            return Unknown(reason, query) if self.blind else Known(value, 0.5, query)

        states = list(self.states.get(target.name, {}).values())
        busy = states.count("busy")
        unknown = Unknown("no sample", "queue:job_arrivals:rate5m")
        return Observation(
            waiting=known(self.waiting.get(target.name, 0), "rabbitmq_queue_messages_ready"),
            in_flight=known(busy, "autoscaler_jobs_in_flight"),
            idle=known(states.count("idle"), "autoscaler_workers"),
            arrival_rate=unknown,
            burstiness=unknown,
            mean_duration=unknown,
            startup=known(10.0, "queue:worker_startup_seconds:mean1h"),
            fleet=None,
        )

    def look(self, targets: Sequence[Target]) -> Mapping[str, Seen]:
        return {target.name: self.seen(target) for target in targets}

    def seen(self, target: Target) -> Seen:
        workers = self.workers(target)
        return Seen(self.observe(target), None if workers is None else tuple(workers))

    def workers(self, target: Target) -> list[Worker] | None:
        if self.blind:
            return None
        crew = self.states.get(target.name, {})
        return [
            Worker(name, WorkerCondition(state), self.now - 30, "node-1")
            for name, state in crew.items()
        ]

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        if self.unseen:
            raise OrchestratorError(self.unseen)
        states = list(self.states.get(target.name, {}).values())
        running = len(states) - states.count("draining")
        facts = Fleet(
            len(states),
            running,
            starting=self.starting,
            draining=states.count("draining"),
            hold=self.hold,
            obstacle=self.obstacle,
        )
        return Handle(facts, target, self)

    def scale_up(self, target: Target, running: int, *, urgent: bool = False) -> str:
        crew = self.states.setdefault(target.name, {})
        before = len(crew)
        for number in range(before, running):
            crew[f"{target.service}-{number:04}"] = "idle"
        return f"started {running - before} workers"

    def victims(self, target: Target, idle: Sequence[Worker], count: int) -> Sequence[Worker]:
        return idle[:count]

    def reconcile(self, target: Target) -> str | None:
        return None

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        return any(crew.get(worker_id) == "idle" for crew in self.states.values())

    def withdraw_drain(self, worker_id: str) -> None:
        pass


class KnownPrometheus(Prometheus):
    """Answers the page's questions about a Crew without a server."""

    def __init__(self, crew: Crew) -> None:
        super().__init__("http://prometheus:9090")
        self._crew = crew

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
        if self._crew.blind:
            raise PrometheusError("Prometheus at http://prometheus:9090 is not reachable")
        if query.startswith("ALERTS"):
            labels = {"alertname": "QueueDepthHigh", "severity": "warning", "queue": "video-queue"}
            return [Sample(labels, 1.0)]
        samples = []
        for crew in self._crew.states.values():
            for worker, state in crew.items():
                labels = {"queue": "video-queue", "worker": worker}
                samples.append(Sample({**labels, "kind": "seen"}, self._crew.now - 2))
                if state == "busy":
                    share = self._crew.now % 100 / 100
                    samples.append(Sample({**labels, "kind": "progress"}, share))
                    job = {**labels, "kind": "job", "job_id": f"job-of-{worker}"}
                    samples.append(Sample(job, 1.0))
        return samples

    def matrix(
        self,
        query: str,
        start: float,
        end: float,
        step_s: float,
        timeout_s: float | None = None,
    ) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        if self._crew.blind:
            raise PrometheusError("Prometheus at http://prometheus:9090 is not reachable")
        times = [start + step_s * i for i in range(int((end - start) / step_s) + 1)]
        found = []
        for name, level in (
            ("waiting", 6),
            ("in_flight", 4),
            ("demand", 8),
            ("workers", 5),
            ("target", 5),
        ):
            points = [(at, float((i * 7) % level)) for i, at in enumerate(times)]
            found.append(({"series": name}, points))
        return list(found)


def controller_of(
    crew: Crew, targets: Sequence[Target], folder: Path, board: OrderBoard | None = None
) -> Controller:
    """A controller of `targets`, one cycle done."""
    controller = Controller(
        targets,
        signals=crew,
        orchestrators={"process": crew},
        ledger=crew,
        history=History(folder, retention_s=7 * 86_400),
        metrics=ScalerMetrics("test"),
        recall=as_kept,
        clock=never_set(lambda: crew.now),
        monotonic=lambda: crew.now,
        board=board,
    )
    controller.cycle()
    return controller


def board_of(crew: Crew, controller: Controller, refresh_s: float = 5.0) -> StatusBoard:
    """The status board over it."""
    watch = PageData(KnownPrometheus(crew), refresh_s, lambda: crew.now, lambda: crew.now)
    links = Links("http://prometheus:9090", "http://grafana:3000")
    return StatusBoard(controller, watch, links, clock=lambda: crew.now)
