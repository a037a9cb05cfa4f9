"""The metrics of every program, by name, type and labels: what others' dashboards rely on."""

from __future__ import annotations

from pathlib import Path

from docs.metrics_page import sections

KEPT = Path(__file__).with_name("metric_names.txt")


def test_every_metric_keeps_its_name_type_and_labels() -> None:
    found = {
        " ".join((row.name, row.kind, *row.labels))
        for title, rows in sections().items()
        if title != "Every program"
        for row in rows
    }
    kept = set(KEPT.read_text().splitlines())
    assert kept <= found, "a metric that is gone breaks the dashboards of those who use it"
    assert found <= kept, f"add each new one to {KEPT.name}: from now on others rely on it"
