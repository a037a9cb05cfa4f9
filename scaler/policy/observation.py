"""What the scaler knows at one moment: signals that are known or unknown, and the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from math import inf, isfinite
from operator import attrgetter
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


NOT_ASKED = Unknown("it was not asked", "")


def value_of(signal: Signal) -> float | None:
    """The number, or None when it is not known."""
    return signal.value if isinstance(signal, Known) else None


class Obstacle(StrEnum):
    """Kinds of what keeps workers that were asked for from running."""

    NO_NODE = "no_node"
    """No node may or can take them: a constraint, or too few resources."""
    NO_IMAGE = "no_image"
    """A node cannot get their image."""
    REJECTED = "rejected"
    """A node refuses them for another reason: a mount, a network, a secret."""
    CRASH_LOOP = "crash_loop"
    """They start and end at once."""


class WorkerCondition(StrEnum):
    """The states in which the exporter reports a worker: those that it gives itself, and one that
    is judged from outside."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker as Prometheus knows it."""

    id: str
    state: WorkerCondition
    since: float
    """Epoch seconds at which that state began."""
    node: str = ""
    task: str = ""
    """What joins a worker and its orchestrator: the orchestrator's own name of what the worker
    runs in (Swarm's task id, the process id, the pod's name), which the worker is given at its
    start and reports; "" where it was given none."""
    slot: str = ""
    stuck: bool = False
    """Unhealthy for a while and without a job that makes progress: no capacity any more."""


@dataclass(frozen=True, slots=True)
class PoolFleet:
    """The workers of one of a target's pools."""

    name: str
    """Its service."""
    running: int
    """Workers in it that are counted on."""
    pending: int = 0
    """Workers asked of it that have no place to run yet."""
    draining: int = 0
    """Told to go, still finishing."""
    closed: str = ""
    """Why it takes no further worker now: it is full, has no place, is held; "" when it does."""

    def __str__(self) -> str:
        facts = [f"{self.pending} without a place"] if self.pending else []
        facts += [f"{self.draining} leaving"] if self.draining else []
        facts += [self.closed] if self.closed else []
        return f"{self.running} in {self.name}" + (f" ({', '.join(facts)})" if facts else "")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that the orchestrator runs for one target, as it counts them."""

    replicas: int
    """What it was last asked for: its replica count, dead slots included."""
    running: int
    """Workers that exist, or are being started, and are not leaving."""
    starting: int = 0
    """Those of `running` that do not consume yet."""
    draining: int = 0
    """Told to go, still finishing."""
    dead: int = 0
    """Slots whose worker has left and that still count in `replicas` (Swarm)."""
    unhealthy: int = 0
    """Those of `running` that are no capacity: unhealthy, without a job that makes progress."""
    hold: str | None = None
    """Why nothing may be changed right now (a roll-out, a drain by SIGTERM), else None."""
    hold_yields: bool = False
    """Whether more workers may be asked for in an emergency all the same."""
    obstacle: str | None = None
    """What keeps workers that were asked for from running, in the orchestrator's words."""
    obstacle_kind: Obstacle | None = None
    """Which kind that is; None where there is no obstacle."""
    pending: int = 0
    """Those of `running` that have no place to run yet: no node, or an image still to come."""
    most: int | None = None
    """What the orchestrator itself limits it to; None where it has no limit of its own."""
    pools: tuple[PoolFleet, ...] = ()
    """Its parts, cheapest first, where the target has pools."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything a decision is made from."""

    waiting: Signal
    """Jobs ready in the queue."""
    in_flight: Signal
    """Jobs in workers' hands."""
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
    recent_rate: Signal = NOT_ASKED
    """Jobs a second, over one minute: sees at once what grows, and takes every burst for it."""
    extra: tuple[tuple[str, Signal], ...] = ()
    """Further named inputs (forecast, raw query) that some policies read."""

    @property
    def busy(self) -> Signal:
        """Workers with a job, draining ones included: each has one."""
        return self.in_flight

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
        found = {name: _signal_from_json(one) for name, one in content["inputs"].items()}
        # Versions up to 0.1.0 did not ask for it.
        signals = {"recent_rate": NOT_ASKED, **found}
        return cls(
            **{name: signals[name] for name in _MEASURED},
            fleet=None if content["fleet"] is None else _fleet_from_json(content["fleet"]),
            fleet_error=content["fleet_error"],
            extra=tuple((name, one) for name, one in signals.items() if name not in SIGNALS),
        )


SIGNALS = (
    "waiting",
    "in_flight",
    "busy",
    "idle",
    "arrival_rate",
    "recent_rate",
    "burstiness",
    "mean_duration",
    "startup",
)
"""Names of the signals that every observation has."""
_MEASURED = tuple(name for name in SIGNALS if name != "busy")
_measured = attrgetter(*_MEASURED)


def believed(observation: Observation) -> Observation:
    """`observation` with what cannot be as unknown: a number below 0, of jobs, workers, seconds or
    jobs a second, or one that is not finite. What an operator's own query gives may be below 0."""
    for signal in _measured(observation):
        if isinstance(signal, Known) and not 0.0 <= signal.value < inf:
            break
    else:
        if not observation.extra:
            return observation
    changed: dict[str, Any] = {
        name: _at_least(0.0, getattr(observation, name)) for name in _MEASURED
    }
    extra = tuple((name, _at_least(-inf, one)) for name, one in observation.extra)
    return replace(observation, **changed, extra=extra)


def _at_least(least: float, signal: Signal) -> Signal:
    if isinstance(signal, Unknown) or (least <= signal.value and isfinite(signal.value)):
        return signal
    return Unknown(f"{signal.value:g} is not possible", signal.query)


def known_fields(of: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `content` that the dataclass has fields for: another version may have more."""
    return {each.name: content[each.name] for each in fields(of) if each.name in content}


def _fleet_from_json(content: Mapping[str, Any]) -> Fleet:
    pools = tuple(PoolFleet(**known_fields(PoolFleet, pool)) for pool in content.get("pools", ()))
    return Fleet(**{**known_fields(Fleet, content), "pools": pools})


def _signal_to_json(signal: Signal) -> dict[str, Any]:
    return asdict(signal)


def _signal_from_json(content: Mapping[str, Any]) -> Signal:
    kind = Unknown if "reason" in content else Known
    return kind(**known_fields(kind, content))
