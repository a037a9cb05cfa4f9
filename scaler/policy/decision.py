"""What was decided and why, and what has to be remembered for the next time: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from scaler.policy.forecast import Forecast, Hours
from scaler.policy.observation import Known, Observation, Signal
from scaler.policy.trailing_maxima import Window

UP, DOWN, HOLD, NONE = "up", "down", "hold", "none"


@dataclass(frozen=True, slots=True)
class Pause:
    """A person's order to leave the fleet as it is."""

    reason: str
    until: float | None = None
    """Epoch seconds at which it ends by itself; None is until resumed."""


@dataclass(frozen=True, slots=True)
class Override:
    """A person's order to run so many workers, whatever the demand."""

    replicas: int
    reason: str
    until: float
    """Epoch seconds at which it ends by itself."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What one target's next decision needs of the past."""

    at: float | None = None
    """Epoch seconds of the latest decision."""
    target: int | None = None
    """Its number, without those run in place of unhealthy ones."""
    replaced: int = 0
    """How many of those it had."""
    changed_at: float | None = None
    """When that number last changed."""
    known_at: float | None = None
    """When everything that a decision needs was last known."""
    busy: int = 0
    """Busy workers when last known."""
    wanted: Window = ()
    """Trailing maximum of the number wanted by demand."""
    short_since: float | None = None
    """Since when jobs wait while no worker is idle or starting; None while that is not so."""
    capped_at: float | None = None
    """When demand last exceeded the maximum."""
    capped_again: bool = False
    """Whether that was not long after it had done so before."""
    capped_until: float | None = None
    """Until when the maximum is kept that demand exceeds again and again."""
    capped_high: int = 0
    """That maximum."""
    highs: Window = ()
    lows: Window = ()
    """Trailing maxima of the target and of its negative over a minute, for the rate limits."""
    hours: Hours = field(default_factory=Hours)
    outlook: Forecast | None = None
    """The forecast for the present hour."""
    pause: Pause | None = None
    override: Override | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Memory:
        """What `to_json` wrote; a field that is missing has its default.

        Raises KeyError, TypeError or ValueError when it is something else.
        """
        fields = dict(content)
        for name in ("wanted", "highs", "lows"):
            fields[name] = tuple((float(at), float(v)) for at, v in fields.get(name, ()))
        if fields.get("hours") is not None:
            hours = dict(fields["hours"])
            fields["hours"] = Hours(**{**hours, "means": tuple(hours["means"])})
        if fields.get("outlook") is not None:
            fields["outlook"] = Forecast(**fields["outlook"])
        if fields.get("pause") is not None:
            fields["pause"] = Pause(**fields["pause"])
        if fields.get("override") is not None:
            fields["override"] = Override(**fields["override"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers, and everything that led there."""

    at: float
    """Epoch seconds."""
    target_name: str
    replicas: int
    """Workers wanted in all: running, with those that are starting."""
    action: str
    """up, down, hold (something keeps the number from moving) or none."""
    proposals: tuple[tuple[str, float], ...]
    """Numbers on the way to the result, in the order in which they came."""
    bound: str
    """What limit made the result differ from what was wanted, "" when none did."""
    retire: int
    """How many idle workers may be asked to leave now."""
    observation: Observation
    note: str = ""
    """What else a reader must know: which signal is unknown, why it is held."""
    urgent: bool = False
    """An emergency: grow although `Fleet.hold` stands."""

    @property
    def inputs(self) -> tuple[tuple[str, Signal], ...]:
        """Every signal by name, with its PromQL, and its value or why there is none."""
        return self.observation.inputs()

    @property
    def reason(self) -> str:
        """One sentence for a person, with the numbers."""
        steps = _steps(self.proposals)
        limit = f"; limited by {self.bound}" if self.bound else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self._verb()}: {self._seen()}{steps}{limit}{note}"

    def _verb(self) -> str:
        fleet = self.observation.fleet
        before = "?" if fleet is None else fleet.running
        if self.action in (UP, DOWN):
            leaving = f", {self.retire} idle to leave now" if self.action == DOWN else ""
            return f"{self.action} from {before} to {self.replicas}{leaving}"
        return f"{'hold' if self.action == HOLD else 'stay'} at {self.replicas}"

    def _seen(self) -> str:
        seen = self.observation
        parts = [
            f"{_number(seen.waiting)} waiting and {_number(seen.in_flight)} in progress",
        ]
        if seen.fleet is not None and seen.fleet.starting:
            parts.append(f"{seen.fleet.starting} of {seen.fleet.running} workers still starting")
        if seen.fleet is not None:
            if seen.fleet.draining and not seen.fleet.pools:
                parts.append(f"{seen.fleet.draining} more leaving")
            parts += map(str, seen.fleet.pools)
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """As plain data, with the sentence."""
        return {
            "at": self.at,
            "target": self.target_name,
            "replicas": self.replicas,
            "action": self.action,
            "reason": self.reason,
            "proposals": dict(self.proposals),
            "bound": self.bound,
            "retire": self.retire,
            "note": self.note,
            "urgent": self.urgent,
            **self.observation.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Decision:
        """What `to_json` wrote. Raises KeyError or TypeError when it is something else."""
        return cls(
            at=content["at"],
            target_name=content["target"],
            replicas=content["replicas"],
            action=content["action"],
            proposals=tuple(content["proposals"].items()),
            bound=content["bound"],
            retire=content["retire"],
            observation=Observation.from_json(content),
            note=content["note"],
            urgent=content.get("urgent", False),
        )


def _number(signal: Signal) -> str:
    return f"{signal.value:g}" if isinstance(signal, Known) else "unknown"


def _steps(proposals: tuple[tuple[str, float], ...]) -> str:
    words = [f"{name} {value:.3g}" for name, value in proposals]
    return f"; {', '.join(words)}" if words else ""
