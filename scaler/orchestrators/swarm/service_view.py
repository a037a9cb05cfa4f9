"""What the engine's JSON says about a service: its fleet, what forbids a change, what is in the
way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from scaler.orchestrators.swarm.removal_order import Slot, Task, slots_of
from scaler.policy.observation import Obstacle

Json = Mapping[str, Any]

LOOK_HEADER = "Autoscaler-Look"
"""In which a gateway says `ServiceView.look`."""
LABEL = "autoscaler."
ENABLE = f"{LABEL}enable"
_SHORT = {"min": "min_workers", "max": "max_workers"}
_ROLLING = {
    "updating": "a roll-out is running",
    "rollback_started": "a rollback is running",
    "paused": "a roll-out is paused; continue it or roll it back first",
    "rollback_paused": "a rollback is paused; finish it first",
}
_BEGINS_WITHIN_S = 5.0
_MAX_DIGITS = 4
_CRASH_LOOP = 3
_CRASH_WINDOW_S = 120.0


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A replicated service and its tasks, at one version."""

    id: str
    name: str
    version: int
    replicas: int
    labels: Mapping[str, str]
    """The service's own."""
    tasks: tuple[Task, ...]
    hold: str | None
    """Why its replica count may not be changed now."""
    hold_yields: bool = False
    """Whether it may be raised in an emergency all the same."""
    look: int | None = field(default=None, compare=False)
    """Read through a gateway: when, by that one's clock."""

    @property
    def slots(self) -> list[Slot]:
        """Those that count as replicas."""
        return slots_of(self.tasks)

    @property
    def dead(self) -> int:
        """Replicas that nobody is in."""
        return sum(slot.dead for slot in self.slots)

    @property
    def opted_in(self) -> bool:
        """Whether its labels ask for being scaled."""
        return opts_in(self.labels)


def opts_in(labels: Mapping[str, str]) -> bool:
    """Whether these labels ask for being scaled."""
    return labels.get(ENABLE, "").lower() == "true"


def bounds_of(labels: Mapping[str, str], defaults: Mapping[str, int]) -> tuple[int, int]:
    """Minimum and maximum of a service: labels `autoscaler.min` and `.max` over `defaults`.

    Raises ValueError naming the label, its value and what is allowed.
    """
    low, high = (_bound(labels, name, defaults[name]) for name in ("min", "max"))
    if low > high:
        raise ValueError(f"{LABEL}min: '{low}' is not allowed; allowed: at most {high}, the max")
    return low, high


def fields_of(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels `autoscaler.…` as fields of a target."""
    names = {label: label.removeprefix(LABEL) for label in labels if label.startswith(LABEL)}
    return {
        _SHORT.get(name, name): labels[label] for label, name in names.items() if label != ENABLE
    }


def short_name(name: str, labels: Mapping[str, str]) -> str:
    """A service's name without that of its stack."""
    stack = labels.get("com.docker.stack.namespace", "")
    return name.removeprefix(f"{stack}_")


def _bound(labels: Mapping[str, str], name: str, default: int) -> int:
    text = labels.get(LABEL + name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ValueError(f"{LABEL}{name}: {text[:80]!r} is not allowed; allowed: 0 to 9999")
    return int(text)


def parse_task(raw: Json) -> Task:
    """A task from the engine's JSON."""
    status = raw.get("Status") or {}
    return Task(
        id=str(raw["ID"]),
        slot=_number(raw.get("Slot")),
        node=str(raw.get("NodeID") or ""),
        state=str(status.get("State", "")),
        desired=str(raw.get("DesiredState", "")),
        at=_epoch(str(status.get("Timestamp") or raw.get("CreatedAt") or "")),
        error=str(status.get("Err") or ""),
    )


def _number(value: Any) -> int:
    """The engine leaves out what is 0."""
    return 0 if value is None else int(value)


def _epoch(text: str) -> float:
    """Seconds of an RFC 3339 time with up to nine digits of fraction; 0 when it is none."""
    try:
        seconds = datetime.fromisoformat(text[:19] + "+00:00").timestamp()
        dot, digits = text[19:20], text[20:].removesuffix("Z")
        return seconds + (float(f"0.{digits}") if dot == "." and digits.isdecimal() else 0.0)
    except ValueError:
        return 0.0


def to_json(seen: ServiceView) -> dict[str, Any]:
    """A view as plain data, without `look`."""
    return {name: value for name, value in asdict(seen).items() if name != "look"}


def from_json(content: Json) -> ServiceView:
    """What `to_json` made of a view. Raises TypeError or KeyError for anything else."""
    hold = content["hold"]
    return ServiceView(
        id=_of(str, content["id"]),
        name=_of(str, content["name"]),
        version=_of(int, content["version"]),
        replicas=_of(int, content["replicas"]),
        labels=texts(content["labels"]),
        tasks=tuple(map(_task_from_json, _of(list | tuple, content["tasks"]))),
        hold=None if hold is None else _of(str, hold),
        hold_yields=_of(bool, content["hold_yields"]),
    )


def _task_from_json(content: Json) -> Task:
    return Task(
        id=_of(str, content["id"]),
        slot=_of(int, content["slot"]),
        node=_of(str, content["node"]),
        state=_of(str, content["state"]),
        desired=_of(str, content["desired"]),
        at=float(_of(int | float, content["at"])),
        error=_of(str, content["error"]),
    )


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where there should be {kind}")
    return value


def texts(labels: Any) -> dict[str, str]:
    """Labels as they must be; raises TypeError where they are not."""
    return {_of(str, name): _of(str, text) for name, text in _of(dict, labels).items()}


def view(
    service: Json,
    tasks: Sequence[Json],
    *,
    min_grace_s: float,
    now: float,
    down: Iterable[str] = (),
) -> ServiceView | None:
    """The service as one value; None when it is not of the replicated mode.

    `min_grace_s`: how long a job may take; `now`: epoch seconds; `down`: ids of the nodes that do
    not answer.
    """
    spec = service["Spec"]
    replicated = (spec.get("Mode") or {}).get("Replicated")
    if replicated is None:
        return None
    parsed = tuple(parse_task(task) for task in tasks)
    firm = _rolling(service) or _unfit(spec, min_grace_s) or _about_to_roll(service, tasks, now)
    leaving = _leaving(parsed, set(down))
    return ServiceView(
        id=str(service["ID"]),
        name=str(spec["Name"]),
        version=int(service["Version"]["Index"]),
        replicas=_number(replicated.get("Replicas")),
        labels=texts(spec.get("Labels") or {}),
        tasks=parsed,
        hold=firm or leaving,
        hold_yields=firm is None and leaving is not None,
    )


def _rolling(service: Json) -> str | None:
    state = str((service.get("UpdateStatus") or {}).get("State", ""))
    return f"{_ROLLING[state]} ({state})" if state in _ROLLING else None


def _about_to_roll(service: Json, tasks: Iterable[Json], now: float) -> str | None:
    """A changed template whose roll-out has not begun yet: scaling now would spoil its way back.

    Swarm begins within a moment, so a difference that stays is none to Swarm.
    """
    if abs(now - _epoch(str(service.get("UpdatedAt") or ""))) > _BEGINS_WITHIN_S:
        return None
    template = _plain(service["Spec"].get("TaskTemplate") or {})
    for task in tasks:
        if parse_task(task).live and _plain(task.get("Spec") or {}) != template:
            return "a roll-out is about to begin"
    return None


def _plain(template: Json) -> dict[str, Any]:
    """Without the one field that tasks do not repeat."""
    return {name: value for name, value in template.items() if name != "Runtime"}


def _unfit(spec: Json, min_grace_s: float) -> str | None:
    """Settings under which workers cannot leave by themselves, or not in time."""
    template = spec.get("TaskTemplate") or {}
    condition = (template.get("RestartPolicy") or {}).get("Condition") or "any"
    if condition != "on-failure":
        return (
            f"restart_policy.condition is {condition!r}; it must be 'on-failure', or workers that "
            "leave are started again"
        )
    grace = ((template.get("ContainerSpec") or {}).get("StopGracePeriod") or 10e9) / 1e9
    if grace < min_grace_s:
        return (
            f"stop_grace_period is {grace:g} s; it must be at least {min_grace_s:g} s, the "
            "longest job (GRACEFUL_SHUTDOWN_TIMEOUT)"
        )
    return None


def _leaving(tasks: Iterable[Task], down: set[str]) -> str | None:
    """Any update would make Swarm forget these tasks and send SIGTERM once more."""
    count = sum(task.leaving and task.node not in down for task in tasks)
    return f"{count} tasks finish their jobs after SIGTERM" if count else None


def obstacle(tasks: Sequence[Task], now: float) -> tuple[Obstacle, str] | None:
    """What keeps replicas from running: its kind, and the engine's words."""
    waiting = [t for t in tasks if t.live and t.state == "pending" and t.error]
    if waiting:
        return Obstacle.NO_NODE, f"{len(waiting)} pending: {waiting[0].error}"
    recent = [task for task in tasks if now - task.at < _CRASH_WINDOW_S]
    ended = [task for task in recent if task.state in ("failed", "rejected")]
    if len(ended) < _CRASH_LOOP:
        return None
    last = max(ended, key=lambda task: task.at)
    kind, word = Obstacle.CRASH_LOOP, "failed"
    if last.state == "rejected":
        kind = Obstacle.NO_IMAGE if "image" in last.error.lower() else Obstacle.REJECTED
        word = "rejected"
    return kind, f"{len(ended)} tasks {word} in the last {_CRASH_WINDOW_S:.0f} s: {last.error}"
