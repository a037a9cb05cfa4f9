"""What a person may order: to pause, to go on, to run so many workers until a time. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, model_validator

from scaler.policy import decide as policy
from scaler.policy.decision import Decision, Memory, Override
from scaler.policy.target import Target

# Bounds that the policy reports where an override has replaced the target's own.
_REPLACED = ("", "min_workers", "max_workers")
BOUND = "override"


class Order(BaseModel):
    """What a person ordered for one target; times are epoch seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: FiniteFloat
    order: Literal["pause", "override", "resume"]
    reason: str
    by: str
    until: FiniteFloat | None = None
    """When it ends by itself; None is until resumed."""
    replicas: NonNegativeInt | None = None
    """Of an override: how many workers."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.order == "override" and (self.replicas is None or self.until is None):
            raise ValueError("an override has a number and an end")
        return self


def obey(memory: Memory, order: Order) -> Memory:
    """`memory` with the order in it."""
    if order.order == "pause":
        return pause(memory, order.reason, order.until)
    if order.replicas is not None and order.until is not None:
        return override(memory, Override(order.replicas, order.reason, order.until))
    return resume(memory)


def pause(memory: Memory, reason: str, until: float | None) -> Memory:
    """`memory` with the fleet left as it is, until a time (epoch seconds) or until resumed."""
    return policy.pause(replace(memory, override=None), reason, until)


def override(memory: Memory, order: Override) -> Memory:
    """`memory` with the number of workers ordered; a pause ends with it."""
    return replace(policy.resume(memory), override=order)


def resume(memory: Memory) -> Memory:
    """`memory` without any order: the policy decides again."""
    return replace(policy.resume(memory), override=None)


def override_in_force(memory: Memory, now: float) -> Override | None:
    """The override that holds at `now` (epoch seconds)."""
    order = memory.override
    return order if order is not None and now < order.until else None


def overridden(target: Target, order: Override) -> Target:
    """`target` with the ordered number as its only bounds."""
    number = order.replicas
    return target.model_copy(update={"min_workers": number, "max_workers": number, "schedules": ()})


def attributed(decision: Decision, order: Override) -> Decision:
    """`decision`, made within an override's bounds, with the override named as what bound it."""
    said = f"override to {order.replicas}: {order.reason}"
    note = f"{decision.note}; {said}" if decision.note else said
    bound = BOUND if decision.bound in _REPLACED else decision.bound
    return replace(decision, bound=bound, note=note)
