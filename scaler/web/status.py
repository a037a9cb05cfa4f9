"""The controller's state as the API tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from scaler.loop.controller import Controller
from scaler.policy.decision import Action, Decision
from scaler.policy.explain import done, explain, record
from scaler.policy.memory import Memory, order_at
from scaler.policy.observation import Worker, WorkerCondition, value_of
from scaler.policy.schedule import bounds
from scaler.policy.target import Target
from scaler.web.models import (
    Chart,
    Dashboard,
    DecisionRecord,
    Explanation,
    OrderInForce,
    Performance,
    Recommendation,
    System,
    TargetStatus,
    TargetSummary,
    WorkerHealth,
)
from scaler.web.page_data import RANGES, Extras, PageData
from scaler.web.scale_events import ScaleEvents
from scaler.web.verdict import verdict

_SHOWN_DECISIONS = 50
# Of all targets together: a thousand of them with fifty each would take seconds.
_DASHBOARD_DECISIONS = 2500
_WITHOUT_JOB = (WorkerCondition.STARTING, WorkerCondition.IDLE)
_RECOMMENDATIONS: dict[Action, Recommendation] = {
    Action.UP: "scale_up",
    Action.DOWN: "scale_down",
}


@dataclass(frozen=True, slots=True)
class Links:
    """The neighbours, as a browser reaches them."""

    prometheus: str
    grafana: str | None


class StatusBoard:
    """Everything that can be looked at. Safe for use from several threads."""

    def __init__(
        self,
        controller: Controller,
        watch: PageData,
        links: Links,
        *,
        config_problem: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`config_problem` says why the newest configuration is not in force."""
        self.controller = controller
        self.watch = watch
        self.clock = clock
        self.scale_events = ScaleEvents(controller.history, clock)
        self._links = links
        self._config_problem = config_problem
        self._version = version("rabbitreels-autoscaler")

    def target(self, name: str) -> Target | None:
        """The target of that name."""
        return self.controller.target(name)

    def summary(self, target: Target) -> TargetSummary:
        """One target in short."""
        cycle, memory = self.controller.latest(target.name), self.controller.memory(target.name)
        decision = cycle.decision if cycle else None
        fleet = decision.observation.fleet if decision else None
        found = verdict(cycle, memory, bounds(target, self.clock()))
        return TargetSummary(
            name=target.name,
            level=found.level,
            text=found.text,
            active_workers=fleet.running if fleet else None,
            target_workers=decision.replicas if decision else None,
            bound=decision.bound if decision else "",
        )

    def summaries(self) -> dict[str, TargetSummary]:
        """All targets in short, by name."""
        return {target.name: self.summary(target) for target in self.controller.targets}

    def statuses(self) -> list[TargetStatus]:
        """All targets now."""
        return [self.status(target) for target in self.controller.targets]

    def status(self, target: Target) -> TargetStatus:
        """One target now."""
        name, now = target.name, self.clock()
        cycle, memory = self.controller.latest(name), self.controller.memory(name)
        limits = bounds(target, now)
        decision = cycle.decision if cycle else None
        seen = decision.observation if decision else None
        fleet = seen.fleet if seen else None
        action = decision.action if decision else Action.NONE
        states = [worker.state for worker in self.controller.workers(name)]
        return TargetStatus(
            name=name,
            queue=target.queue,
            service=", ".join(target.services),
            orchestrator=target.orchestrator,
            verdict=verdict(cycle, memory, limits),
            queue_depth=value_of(seen.waiting) if seen else None,
            in_flight=value_of(seen.in_flight) if seen else None,
            target_workers=decision.replicas if decision else None,
            active_workers=fleet.running if fleet else None,
            starting_workers=fleet.starting if fleet else None,
            draining_workers=fleet.draining if fleet else None,
            healthy_workers=len(states) - states.count(WorkerCondition.UNHEALTHY),
            min_workers=limits.low,
            max_workers=limits.high,
            scaling_recommendation=_RECOMMENDATIONS.get(action, "maintain"),
            action=action,
            bound=decision.bound if decision else "",
            reason=cycle.sentence if cycle else "no decision yet",
            timestamp=decision.at if decision else None,
            parked_jobs=self.watch.extras().parked.get(target.queue),
            order=_order(memory, now),
        )

    def explanation(self, target: Target) -> str:
        """Why there are as many workers as there are, in a paragraph."""
        cycle = self.controller.latest(target.name)
        return explain(cycle.decision, done(cycle.applied)) if cycle else "No decision yet."

    def explained(self, target: Target, at: float | None) -> Explanation | None:
        """The newest decision, or the one in force at a moment, with its paragraph."""
        latest = self.controller.latest(target.name)
        if at is None and latest is not None:
            content = record(latest.decision, latest.applied)
            return _explanation(DecisionRecord.model_validate(content), target)
        found = self.decisions(target, until=at, limit=1)
        return _explanation(found[0], target) if found else None

    def workers(self, target: Target) -> list[WorkerHealth]:
        """The fleet, in a steady order."""
        extras = self.watch.extras()
        return [
            _worker(worker, target.queue, extras)
            for worker in sorted(self.controller.workers(target.name), key=lambda w: w.id)
        ]

    def performance(self, target: Target) -> Performance | None:
        """Rates and means, None before the first decision."""
        cycle = self.controller.latest(target.name)
        if cycle is None:
            return None
        seen = cycle.decision.observation
        return Performance(
            avg_processing_time=value_of(seen.mean_duration),
            arrival_rate=value_of(seen.arrival_rate),
            worker_startup_time=value_of(seen.startup),
        )

    def decisions(
        self, target: Target, *, until: float | None = None, limit: int = _SHOWN_DECISIONS
    ) -> list[DecisionRecord]:
        """As recorded, newest first."""
        kept = self.controller.history.decisions(target.name, until=until, limit=limit)
        return [DecisionRecord.model_validate(each) for each in kept]

    def chart(self, target: Target, span: str) -> Chart:
        """The series of a span of RANGES, with its scale events."""
        series = self.watch.series(target, span)
        return Chart(
            start=series.start,
            step=series.step_s,
            series=dict(series.values),
            events=list(self.scale_events.of(target.name, RANGES[span])),
        )

    def dashboard(self) -> Dashboard:
        """Everything at once; of many targets fewer decisions each."""
        targets = self.controller.targets
        share = max(1, min(_SHOWN_DECISIONS, _DASHBOARD_DECISIONS // max(1, len(targets))))
        return Dashboard(
            current_status={
                each.name: self.status(each) if self.controller.latest(each.name) else None
                for each in targets
            },
            scaling_history={each.name: self.decisions(each, limit=share) for each in targets},
            performance_metrics={each.name: self.performance(each) for each in targets},
            worker_health={each.name: self.workers(each) for each in targets},
        )

    def system(self) -> System:
        """The scaler itself."""
        return System(
            version=self._version,
            refresh_s=self.watch.refresh_s,
            prometheus_error=self.watch.error,
            prometheus_silent_since=self.watch.silent_since,
            config_problem=self._config_problem(),
            problems=list(self.controller.problems),
            prometheus_url=self._links.prometheus,
            grafana_url=self._links.grafana,
        )


def _worker(worker: Worker, queue: str, extras: Extras) -> WorkerHealth:
    key = queue, worker.id
    # Asked less often than states are: who is idle by now has no job.
    has_job = worker.state not in _WITHOUT_JOB
    return WorkerHealth(
        id=worker.id,
        state=worker.state,
        since=worker.since,
        node=worker.node,
        slot=worker.slot,
        job_id=extras.jobs.get(key) if has_job else None,
        progress=extras.progress.get(key) if has_job else None,
        last_seen=extras.seen.get(key),
    )


def _explanation(record: DecisionRecord, target: Target) -> Explanation:
    kept = Decision.from_json(record.model_dump(), bounds(target, record.at))
    text = explain(kept, record.applied)
    return Explanation(target=target.name, at=record.at, text=text, decision=record)


def _order(memory: Memory | None, now: float) -> OrderInForce | None:
    order = order_at(memory, now)
    return None if order is None else OrderInForce.model_validate(order)
