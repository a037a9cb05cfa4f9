"""The access log, and with it what each ScaledObject's metrics show."""

from __future__ import annotations

import re
from typing import Any

from grpc import StatusCode

from common.logs import get
from scaler.external.answers import Answer
from scaler.external.metrics import Objects, ObjectState
from scaler.external.settings import AccessLogMode
from scaler.external.triggers import Reference

_NAME = 253
_NUMBER = re.compile(r"\d+(\.\d+)?")
_log = get("external-scaler.access")


class AccessLog:
    """Records what was answered to whom. `mode`: `changes` logs what differs from the last answer
    to the same question of the same ScaledObject, `all` everything, `off` nothing."""

    def __init__(self, objects: Objects, mode: AccessLogMode) -> None:
        self._objects = objects
        self._mode = mode

    def value(self, method: str, ref: Reference, metric: str, answer: Answer) -> None:
        """A value was answered."""
        state = self._objects.state((ref.namespace, ref.name, metric))
        if state is not None:
            state.value, state.age_s, state.known = answer.value, answer.age_s, True
        if self._is_news(state, method, answer.value):
            self._line(method, ref, metric, StatusCode.OK, answer.reason, value=answer.value)

    def active(self, method: str, ref: Reference, metric: str, answer: Answer) -> None:
        """An activity was answered."""
        state = self._objects.state((ref.namespace, ref.name, metric))
        if state is not None:
            state.active, state.known = answer.active, True
        if self._is_news(state, method, answer.active):
            self._line(method, ref, metric, StatusCode.OK, answer.reason, active=answer.active)

    def spec(self, method: str, ref: Reference, metric: str, target_size: float) -> None:
        """A spec was answered; it says nothing new unless its metadata are new."""
        if self._mode == "all":
            self._line(method, ref, metric, StatusCode.OK, f"{target_size:g} for each replica")

    def refused(
        self, method: str, ref: Reference, metric: str, code: StatusCode, reason: str
    ) -> None:
        """A call ended in an error; `metric` is empty where the metadata did not say."""
        state = self._objects.state((ref.namespace[:_NAME], ref.name[:_NAME], metric))
        if state is not None:
            state.known = False
        # Ages and counts in a reason change all the time.
        if self._is_news(state, method, (code, _NUMBER.sub("#", reason))):
            self._line(method, ref, metric, code, reason)

    def _is_news(self, state: ObjectState | None, method: str, saying: object) -> bool:
        if self._mode != "changes" or state is None:
            return self._mode != "off"
        before, state.logged[method] = state.logged.get(method), saying
        return before != saying

    def _line(
        self, method: str, ref: Reference, metric: str, code: StatusCode, reason: str, **more: Any
    ) -> None:
        write = _log.info if code is StatusCode.OK else _log.warning
        write(
            "call",
            method=method,
            namespace=ref.namespace[:_NAME],
            scaled_object=ref.name[:_NAME],
            metric=metric,
            code=code.name,
            reason=reason,
            **more,
        )
