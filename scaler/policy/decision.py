"""What was decided and why, and what was done about it: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from scaler.policy.limits import Limit, bound_of, limit_of
from scaler.policy.observation import Observation, Signal
from scaler.policy.schedule import Bounds


class Action(StrEnum):
    """What a decision does to the fleet."""

    UP = "up"
    DOWN = "down"
    HOLD = "hold"
    """Something keeps the number from moving."""
    NONE = "none"


class ProposalKind(StrEnum):
    """Numbers on the way to the result."""

    USUAL = "usual demand"
    """Its mean over the last hour, where it goes back to that."""
    EXPECTED = "expected demand"
    """What is left of the difference to that when a worker is ready."""
    NOW = "wanted now"
    LATELY = "wanted lately"
    """The trailing maximum of that."""
    KEPT = "kept after the maximum was short"
    FORECAST = "forecast floor"
    THRESHOLDS = "plan's rule"
    QUERY = "query / per worker"


class Decision(NamedTuple):
    """How many workers, and everything that led there."""

    at: float
    """Epoch seconds."""
    target_name: str
    replicas: int | None
    """Workers wanted in all: running, with those that are starting. None where no number was ever
    known: nothing is remembered, no fleet is seen, no person has ordered one, no fallback rules.
    Nobody may take a number for that."""
    action: Action
    proposals: tuple[tuple[str, float], ...]
    """Numbers by their `ProposalKind`, in the order in which they came."""
    bounds: Bounds
    """The minimum and maximum that held then."""
    observation: Observation
    limit: Limit | None = None
    """What made the result differ from what was wanted, None when nothing did."""
    window: str = ""
    """The schedule that set the limit, where one did."""
    retire: int = 0
    """How many idle workers may be asked to leave now."""
    note: str = ""
    """What else a reader must know: which signal is unknown, why it is held."""
    urgent: bool = False
    """An emergency: grow although `Fleet.hold` stands."""

    @property
    def inputs(self) -> tuple[tuple[str, Signal], ...]:
        """Every signal by name, with its PromQL, and its value or why there is none."""
        return self.observation.inputs()

    @property
    def bound(self) -> str:
        """The limit as it is recorded, "" for none."""
        return bound_of(self.limit, self.window)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "at": self.at,
            "target": self.target_name,
            "replicas": self.replicas,
            "action": self.action.value,
            "proposals": dict(self.proposals),
            "bound": self.bound,
            "bounds": self.bounds._asdict(),
            "retire": self.retire,
            "note": self.note,
            "urgent": self.urgent,
            **self.observation.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], otherwise: Bounds) -> Decision:
        """What `to_json` wrote; `otherwise`: the bounds of one that was recorded without them.

        Raises KeyError, TypeError or ValueError when it is something else.
        """
        limit, window = limit_of(content["bound"])
        bounds = content.get("bounds")
        limits = Bounds(**{name: bounds[name] for name in Bounds._fields}) if bounds else otherwise
        return cls(
            at=content["at"],
            target_name=content["target"],
            replicas=content["replicas"],
            action=Action(content["action"]),
            proposals=tuple(content["proposals"].items()),
            bounds=limits,
            observation=Observation.from_json(content),
            limit=limit,
            window=window,
            retire=content["retire"],
            note=content["note"],
            urgent=content.get("urgent", False),
        )


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done about a decision."""

    obstacle: str = ""
    """What keeps workers from running, in the orchestrator's words."""
    standby: bool = False
    """Another scaler acts, so nothing was done."""
    taken_back: tuple[str, ...] = ()
    """Workers that were asked to leave and may stay."""
    asked: tuple[str, ...] = ()
    """Workers that were asked to leave."""
    changes: tuple[str, ...] = ()
    """What the orchestrator did, in its words."""
    failure: str = ""
    """Why what was still to be done could not be."""
