"""Writes docs/metrics.md from the code: `python docs/metrics_page.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from exporter.catalog import METRICS
from scaler.external.metrics import Objects, ServerMetrics
from scaler.loop.metrics import ScalerMetrics
from worker.metrics import Metrics as WorkerMetrics

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/metrics.md"
_HEAD = """# Metrics

Made from the code by `python docs/metrics_page.py`; a test holds it to that. Who reads what is in
[contracts.md](contracts.md). Counters and means begin anew only when the ledger does.

"""
_COLUMNS = "| name | type | labels | meaning | example query |\n| --- | --- | --- | --- | --- |\n"
_STANDARD = ("process_", "python_")


@dataclass(frozen=True, slots=True)
class Line:
    """One metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    example: str

    def __str__(self) -> str:
        labels = ", ".join(f"`{label}`" for label in self.labels) or "none"
        cells = (f"`{self.name}`", self.kind, labels, self.meaning, f"`{self.example}`")
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page."""
    sections = (
        ("The exporter", _exporter()),
        ("Recorded series", _recorded()),
        ("The scaler", _scaler()),
        ("The external scaler (KEDA)", _keda()),
        ("A worker", _worker()),
        ("Every program", _standard()),
    )
    text = [f"## {title}\n\n{_COLUMNS}{_table(lines)}\n" for title, lines in sections]
    return _HEAD + "\n".join(text)


def _table(lines: Iterable[Line]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _exporter() -> Iterator[Line]:
    for metric in METRICS:
        yield Line(metric.name, metric.kind, metric.labels, metric.help, metric.example)


def _recorded() -> Iterator[Line]:
    """Each rule's meaning is the comment above it, or above the rule before it."""
    text = (ROOT / "prometheus/rules/recording.yml").read_text()
    meaning: list[str] = []
    above = ""
    for line in text.splitlines():
        comment = re.fullmatch(r"      # (.*)", line)
        record = re.fullmatch(r"      - record: (\S+)", line)
        if comment:
            meaning = [*(meaning if above == "#" else []), comment[1]]
            above = "#"
        elif record:
            example = f'{record[1]}{{queue="video-queue"}}'
            yield Line(record[1], "gauge", ("queue",), " ".join(meaning), example)
            above = ""
        elif line.startswith("  - name:"):
            above, meaning = "", [_group_meaning(text, line)]


def _group_meaning(text: str, name_line: str) -> str:
    """The comment right above a group."""
    before = text[: text.index(name_line)].splitlines()
    found: list[str] = []
    while before and before[-1].startswith("  # "):
        found.insert(0, before.pop().removeprefix("  # "))
    return " ".join(found)


def _scaler() -> Iterator[Line]:
    metrics = ScalerMetrics("")
    yield from _of(vars(metrics).values(), metrics.registry)


def _keda() -> Iterator[Line]:
    registry = CollectorRegistry()
    metrics = ServerMetrics(registry)
    registry.register(Objects(1, lambda: 0.0))
    yield from _of(vars(metrics).values(), registry)


def _worker() -> Iterator[Line]:
    metrics = WorkerMetrics(
        renderer_pid=os.getpid, connected=lambda: True, reachable=lambda: True, waiting=lambda: 0
    )
    yield from _of(vars(metrics).values(), metrics.registry)


def _standard() -> Iterator[Line]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for family in registry.collect():
        yield _line(family.name, family.type, (), family.documentation)


def _of(values: Iterable[object], registry: CollectorRegistry) -> Iterator[Line]:
    """The metrics among an object's attributes, then whatever else its registry gives."""
    seen: set[str] = set()
    for value in values:
        if isinstance(value, MetricWrapperBase):
            (family,) = value.describe()
            seen.add(family.name)
            yield _line(family.name, family.type, _labels(value), family.documentation)
    for family in registry.collect():
        if family.name not in seen and not family.name.startswith(_STANDARD):
            yield _line(family.name, family.type, _labels(family), family.documentation)


def _labels(metric: Any) -> tuple[str, ...]:
    # The library has no public word for the names of labels before there are samples.
    named: tuple[str, ...] = tuple(getattr(metric, "_labelnames", ()))
    samples = getattr(metric, "samples", [])
    return named or tuple(samples[0].labels if samples else ())


def _line(name: str, kind: str, labels: tuple[str, ...], meaning: str) -> Line:
    examples = {
        "counter": (f"{name}_total", f"rate({name}_total[5m])"),
        "histogram": (
            name,
            f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket[1h])))",
        ),
        "info": (f"{name}_info", f"{name}_info"),
    }
    shown, example = examples.get(kind, (name, name))
    return Line(shown, kind, labels, meaning.rstrip("."), example)


if __name__ == "__main__":
    PAGE.write_text(page())
