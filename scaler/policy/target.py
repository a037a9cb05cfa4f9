"""What to scale: one model per target, with every knob of the policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from statistics import NormalDist
from typing import Annotated, NamedTuple, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from common.settings import PlainName, QueueName, Settings
from scaler.policy.cron import cron_problem, never_opens

MAX_REPLICAS = 10_000

Replicas = Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


class Priority(StrEnum):
    """What matters more when cost and waiting pull apart."""

    CHEAP = "cheap"
    BALANCED = "balanced"
    FAST = "fast"


class Rule(StrEnum):
    """Which policy decides."""

    OURS = "ours"
    PLAN = "plan"
    RAW = "raw"


class Fallback(StrEnum):
    """What to do once the signals have been unknown for longer than `fallback_after`."""

    HOLD = "hold"
    """Go on with the last good target."""
    NUMBER = "number"
    """Take `fallback_replicas`, even where it is lower."""
    HIGHER = "higher"
    """Take the higher of the two."""


class Weights(NamedTuple):
    """What the worth of waiting comes to in the policy."""

    wait: float
    """w: what a job-second of waiting is worth in worker-seconds."""
    headroom: float
    """z: how many standard deviations of the arrivals during a start-up are kept ready."""
    relief: float
    """Share of the jobs about to end that is counted on."""
    covered: float
    """The quantile that those standard deviations come to; below 1."""


_NORMAL = NormalDist()
# Nothing covers what there is with a probability of 1.
_SURE = 0.9999
PRIORITY_WAIT = {Priority.CHEAP: 1.0, Priority.BALANCED: 4.0, Priority.FAST: 10.0}
"""w of each priority."""


def weights(wait: float, headroom: float | None = None) -> Weights:
    """The newsvendor's answer: cover demand up to the quantile w/(1 + w), if normal.

    One worker too many costs 1 for each second, one too few w. `headroom` overrides z.
    """
    covered = wait / (1.0 + wait)
    if headroom is not None:
        return Weights(wait, headroom, 1.0 - covered, min(_NORMAL.cdf(headroom), _SURE))
    z = max(0.0, _NORMAL.inv_cdf(covered)) if covered > 0 else 0.0
    return Weights(wait, z, 1.0 - covered, min(covered, _SURE))


class Gates(NamedTuple):
    """The threshold rule's conditions for a change of the target; None where one is not set."""

    up: float | None
    down: float | None
    cooldown_s: float | None


PLAN_GATES = Gates(2.0, 0.5, 60.0)


class Schedule(Settings):
    """A recurring window with bounds of its own, between two cron expressions."""

    name: Name
    start: str
    """Cron expression (five fields) of the window's begin."""
    end: str
    """Cron expression of its end."""
    timezone: str = "UTC"
    """IANA name; the expressions are wall-clock time there, daylight saving included."""
    min_workers: Replicas | None = None
    max_workers: Replicas | None = None

    @field_validator("start", "end")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        problem = cron_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("end")
    @classmethod
    def _lets_it_open(cls, value: str, info: ValidationInfo) -> str:
        start = info.data.get("start")
        if start is not None and never_opens(start, value):
            raise ValueError(f"another time than start, {start!r}: the window would never open")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("an IANA time zone, e.g. Europe/Berlin") from error
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        low, high = self.min_workers, self.max_workers
        if low is None and high is None:
            raise ValueError("min_workers or max_workers, or both")
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"min_workers at most max_workers, not min_workers {low} with max_workers {high}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Knob:
    """How a field of `Knobs` is reached from elsewhere; part of its `Annotated`."""

    variable: bool = False
    """Whether the environment may set it, under its name in capitals."""
    simulated: str | None = None
    """The format, "" for none, in which `simulate` names its value beside a result.

    `simulate` has an option for such a knob; None where it has not.
    """
    usual: tuple[float, float] | None = None
    """The lowest and the highest value that property tests draw; None where all that is allowed."""


Threshold = Annotated[float | None, Field(ge=0), Knob(variable=True, usual=(0, 3))]


class Knobs(Settings):
    """How to scale. In the file's `scaling:` section these are the defaults of every target."""

    min_workers: Annotated[Replicas, Knob(variable=True, usual=(0, 5))] = 1
    """Fewest workers, however little there is to do."""
    max_workers: Annotated[
        int, Field(ge=1, le=MAX_REPLICAS, validate_default=True), Knob(variable=True, usual=(1, 30))
    ] = 10
    """Most workers, however much there is to do; busy ones stay all the same."""
    priority: Annotated[Priority, Knob(variable=True, simulated="{}")] = Priority.BALANCED
    """Sets `wait_weight` where it is not set itself."""
    policy: Annotated[Rule, Knob(variable=True)] = Rule.OURS
    """What decides: `ours`; `plan`, the threshold rule, which looks at waiting jobs alone; `raw`,
    `query` over `per_worker`."""
    wait_weight: Annotated[float | None, Field(ge=0, le=1000), Knob(simulated="w {:g}")] = None
    """Worker-seconds that one job-second of waiting is worth; None takes the priority's."""
    headroom: Annotated[float | None, Field(ge=0, le=10), Knob(simulated="z {:g}")] = None
    """Standard deviations of arrivals kept ready; None follows from `wait_weight`."""
    scale_up_threshold: Threshold = None
    """Grow only while waiting jobs > workers × this. None: grow at once (policy `plan`: 2)."""
    scale_down_threshold: Threshold = None
    """Shrink only while waiting jobs < workers × this. None: no such rule (policy `plan`: 0.5)."""
    cooldown_period: Annotated[
        float | None, Field(ge=0, le=86_400), Knob(variable=True, usual=(0, 120))
    ] = None
    """Seconds between changes of the target. None: no such rule (policy `plan`: 60)."""
    startup_seconds: Annotated[float, Field(gt=0, le=3600), Knob(usual=(1, 60))] = 10.0
    """Start-up of a worker until one has been measured."""
    max_added_per_minute: Annotated[int | None, Field(ge=1), Knob(usual=(1, 10))] = None
    """How far the target may rise within any minute; None is no limit."""
    max_removed_per_minute: Annotated[int | None, Field(ge=1), Knob(usual=(1, 10))] = None
    """How far the target may fall within any minute; None is no limit."""
    schedules: Annotated[tuple[Schedule, ...], Field(max_length=100), Knob()] = ()
    """Recurring windows that raise the minimum or set the maximum."""
    forecast: Annotated[bool, Knob(simulated="")] = False
    """Raise the floor to the mean of the same hour yesterday and last week, while that beats
    "as in the hour before". Pays where starting a worker takes minutes; docs/policy.md."""
    fallback: Annotated[Fallback, Knob()] = Fallback.HOLD
    """What to do after `fallback_after`: `hold` the last good target, take the `number` in
    `fallback_replicas` even where it is lower, or take the `higher` of the two."""
    fallback_after: Annotated[float, Field(ge=0), Knob(usual=(0, 60))] = 300.0
    """Seconds of unknown signals after which `fallback` rules."""
    fallback_replicas: Annotated[
        int | None, Field(ge=0, le=MAX_REPLICAS, validate_default=True), Knob(usual=(0, 30))
    ] = None
    """The number that `fallback` takes, where it is `number` or `higher`."""
    emergency_after: Annotated[float | None, Field(ge=1), Knob(usual=(1, 120))] = None
    """Seconds that jobs wait with no worker idle until more are started also while others finish
    after SIGTERM; docs/swarm.md. None: never."""
    query: Annotated[str | None, Field(max_length=10_000, validate_default=True), Knob()] = None
    """PromQL of the load, for policy `raw`."""
    per_worker: Annotated[float, Field(gt=0), Knob(usual=(0.5, 10))] = 1.0
    """Load that one worker carries, for policy `raw`."""

    @field_validator("max_workers")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        low = info.data.get("min_workers")
        if low is not None and value < low:
            raise ValueError(f"at least min_workers, which is {low}")
        return value

    @field_validator("schedules")
    @classmethod
    def _inside(cls, value: tuple[Schedule, ...], info: ValidationInfo) -> tuple[Schedule, ...]:
        low, high = info.data.get("min_workers"), info.data.get("max_workers")
        if low is None or high is None:
            return value
        for one in value:
            if one.max_workers is None and (one.min_workers or 0) > high:
                raise ValueError(
                    f"min_workers of {one.name} at most max_workers, which is {high}, "
                    "unless the schedule sets max_workers too"
                )
            if one.min_workers is None and (one.max_workers or 0) < low:
                raise ValueError(
                    f"max_workers of {one.name} at least min_workers, which is {low}, "
                    "unless the schedule sets min_workers too"
                )
        return value

    @field_validator("query")
    @classmethod
    def _raw_has_query(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not value and info.data.get("policy") is Rule.RAW:
            raise ValueError("the PromQL of the load, which policy raw needs")
        return value

    @field_validator("fallback_replicas")
    @classmethod
    def _fallback_has_number(cls, value: int | None, info: ValidationInfo) -> int | None:
        kind = info.data.get("fallback")
        if value is None and kind in (Fallback.NUMBER, Fallback.HIGHER):
            raise ValueError(f"a number of workers, which fallback {kind} needs")
        return value

    @cached_property
    def weights(self) -> Weights:
        """What holds: by the operator's own numbers, or the priority's."""
        wait = PRIORITY_WAIT[self.priority] if self.wait_weight is None else self.wait_weight
        return weights(wait, self.headroom)

    @cached_property
    def gates(self) -> Gates:
        """The conditions that hold: as set, else the defaults of policy `plan` under it."""
        given = Gates(self.scale_up_threshold, self.scale_down_threshold, self.cooldown_period)
        if self.policy is not Rule.PLAN:
            return given
        pairs = zip(given, PLAN_GATES, strict=True)
        return Gates(*(default if own is None else own for own, default in pairs))


KNOBS: Mapping[str, Knob] = {
    name: next((each for each in field.metadata if isinstance(each, Knob)), Knob())
    for name, field in Knobs.model_fields.items()
}
"""Every knob by name."""


class Pool(Settings):
    """One of the services that a target's workers run in, for what they cost there."""

    service: Name
    """What the orchestrator calls it: the Swarm service, or the pool of local processes."""
    price: Annotated[float, Field(ge=0)]
    """Of one worker, in any unit: the cheapest pool is filled first, the dearest shrinks first."""
    max_workers: Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
    """No more workers than these are ever asked of it, those about to leave included."""
    pending_after: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Seconds for which workers may find no place in it until others are asked for elsewhere."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.service


class Target(Knobs):
    """One fleet of interchangeable workers behind one queue."""

    name: Name = "video-creator"
    queue: QueueName = "video-queue"
    vhost: PlainName = "/"
    service: PlainName = "video-creator"
    """What the orchestrator calls it: the Swarm service, the process pool, the Deployment."""
    orchestrator: str = "process"
    """Which backend runs it: the name of a module in `scaler/orchestrators`."""
    pools: Annotated[tuple[Pool, ...], Field(max_length=20)] = ()
    """Services to use instead of `service`, cheapest first, each up to its maximum; docs/swarm.md.
    Their maxima add up to `max_workers` or more."""

    @field_validator("pools")
    @classmethod
    def _pools_suffice(cls, value: tuple[Pool, ...], info: ValidationInfo) -> tuple[Pool, ...]:
        services = [pool.service for pool in value]
        for number, service in enumerate(services):
            if service in services[:number]:
                raise ValueError(f"services that differ; {service} is named twice")
        high, most = info.data.get("max_workers"), sum(pool.max_workers for pool in value)
        if value and high is not None and most < high:
            raise ValueError(
                f"pools whose max_workers add up to that of the target, {high}, or more; "
                f"these add up to {most}"
            )
        return value

    @cached_property
    def cheapest_first(self) -> tuple[Pool, ...]:
        """The pools in the order in which they are filled; equally dear ones as they are named."""
        return tuple(sorted(self.pools, key=lambda pool: pool.price))

    @property
    def services(self) -> tuple[str, ...]:
        """What its workers run in: those of its pools, or its own."""
        return tuple(pool.service for pool in self.cheapest_first) or (self.service,)

    @property
    def identity(self) -> str:
        """Whose fleet it is, as one text: what is remembered of a target is true of another only
        if it is the same."""
        return json.dumps([self.orchestrator, sorted(self.services), self.queue, self.vhost])

    def in_pool(self, pool: Pool) -> Target:
        """What the orchestrator is to know of it: a target whose only service is that of `pool`."""
        return self.model_copy(
            update={
                "name": pool.service,
                "service": pool.service,
                "min_workers": 0,
                "max_workers": pool.max_workers,
            }
        )

    def pool_of(self, worker: str) -> str:
        """The service that a worker's id begins with; the cheapest pool's where it names none."""
        named = [pool.service for pool in self.pools if worker.startswith(pool.service)]
        return max(named, key=len, default=self.cheapest_first[0].service)
