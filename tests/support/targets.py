"""Targets for property tests: every knob by its type, its constraints and its usual range."""

from __future__ import annotations

from enum import Enum
from types import NoneType
from typing import Any, get_args

from hypothesis import strategies as st

from scaler.policy.target import KNOBS, Fallback, Knobs, Rule, Target

# What no type tells, and why it is not drawn at large.
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    # `raw` decides by a query's answer, which these observations do not have.
    "policy": st.sampled_from([Rule.OURS, Rule.OURS, Rule.PLAN]),
    "query": st.none(),
    # A window that opens or closes is a change of the bounds: test_policy_schedule.py has them.
    "schedules": st.just(()),
}


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """A target that may be configured."""
    drawn = {name: draw(values_of(name)) for name in KNOBS}
    drawn["max_workers"] = max(drawn["min_workers"], drawn["max_workers"])
    if drawn["fallback"] is not Fallback.HOLD and drawn["fallback_replicas"] is None:
        drawn["fallback_replicas"] = drawn["max_workers"]
    return Target(**drawn)


def values_of(name: str) -> st.SearchStrategy[Any]:
    """What the knob `name` may be. Raises LookupError where nothing says how to draw it."""
    if name in SPECIAL:
        return SPECIAL[name]
    annotation = Knobs.model_fields[name].annotation
    kinds = get_args(annotation) or (annotation,)
    drawn = [st.none() if kind is NoneType else _values(name, kind) for kind in kinds]
    return st.one_of(*drawn)


def _values(name: str, kind: Any) -> st.SearchStrategy[Any]:
    if kind is bool:
        return st.booleans()
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if kind not in (int, float):
        raise LookupError(
            f"{name}: say in SPECIAL of tests/support/targets.py how tests draw a {kind}"
        )
    metadata = Knobs.model_fields[name].metadata
    allowed: dict[str, Any] = {
        limit: getattr(each, limit)
        for each in metadata
        for limit in ("ge", "gt", "le", "lt")
        if hasattr(each, limit)
    }
    low, high = KNOBS[name].usual or (
        allowed.get("ge", allowed.get("gt")),
        allowed.get("le", allowed.get("lt")),
    )
    if kind is int:
        return st.integers(None if low is None else int(low), None if high is None else int(high))
    return st.floats(
        low,
        high,
        exclude_min=low == allowed.get("gt"),
        exclude_max=high == allowed.get("lt"),
        allow_nan=False,
        allow_infinity=False,
    )
