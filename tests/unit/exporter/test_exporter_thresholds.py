"""The file that sets the alerts' thresholds."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.records import WAIT_BUCKETS
from exporter.thresholds import THRESHOLDS, AlertSettings, read_alert_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "alerts.yml"
    path.write_text(text)
    return path


def test_without_a_file_the_plans_values_hold() -> None:
    settings = read_alert_settings(None)
    assert settings.thresholds["QueueDepthHigh"] == 50
    assert settings.thresholds["WorkerFailureRateHigh"] == 0.10
    assert settings.thresholds["ProcessingTimeHigh"] == 600
    assert settings == AlertSettings()


def test_the_file_overrides_what_it_names(tmp_path: Path) -> None:
    text = (
        "thresholds:\n  QueueDepthHigh: 20\nslo:\n  start_within_seconds: 30\n  objective: 0.99\n"
    )
    settings = read_alert_settings(write(tmp_path, text))
    assert settings.thresholds["QueueDepthHigh"] == 20
    assert settings.thresholds["ProcessingTimeHigh"] == 600
    assert (settings.start_within_s, settings.objective) == (30, 0.99)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert read_alert_settings(write(tmp_path, "")) == AlertSettings()


@pytest.mark.parametrize(
    ("text", "field", "allowed"),
    [
        ("thresholds: {QueueDepthHigh: -1}", "thresholds.QueueDepthHigh", "a number from 0"),
        ("thresholds: {QueueDepthHigh: many}", "thresholds.QueueDepthHigh", "a number"),
        ("thresholds: {QueueDepthHigh: true}", "thresholds.QueueDepthHigh", "a number"),
        ("thresholds: {QueueDepthHigh: .nan}", "thresholds.QueueDepthHigh", "a number"),
        ("thresholds: {WorkerFailureRateHigh: 10}", "thresholds.WorkerFailureRateHigh", "to 1"),
        ("thresholds: {Nonsense: 1}", "thresholds.Nonsense", "one of QueueDepthHigh"),
        ("thresholds: [1]", "thresholds", "a mapping"),
        ("slo: {start_within_seconds: 45}", "slo.start_within_seconds", "one of 1, 2, 5"),
        ("slo: {objective: 1}", "slo.objective", "from 0.5 to 0.9999"),
        ("slo: {goal: 1}", "slo.goal", "one of start_within_seconds, objective"),
        ("limits: {}", "limits", "only the sections thresholds and slo"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, field: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_alert_settings(write(tmp_path, text))
    assert caught.value.field == field
    assert allowed in caught.value.allowed


def test_every_threshold_has_a_default_that_it_allows() -> None:
    assert all(each.least <= each.default <= each.most for each in THRESHOLDS)


def test_the_shipped_file_holds_the_defaults() -> None:
    shipped = Path(__file__).parents[3] / "prometheus/thresholds.yml"
    assert read_alert_settings(shipped) == AlertSettings()
    text = shipped.read_text()
    missing = [each.alert for each in THRESHOLDS if each.alert not in text]
    assert not missing, "run `make generate`"
    assert all(str(bound) in text for bound in WAIT_BUCKETS)
