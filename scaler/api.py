"""The scaler's HTTP surface: metrics, health, and the dashboard's JSON."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from common.http import Request, Response, Routes, as_json, health, metrics
from scaler.controller import Controller
from scaler.observation import Known, Signal

_SHOWN_DECISIONS = 50


class Api:
    """Pages over a running controller."""

    def __init__(self, controller: Controller, *, health_check: Callable[[], str | None]) -> None:
        self._controller = controller
        self._history = controller.history
        self._health_check = health_check

    def routes(self) -> Routes:
        """What `common.http.Server` serves."""
        return {
            "/metrics": metrics(self._controller.metrics.registry),
            "/-/healthy": health(self._health_check),
            "/-/ready": health(self._not_ready),
            "/metrics/dashboard": self._dashboard,
            "/api/decisions": self._decisions,
        }

    def _not_ready(self) -> str | None:
        names = [t.name for t in self._controller.targets if not self._controller.latest(t.name)]
        return f"no decision yet for {', '.join(names)}" if names else None

    def _dashboard(self, _: Request) -> Response:
        names = [target.name for target in self._controller.targets]
        return as_json(
            {
                "current_status": {name: self._status(name) for name in names},
                "scaling_history": {
                    name: self._history.decisions(name, limit=_SHOWN_DECISIONS) for name in names
                },
                "performance_metrics": {name: self._performance(name) for name in names},
                "worker_health": {name: self._workers(name) for name in names},
            }
        )

    def _status(self, name: str) -> dict[str, Any] | None:
        cycle = self._controller.latest(name)
        if cycle is None:
            return None
        seen = cycle.decision.observation
        return {
            "queue_depth": _value(seen.waiting),
            "in_flight": _value(seen.in_flight),
            "target_workers": cycle.decision.replicas,
            "active_workers": seen.fleet.running if seen.fleet else None,
            "scaling_recommendation": cycle.decision.action,
            "reason": cycle.sentence,
            "timestamp": cycle.decision.at,
        }

    def _performance(self, name: str) -> dict[str, Any] | None:
        cycle = self._controller.latest(name)
        if cycle is None:
            return None
        seen = cycle.decision.observation
        return {
            "avg_processing_time": _value(seen.mean_duration),
            "arrival_rate": _value(seen.arrival_rate),
            "worker_startup_time": _value(seen.startup),
        }

    def _workers(self, name: str) -> list[dict[str, Any]]:
        return [
            {"id": worker.id, "state": worker.state, "since": worker.since, "node": worker.node}
            for worker in self._controller.workers(name)
        ]

    def _decisions(self, request: Request) -> Response:
        known = [target.name for target in self._controller.targets]
        name = request.query.get("target", known[0])
        if name not in known:
            text = f"target: {name[:80]!r} is not allowed; allowed: {', '.join(known)}\n"
            return Response(text, HTTPStatus.NOT_FOUND)
        return as_json(self._history.decisions(name, limit=_SHOWN_DECISIONS))


def _value(signal: Signal) -> float | None:
    return signal.value if isinstance(signal, Known) else None
