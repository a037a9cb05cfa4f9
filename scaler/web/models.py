"""What the API says and takes, typed; times are epoch seconds unless named otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scaler.policy.limits import Level
from scaler.policy.orders import OrderKind

Recommendation = Literal["scale_up", "scale_down", "maintain"]

Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Seconds = Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)]


class Verdict(BaseModel):
    """Whether a target is keeping up, at a glance."""

    level: Level
    text: str
    since: float | None = None
    """Since when, where that is known."""


class OrderInForce(BaseModel):
    """A person's order that is in force."""

    model_config = ConfigDict(from_attributes=True)

    order: Literal[OrderKind.PAUSE, OrderKind.OVERRIDE]
    reason: str
    until: float | None
    replicas: int | None = None


class TargetStatus(BaseModel):
    """One target now. A number that is not known is null, never 0; `reason` says why."""

    name: str
    queue: str
    service: str
    orchestrator: str
    verdict: Verdict
    queue_depth: float | None
    in_flight: float | None
    target_workers: int | None
    active_workers: int | None
    starting_workers: int | None
    draining_workers: int | None
    healthy_workers: int | None
    min_workers: int
    max_workers: int
    scaling_recommendation: Recommendation
    action: str
    bound: str
    reason: str
    timestamp: float | None
    parked_jobs: float | None
    order: OrderInForce | None


class TargetSummary(BaseModel):
    """One target in a list of many."""

    name: str
    level: Level
    text: str
    active_workers: int | None
    target_workers: int | None
    bound: str


class WorkerHealth(BaseModel):
    """One worker as last seen in Prometheus."""

    id: str
    state: str
    since: float
    node: str
    slot: str
    job_id: str | None
    """Its job, null without one; of a large fleet only the jobs longest in hand are named."""
    progress: float | None
    """0..1 of its job, null without one."""
    last_seen: float | None


class Performance(BaseModel):
    """How fast work comes and goes."""

    avg_processing_time: float | None
    arrival_rate: float | None
    worker_startup_time: float | None


class DecisionRecord(BaseModel):
    """A decision as it was recorded."""

    model_config = ConfigDict(extra="allow")

    at: float
    target: str
    replicas: int | None
    """Null where no number was ever known."""
    action: str
    reason: str
    bound: str
    note: str
    proposals: dict[str, float]
    inputs: dict[str, Any]
    applied: str = ""


class Dashboard(BaseModel):
    """Everything at once, by target."""

    current_status: dict[str, TargetStatus | None]
    scaling_history: dict[str, list[DecisionRecord]]
    performance_metrics: dict[str, Performance | None]
    worker_health: dict[str, list[WorkerHealth]]


class Explanation(BaseModel):
    """A decision in a paragraph."""

    target: str
    at: float
    text: str
    decision: DecisionRecord


class ScaleEvent(BaseModel):
    """The decided number changed."""

    at: float
    before: int | None
    """Null where no number was known."""
    after: int | None
    reason: str


class Chart(BaseModel):
    """Series over a range, one value per step, null where there is none."""

    start: float
    step: float
    series: dict[str, list[float | None]]
    events: list[ScaleEvent]


class Alert(BaseModel):
    """A firing alert."""

    name: str
    severity: str
    about: str
    """What it is about: the labels that tell one from another."""


class System(BaseModel):
    """The scaler itself."""

    version: str
    refresh_s: float
    prometheus_error: str | None
    """Why Prometheus can't be asked, null while it answers."""
    prometheus_silent_since: float | None
    config_problem: str | None
    """Why the newest configuration was refused, null while it is in force."""
    problems: list[str]
    """What else fails now, a sentence each."""
    prometheus_url: str
    grafana_url: str | None


class Session(BaseModel):
    """What the credentials that came with the request allow."""

    role: Literal["look", "act"]
    acting: bool
    """Whether an act token is configured at all."""


class Nonce(BaseModel):
    """To be sent once, within a minute, with an action."""

    nonce: str


class Problem(BaseModel):
    """Why not."""

    detail: str


class OrderRequest(BaseModel):
    """What all orders have."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class PauseRequest(OrderRequest):
    """Leave the fleet as it is."""

    for_seconds: Seconds | None = None
    """None is until resumed."""


class OverrideRequest(OrderRequest):
    """Run so many workers for so long, whatever the demand."""

    replicas: Annotated[int, Field(ge=0, le=10_000)]
    for_seconds: Seconds


class ResumeRequest(OrderRequest):
    """Decide by policy again."""
