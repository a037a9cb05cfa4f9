"""The exporter's HTTP pages."""

from __future__ import annotations

import html
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector

from common.http import Handler, Request, Response, Routes, as_json, health, metrics
from common.ledger import LedgerError
from exporter.collector import Exporter, Scrape

# The share of the scrape's time kept for rendering and the response.
_RESERVE_SHARE = 0.2
_RESERVE_MOST_S = 1.0
_LINKS = {
    "/metrics": "the metrics",
    "/sd/workers": "the workers, for Prometheus' HTTP service discovery",
    "/-/healthy": "liveness",
    "/-/ready": "readiness",
}


def budget(headers: dict[str, str], default_s: float) -> float:
    """Seconds that a scrape may take, from Prometheus' header or else `default_s`."""
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        given = float(lowered.get("x-prometheus-scrape-timeout-seconds", default_s))
    except ValueError:
        given = default_s
    allowed = given if 0 < given <= default_s * 60 else default_s
    return allowed - min(allowed * _RESERVE_SHARE, _RESERVE_MOST_S)


def routes(exporter: Exporter, default_timeout_s: float) -> Routes:
    """Every page by path."""
    return {
        "/": _landing,
        "/metrics": _metrics(exporter, default_timeout_s),
        "/sd/workers": _workers(exporter),
        "/-/healthy": health(exporter.problem),
        "/-/ready": health(exporter.problem),
    }


def _landing(_: Request) -> Response:
    items = "".join(
        f'<li><a href="{path}">{path}</a> {html.escape(text)}</li>' for path, text in _LINKS.items()
    )
    page = f"<!doctype html><title>Autoscaler exporter</title><h1>Exporter</h1><ul>{items}</ul>"
    return Response(page, content_type="text/html; charset=utf-8")


def _metrics(exporter: Exporter, default_timeout_s: float) -> Handler:
    process = ProcessCollector(registry=None)

    def handle(request: Request) -> Response:
        registry = CollectorRegistry()
        registry.register(Scrape(exporter, budget(dict(request.headers), default_timeout_s)))
        registry.register(process)
        return metrics(registry)(request)

    return handle


def _workers(exporter: Exporter) -> Handler:
    def handle(_: Request) -> Response:
        try:
            fleet = exporter.view().fleet
        except LedgerError as error:
            # Not an empty list: on an error Prometheus keeps the targets that it knows.
            return Response(f"{error}\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return as_json(
            [
                {
                    "targets": [member.record.address],
                    "labels": {
                        "queue": member.record.queue,
                        "worker": member.record.id,
                        "node": member.record.node,
                    },
                }
                for member in fleet
                if member.healthy and member.record.address
            ]
        )

    return handle
