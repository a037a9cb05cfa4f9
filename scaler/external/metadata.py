"""A trigger's metadata: what a ScaledObject asks for, read and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import promql_parser
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from common.errors import HIDDEN, InvalidInputError, first_problem
from scaler.prometheus.client import quoted

# What KEDA itself reads of a trigger's metadata, to connect; passed on to us all the same.
_OF_KEDA = frozenset(
    {
        "scalerAddress",
        "enableTLS",
        "unsafeSsl",
        "caCert",
        "tlsCertFile",
        "tlsClientCert",
        "tlsClientKey",
    }
)
_FROM_ENV = "FromEnv"
# Kubernetes keeps thousandths and refuses a target that rounds to none.
_SMALLEST_TARGET = 0.0005
_DEFAULT_HOLD_S = 300.0

Number = Annotated[float, Field(allow_inf_nan=False, ge=0)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0)]
Target = Annotated[float, Field(allow_inf_nan=False, ge=_SMALLEST_TARGET, le=1e12)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Query = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_096)]


class OnUnknown(StrEnum):
    """What to answer while there is no value."""

    ERROR = "error"
    HOLD = "hold"
    VALUE = "value"


class Trigger(BaseModel):
    """One trigger: exactly one of `target`, `query`, `queue`, and what goes with it."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    target: Name | None = None
    """A target of the configuration: the metric is the number of replicas decided for it."""

    query: Query | None = None
    """PromQL with one number as its result."""
    threshold: Target | None = None
    """What one replica is meant to carry of `query`."""
    activation_threshold: Number = 0.0
    """Active while the result is above it."""
    in_flight_query: Query | None = None
    """PromQL; active, too, while its result is above 0."""

    queue: Name | None = None
    """A queue: the metric is the number of workers wanted for it."""
    per_worker: Target = 1.0
    """Jobs, waiting or in progress, for each worker."""

    metric_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = (
        ""
    )
    on_unknown: OnUnknown = OnUnknown.ERROR
    hold_seconds: Annotated[float, Field(allow_inf_nan=False, gt=0, le=86_400)] = _DEFAULT_HOLD_S
    """With `hold`: how old the last known value may be."""
    unknown_value: Positive | None = None
    """With `value`: what to answer."""

    @property
    def name(self) -> str:
        """The metric's name: the one given, or one made from what is asked, stable and unique."""
        if self.metric_name:
            return self.metric_name
        if self.target is not None:
            return f"target-{_slug(self.target)}"
        if self.queue is not None:
            return f"queue-{_slug(self.queue)}"
        return f"query-{_digest(self.query or '')}"

    @property
    def target_size(self) -> float:
        """How much of the metric one replica is meant to carry."""
        return self.threshold if self.threshold is not None else 1.0

    @property
    def value_queries(self) -> tuple[str, ...]:
        """The PromQL behind the metric and the activity, in the order that `answers` reads it."""
        if self.queue is not None:
            label = quoted(self.queue)
            return (
                f"queue:jobs_demand:sum{{queue={label}}}",
                f"queue:jobs_in_flight:max{{queue={label}}}",
            )
        return tuple(query for query in (self.query, self.in_flight_query) if query)


_NAMES = {info.alias: name for name, info in Trigger.model_fields.items() if info.alias}
_GOES_WITH = {
    "target": {"metric_name"},
    "query": {
        "threshold",
        "activation_threshold",
        "in_flight_query",
        "metric_name",
        "on_unknown",
        "hold_seconds",
        "unknown_value",
    },
    "queue": {"per_worker", "metric_name", "on_unknown", "hold_seconds", "unknown_value"},
}


def parse(metadata: Mapping[str, str], *, max_bytes: int = 16_384) -> Trigger:
    """The trigger that `metadata` describes.

    A key with the suffix `FromEnv` carries a value that KEDA has taken from the environment of
    the scaled container, and stands for the key without it. Raises InvalidInputError.
    """
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > max_bytes:
        raise InvalidInputError("scalerMetadata", f"{size} bytes", f"at most {max_bytes} bytes")
    fields = _ours(metadata)
    try:
        trigger = Trigger.model_validate(fields)
    except ValidationError as error:
        raise InvalidInputError(*first_problem(error)) from None
    _check_together(trigger)
    for field in ("query", "inFlightQuery"):
        if field in fields:
            check_promql(field, fields[field].strip())
    return trigger


def _ours(metadata: Mapping[str, str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for key, value in metadata.items():
        plain = key.removesuffix(_FROM_ENV)
        if plain in _OF_KEDA:
            continue
        if plain not in _NAMES:
            # KEDA has put in what the environment of the scaled container holds.
            raise InvalidInputError(key, HIDDEN, f"one of {', '.join(sorted(_NAMES))}")
        if plain in fields:
            raise InvalidInputError(plain, value, f"only one of {plain} and {plain}{_FROM_ENV}")
        fields[plain] = value
    return fields


def _check_together(trigger: Trigger) -> None:
    given = trigger.model_fields_set
    modes = [mode for mode in _GOES_WITH if mode in given]
    if len(modes) != 1:
        raise InvalidInputError(
            "scalerMetadata", modes or "(none)", "exactly one of target, query, queue"
        )
    for field in sorted(given - {modes[0]} - _GOES_WITH[modes[0]]):
        allowed = f"with {modes[0]}: {', '.join(sorted(map(to_camel, _GOES_WITH[modes[0]])))}"
        raise InvalidInputError(to_camel(field), getattr(trigger, field), allowed)
    if trigger.query is not None and trigger.threshold is None:
        raise InvalidInputError("threshold", "(missing)", "with query: a number above 0")
    _check_unknown(trigger, given)


def _check_unknown(trigger: Trigger, given: set[str]) -> None:
    if trigger.on_unknown is OnUnknown.VALUE and trigger.unknown_value is None:
        raise InvalidInputError(
            "unknownValue", "(missing)", "with onUnknown value: a number above 0"
        )
    for field, mode in (("unknown_value", OnUnknown.VALUE), ("hold_seconds", OnUnknown.HOLD)):
        if field in given and trigger.on_unknown is not mode:
            allowed = f"nothing unless onUnknown is {mode}"
            raise InvalidInputError(to_camel(field), getattr(trigger, field), allowed)


def check_promql(field: str, query: str) -> None:
    """Raises InvalidInputError unless `query` is PromQL whose result can be one number, and each
    of its selectors is narrow."""
    try:
        expression = promql_parser.parse(query)
    except ValueError as error:
        raise InvalidInputError(field, query, f"PromQL ({' '.join(str(error).split())})") from None
    if isinstance(
        expression,
        promql_parser.MatrixSelector | promql_parser.SubqueryExpr | promql_parser.StringLiteral,
    ):
        raise InvalidInputError(field, query, "PromQL that gives an instant vector or a scalar")
    if not promql_parser.walk(expression, _is_narrow):
        raise InvalidInputError(
            field, query, "PromQL whose selectors each name a metric or the value of a label"
        )


def _is_narrow(node: object) -> bool:
    """False for a selector that would read everything, such as `{__name__=~".+"}`."""
    if not isinstance(node, promql_parser.VectorSelector):
        return True
    if node.name:
        return True
    matchers = [node.matchers.matchers, *node.matchers.or_matchers]
    return all(
        any(one.op == promql_parser.MatchOp.Equal and one.value for one in group)
        for group in matchers
        if group
    )


def _slug(value: str) -> str:
    """`value` fit for a metric's name; with a digest where that lost something."""
    slug = re.sub(r"[^a-z0-9-]+", "-", value.lower())[:40].strip("-")
    return slug if slug == value else f"{slug}-{_digest(value)}".lstrip("-")


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:10]
