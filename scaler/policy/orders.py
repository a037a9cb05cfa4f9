"""What a person may order: to pause, to run so many workers until a time, to resume. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, NonNegativeInt, model_validator


class OrderKind(StrEnum):
    """What is ordered."""

    PAUSE = "pause"
    """Leave the fleet as it is."""
    OVERRIDE = "override"
    """Run so many workers, whatever the demand."""
    RESUME = "resume"
    """Let the policy decide again."""


class Order(BaseModel):
    """A person's order for one target, as it is given, shared, kept and remembered.

    Times are epoch seconds.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: FiniteFloat
    order: OrderKind
    reason: str
    by: str
    until: FiniteFloat | None = None
    """When it ends by itself; None is until resumed."""
    replicas: NonNegativeInt | None = None
    """Of an override: how many workers."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.order is OrderKind.OVERRIDE and (self.replicas is None or self.until is None):
            raise ValueError("an override has a number and an end")
        return self

    def moved(self, by_s: float) -> Order:
        """The same order with its end so much later."""
        if not by_s or self.until is None:
            return self
        return self.model_copy(update={"until": self.until + by_s})

    def holds_at(self, now: float) -> bool:
        """Whether it keeps the policy from deciding by demand at `now`."""
        if self.order is OrderKind.RESUME:
            return False
        return self.until is None or now < self.until
