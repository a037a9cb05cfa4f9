"""The alert settings that an operator gives in one file; the rules read them as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import HIDDEN, ConfigError
from common.records import WAIT_BUCKETS
from common.settings import read_yaml, section_of
from common.validation import is_known, learn


@dataclass(frozen=True, slots=True)
class Threshold:
    """One value that an alert compares with, and the values that it may have.

    prometheus/thresholds.yml is made from these; runbooks and rule tests are held to them.
    """

    alert: str
    default: float
    least: float
    most: float
    unit: str


THRESHOLDS = (
    Threshold("QueueDepthHigh", 50, 0, 1e9, "jobs waiting, for five minutes"),
    Threshold("WorkerFailureRateHigh", 0.10, 0, 1, "share of the attempts within 15 minutes"),
    Threshold("ScalerUnresponsive", 60, 1, 86_400, "seconds since the scaler's last cycle"),
    Threshold("ProcessingTimeHigh", 600, 1, 86_400, "seconds, mean of the last hour"),
    Threshold("JobsAgeAtMaximum", 300, 1, 86_400, "seconds that the oldest job has waited"),
    Threshold("TargetNotReached", 0, 0, 10_000, "workers by which running and target may differ"),
    Threshold("ScalingFlapping", 6, 1, 1_000, "turns from up to down or back in half an hour"),
    Threshold("JobsParked", 0, 0, 1e9, "parked jobs"),
)
DEFAULTS: Mapping[str, float] = {each.alert: each.default for each in THRESHOLDS}
learn(alert.lower() for alert in DEFAULTS)


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """Thresholds by alert, and the service-level objective."""

    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULTS))
    start_within_s: float = 60.0
    objective: float = 0.95


def read_alert_settings(path: Path | None) -> AlertSettings:
    """The defaults, overridden by the sections `thresholds` and `slo` of the file.

    Raises ConfigError naming the entry, its value and what is allowed.
    """
    if path is None:
        return AlertSettings()
    content = read_yaml(path)
    for name in content:
        if name not in ("thresholds", "slo"):
            named = name if is_known(name) else repr(HIDDEN)
            raise ConfigError(named, HIDDEN, "only the sections thresholds and slo")
    thresholds = dict(DEFAULTS)
    known = {threshold.alert: threshold for threshold in THRESHOLDS}
    for alert, given in _section(content, "thresholds", known).items():
        threshold = known[alert]
        name = f"thresholds.{alert}"
        thresholds[alert] = _number(name, given, threshold.least, threshold.most, threshold.unit)
    slo = _section(content, "slo", ("start_within_seconds", "objective"))
    return AlertSettings(thresholds, _start_within(slo), _objective(slo))


def _start_within(slo: Mapping[str, Any]) -> float:
    given = slo.get("start_within_seconds", AlertSettings().start_within_s)
    if given not in WAIT_BUCKETS or isinstance(given, bool):
        allowed = ", ".join(map(str, WAIT_BUCKETS))
        raise ConfigError("slo.start_within_seconds", given, f"one of {allowed}")
    return float(given)


def _objective(slo: Mapping[str, Any]) -> float:
    given = slo.get("objective", AlertSettings().objective)
    return _number("slo.objective", given, 0.5, 0.9999, "share of jobs that start in time")


def _section(content: Mapping[str, Any], name: str, allowed: Any) -> dict[str, Any]:
    section = section_of(content, name)
    for entry in section:
        if entry not in allowed:
            named = entry if is_known(entry) else repr(HIDDEN)
            raise ConfigError(f"{name}.{named}", HIDDEN, f"one of {', '.join(allowed)}")
    return section


def _number(name: str, given: Any, least: float, most: float, unit: str) -> float:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not least <= given <= most:
        raise ConfigError(name, given, f"a number from {least:g} to {most:g}: {unit}")
    return float(given)
