"""Alert thresholds that an operator sets in one file and that reach the rules as metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.settings import read_yaml

SECTION = "thresholds"


@dataclass(frozen=True, slots=True)
class Threshold:
    """One value that an alert compares with, and the values that it may have."""

    alert: str
    default: float
    least: float
    most: float
    unit: str


THRESHOLDS = (
    Threshold("QueueDepthHigh", 50, 0, 1e9, "jobs waiting"),
    Threshold("WorkerFailureRateHigh", 0.10, 0, 1, "share of attempts that failed"),
    Threshold("ScalerUnresponsive", 60, 1, 86_400, "seconds since the scaler's last cycle"),
    Threshold("ProcessingTimeHigh", 600, 1, 86_400, "seconds that a job takes on average"),
)


def read_thresholds(path: Path | None) -> dict[str, float]:
    """Threshold by alert: the defaults, overridden by the file's `thresholds` section.

    Raises ConfigError naming the entry, its value and what is allowed.
    """
    values = {threshold.alert: threshold.default for threshold in THRESHOLDS}
    if path is None:
        return values
    content = read_yaml(path)
    unknown = sorted(set(content) - {SECTION})
    if unknown:
        raise ConfigError(str(unknown[0]), content[unknown[0]], f"only the section {SECTION!r}")
    section = content.get(SECTION) or {}
    if not isinstance(section, dict):
        raise ConfigError(SECTION, section, "a mapping of alert names to numbers")
    known = {threshold.alert: threshold for threshold in THRESHOLDS}
    for alert, given in section.items():
        if alert not in known:
            raise ConfigError(f"{SECTION}.{alert}", given, f"one of {', '.join(known)}")
        values[alert] = _checked(known[alert], given)
    return values


def _checked(threshold: Threshold, given: Any) -> float:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not threshold.least <= given <= threshold.most:
        allowed = f"a number from {threshold.least:g} to {threshold.most:g}: {threshold.unit}"
        raise ConfigError(f"{SECTION}.{threshold.alert}", given, allowed)
    return float(given)
