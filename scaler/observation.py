"""What the scaler knows at one moment: signals that are known or unknown, and the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Known:
    """A finite number from Prometheus."""

    value: float
    age_s: float
    """Seconds since the sample was taken."""
    query: str
    """The PromQL that a person can ask again."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No usable value, and why: never to be read as 0."""

    reason: str
    query: str


Signal = Known | Unknown


def value_of(signal: Signal) -> float | None:
    """The number, or None when it is not known."""
    return signal.value if isinstance(signal, Known) else None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that the orchestrator runs for one target, as it counts them."""

    replicas: int
    """What it was last asked for: its replica count, dead slots included."""
    running: int
    """Workers that exist, or are being started, and are not told to go."""
    starting: int = 0
    """Those of `running` that do not consume yet."""
    draining: int = 0
    """Told to go, still finishing."""
    dead: int = 0
    """Slots whose worker has left and that still count in `replicas` (Swarm)."""
    hold: str | None = None
    """Why nothing may be changed right now (a roll-out, a drain by SIGTERM), else None."""
    obstacle: str | None = None
    """What keeps workers that were asked for from running (no node, no image, crash loop)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything a decision is made from."""

    waiting: Signal
    """Jobs ready in the queue."""
    in_flight: Signal
    """Jobs in workers' hands."""
    busy: Signal
    """Workers with a job, draining ones included."""
    idle: Signal
    """Workers that consume and have no job."""
    arrival_rate: Signal
    """Jobs a second: the larger of the rates over 5 and over 10 minutes."""
    burstiness: Signal
    """Index of dispersion: variance over mean of arrivals in bins one horizon long."""
    mean_duration: Signal
    """Seconds that a job takes once started."""
    startup: Signal
    """Seconds from asking for a worker to its consuming."""
    fleet: Fleet | None
    """None when the orchestrator did not answer."""
    fleet_error: str = ""
    extra: tuple[tuple[str, Signal], ...] = ()
    """Further named inputs (forecast, raw query) that some policies read."""

    def inputs(self) -> tuple[tuple[str, Signal], ...]:
        """Every signal by name."""
        return (*((name, getattr(self, name)) for name in SIGNALS), *self.extra)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "inputs": {name: _signal_to_json(signal) for name, signal in self.inputs()},
            "fleet": None if self.fleet is None else asdict(self.fleet),
            "fleet_error": self.fleet_error,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Observation:
        """What `to_json` wrote."""
        signals = {name: _signal_from_json(one) for name, one in content["inputs"].items()}
        return cls(
            **{name: signals.pop(name) for name in SIGNALS},
            fleet=None if content["fleet"] is None else Fleet(**content["fleet"]),
            fleet_error=content["fleet_error"],
            extra=tuple(signals.items()),
        )


SIGNALS = (
    "waiting",
    "in_flight",
    "busy",
    "idle",
    "arrival_rate",
    "burstiness",
    "mean_duration",
    "startup",
)
"""Names of the signals that every observation has."""


def _signal_to_json(signal: Signal) -> dict[str, Any]:
    return asdict(signal)


def _signal_from_json(content: Mapping[str, Any]) -> Signal:
    return Unknown(**content) if "reason" in content else Known(**content)
