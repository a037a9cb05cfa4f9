"""What the gateway answers: views of services that opted in, and one kind of change."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry, Counter

from common.http import Response, as_json
from common.logs import get
from scaler.gateway.guard import refusal
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import Engine, EngineAwayError, StaleVersionError
from scaler.orchestrators.swarm.listing import ListedService
from scaler.orchestrators.swarm.service_view import LOOK_HEADER, ServiceView, to_json

_log = get("gateway")
_SERVICE = re.compile(r"/v1/services/([A-Za-z0-9][A-Za-z0-9_.-]{0,127})")
_CHANGE = re.compile(r"/v1/services/([a-z0-9]{25})/replicas")
_NUMBER = re.compile(r"[0-9]{1,18}")
_REMEMBERED = 256
FRESH_S = 3.0
"""Seconds for which a change may follow what it was decided on, by this clock alone."""


class Refused(Exception):  # noqa: N818 - not a fault of anything, but an answer
    """The request is not let through."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status = status
        super().__init__(why)


class Gateway:
    """Between a scaler and an engine."""

    def __init__(
        self,
        engine: Engine,
        *,
        min_workers: int,
        max_workers: int,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._defaults = {"min": min_workers, "max": max_workers}
        self._shown: OrderedDict[tuple[str, int], ServiceView] = OrderedDict()
        self._lock = threading.Lock()
        self._requests = Counter(
            "autoscaler_gateway_requests",
            "Requests to the gateway, by what became of them.",
            ["outcome"],
            registry=registry,
        )

    def answer(self, method: str, path: str, query: str) -> Response:
        """What to say to one authenticated request without a body."""
        try:
            result = self._route(method, path, query)
        except Refused as error:
            return self.refuse(error.status, str(error), method, path)
        except StaleVersionError as error:
            return self._failed(HTTPStatus.CONFLICT, "stale", error)
        except EngineAwayError as error:
            return self._failed(HTTPStatus.GATEWAY_TIMEOUT, "failed", error)
        except OrchestratorError as error:
            return self._failed(HTTPStatus.BAD_GATEWAY, "failed", error)
        self._requests.labels("passed").inc()
        return result

    def refuse(self, status: HTTPStatus, why: str, method: str, path: str) -> Response:
        """A refusal, logged and counted."""
        self._requests.labels("refused").inc()
        _log.warning("refused", method=method[:16], path=path[:200], why=why)
        return as_json({"error": why}, status)

    def _failed(self, status: HTTPStatus, outcome: str, error: Exception) -> Response:
        self._requests.labels(outcome).inc()
        return as_json({"error": str(error)}, status)

    def _route(self, method: str, path: str, query: str) -> Response:
        if method == "POST" and (match := _CHANGE.fullmatch(path)):
            return self._change(match[1], query)
        if method == "GET" and path == "/v1/services" and not query:
            return self._list()
        if method == "GET" and not query and (match := _SERVICE.fullmatch(path)):
            return self._show(match[1])
        raise Refused(HTTPStatus.FORBIDDEN, "nothing but reading and scaling passes here")

    def _list(self) -> Response:
        return as_json([_listed(entry) for entry in self._engine.listing().opted_in])

    def _show(self, name: str) -> Response:
        look = self._milliseconds()
        seen = self._engine.view(name)
        if not seen.opted_in:
            why = f"{name} has not opted in (label autoscaler.enable=true)"
            raise Refused(HTTPStatus.FORBIDDEN, why)
        self._remember(seen)
        return replace(as_json(to_json(seen)), headers={LOOK_HEADER: str(look)})

    def _change(self, service: str, query: str) -> Response:
        count, version, look = _numbers(query)
        with self._lock:
            shown = self._shown.get((service, version))
        if shown is None:
            # Also what keeps guessed ids and versions from ever reaching the engine.
            raise Refused(HTTPStatus.CONFLICT, "this version was not read here; read it first")
        self._require_fresh(shown, look)
        self._check(shown, count)
        current = self._engine.view(service)
        if current.version != version:
            raise StaleVersionError(f"{current.name} has been changed meanwhile")
        self._check(current, count)
        self._engine.set_replicas(current, count, lambda: self._require_fresh(current, look))
        _log.info("scaled", service=current.name, before=current.replicas, after=count)
        return as_json({"replicas": count})

    def _require_fresh(self, seen: ServiceView, look: int | None) -> None:
        """Whoever decided may have been stopped since, and another may lead by now."""
        if look is not None and not 0 <= self._milliseconds() - look <= FRESH_S * 1000:
            why = f"{seen.name} was looked at more than {FRESH_S:g} s ago"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, why)

    def _milliseconds(self) -> int:
        return round(self._clock() * 1000)

    def _check(self, seen: ServiceView, count: int) -> None:
        why = refusal(seen, count, self._defaults)
        if why is not None:
            raise Refused(HTTPStatus.FORBIDDEN, why)

    def _remember(self, seen: ServiceView) -> None:
        with self._lock:
            self._shown[seen.id, seen.version] = seen
            self._shown.move_to_end((seen.id, seen.version))
            while len(self._shown) > _REMEMBERED:
                self._shown.popitem(last=False)


def _listed(entry: ListedService) -> Any:
    try:
        return to_json(entry.read())
    except OrchestratorError as error:
        labels = dict(entry.labels)
        return {"id": entry.id, "name": entry.name, "labels": labels, "unreadable": str(error)}


def _numbers(query: str) -> tuple[int, int, int | None]:
    """Count, version and, of a scaler that says it, when that was read."""
    pairs = parse_qsl(query, keep_blank_values=True)
    fields = dict(pairs)
    wellformed = all(_NUMBER.fullmatch(value) for value in fields.values())
    complete = {"count", "version"} <= set(fields) <= {"count", "version", "look"}
    if len(pairs) != len(fields) or not complete or not wellformed:
        raise Refused(HTTPStatus.BAD_REQUEST, "count, version and look are wanted, as numbers")
    look = int(fields["look"]) if "look" in fields else None
    return int(fields["count"]), int(fields["version"]), look
