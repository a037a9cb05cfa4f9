"""docs/metrics.md, from the code. `make generate` writes it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from docs.queries import ROOT, all_queries, series_of
from exporter.catalog import METRICS
from scaler.external.metrics import Objects, ServerMetrics
from scaler.gateway.service import Gateway
from scaler.loop.metrics import ScalerMetrics
from worker.metrics import Metrics as WorkerMetrics

_HEAD = """# Metrics

Made from the code by `make generate`. "Asked by" lists who has a query with the metric in it; the
rest is for people. The exporter's counters, and the means of them, begin anew only when the ledger
does. Selectors of `rabbitmq_queue_*` should say `job="exporter"`: RabbitMQ's own plugin uses the
same names.

"""
_COLUMNS = (
    "| name | type | labels | meaning | asked by | example query |\n"
    "| --- | --- | --- | --- | --- | --- |\n"
)
_STANDARD = ("process_", "python_")


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    example: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series in Prometheus."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)


def sections() -> dict[str, tuple[MetricRow, ...]]:
    """Every metric that there is, by who gives it."""
    return {
        "The exporter": tuple(_exporter()),
        "Recorded series": tuple(_recorded()),
        "The scaler": tuple(_scaler()),
        "The external scaler (KEDA)": tuple(_keda()),
        "The gateway to the Docker socket": tuple(_gateway()),
        "A worker": tuple(_worker()),
        "Every program": tuple(_standard()),
    }


def files() -> dict[Path, str]:
    """The page."""
    askers: dict[str, dict[str, None]] = {}
    for query in all_queries():
        for series in series_of(query.expr):
            askers.setdefault(series, {})[query.by] = None
    text = _HEAD
    for title, rows in sections().items():
        text += f"## {title}\n\n{_COLUMNS}"
        for row in rows:
            by = dict.fromkeys(who for series in row.series for who in askers.get(series, ()))
            text += _line(row, ", ".join(by))
        text += "\n"
    return {ROOT / "docs/metrics.md": text.rstrip("\n") + "\n"}


def _line(row: MetricRow, asked_by: str) -> str:
    labels = ", ".join(f"`{label}`" for label in row.labels) or "none"
    cells = (f"`{row.name}`", row.kind, labels, row.meaning, asked_by, f"`{row.example}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _exporter() -> Iterator[MetricRow]:
    for metric in METRICS:
        yield MetricRow(metric.name, metric.kind, metric.labels, metric.help, metric.example)


def _recorded() -> Iterator[MetricRow]:
    """The meaning of each is the comment right above it."""
    text = (ROOT / "prometheus/rules/recording.yml").read_text()
    for comment, name in re.findall(r"((?: +# .*\n)*) +- record: (\S+)", text):
        meaning = " ".join(line.strip(" #") for line in comment.splitlines()).rstrip(".")
        example = f'{name}{{queue="video-queue"}}'
        yield MetricRow(name, "gauge", ("queue",), meaning, example)


def _scaler() -> Iterator[MetricRow]:
    yield from _of(ScalerMetrics("").registry)


def _keda() -> Iterator[MetricRow]:
    registry = CollectorRegistry()
    ServerMetrics(registry)
    registry.register(Objects(1, lambda: 0.0))
    yield from _of(registry)


def _gateway() -> Iterator[MetricRow]:
    registry = CollectorRegistry()
    no_engine: Any = None
    Gateway(no_engine, min_workers=0, max_workers=0, registry=registry)
    yield from _of(registry)


def _worker() -> Iterator[MetricRow]:
    metrics = WorkerMetrics(
        renderer_pid=os.getpid,
        connected=lambda: True,
        reachable=lambda: True,
        waiting=lambda: 0,
        in_vain=lambda: 0,
    )
    yield from _of(metrics.registry)


def _standard() -> Iterator[MetricRow]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for family in registry.collect():
        yield _row(family.name, family.type, (), family.documentation)


def _of(registry: CollectorRegistry) -> Iterator[MetricRow]:
    # The library has no public word for collectors, nor for labels before there are samples.
    for collector in registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            yield _row(family.name, family.type, collector._labelnames, family.documentation)
            continue
        for family in collector.collect():
            if not family.name.startswith(_STANDARD):
                labels = tuple(getattr(family, "_labelnames", ()))
                yield _row(family.name, family.type, labels, family.documentation)


def _row(name: str, kind: str, labels: tuple[str, ...], meaning: str) -> MetricRow:
    examples = {
        "counter": (f"{name}_total", f"rate({name}_total[5m])"),
        "histogram": (
            name,
            f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket[1h])))",
        ),
        "info": (f"{name}_info", f"{name}_info"),
    }
    shown, example = examples.get(kind, (name, name))
    return MetricRow(shown, kind, labels, meaning.rstrip("."), example)
