"""The five calls of KEDA's contract."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message_factory import GetMessageClass

from common.errors import InvalidInputError, shorten
from protos import externalscaler_pb2 as pb
from scaler.external.access_log import AccessLog
from scaler.external.answers import Answer, of_queries, of_target
from scaler.external.decisions import Decisions
from scaler.external.errors import (
    CallError,
    LimitError,
    NotAllowedError,
    UnknownMetricError,
    UnknownValueError,
)
from scaler.external.metadata import Trigger
from scaler.external.streams import Streams
from scaler.external.triggers import Triggers
from scaler.external.upstream import Upstream

_CODES = {
    InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    NotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
    UnknownMetricError: grpc.StatusCode.NOT_FOUND,
    LimitError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnknownValueError: grpc.StatusCode.UNAVAILABLE,
}
_KNOWN_ERRORS = (InvalidInputError, CallError)
# A status travels in a header of limited size, each byte of it as up to three.
_LONGEST_STATUS = 400
_DESCRIPTOR = pb.DESCRIPTOR.services_by_name["ExternalScaler"]
NAME: str = _DESCRIPTOR.full_name
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Service:
    """Answers KEDA, each method under the name of its call. Lives in one event loop."""

    def __init__(
        self,
        *,
        triggers: Triggers,
        decisions: Decisions,
        upstream: Upstream,
        streams: Streams,
        access_log: AccessLog,
        decision_max_age_s: float,
        heartbeat_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._triggers = triggers
        self._decisions = decisions
        self._upstream = upstream
        self._streams = streams
        self._access_log = access_log
        self._monotonic = monotonic
        self._decision_max_age_s = decision_max_age_s
        self._heartbeat_s = heartbeat_s

    async def IsActive(self, request: pb.ScaledObjectRef, context: _Context) -> pb.IsActiveResponse:
        """Whether there is work."""
        metric = ""
        try:
            trigger = self._triggers.of(request)
            metric = trigger.name
            answer = await self._read(trigger)
        except _KNOWN_ERRORS as error:
            await self._refuse("IsActive", request, metric, error, context)
        self._access_log.active("IsActive", request, metric, answer)
        return pb.IsActiveResponse(result=answer.active)

    async def GetMetricSpec(
        self, request: pb.ScaledObjectRef, context: _Context
    ) -> pb.GetMetricSpecResponse:
        """The metric and its target size; from the metadata alone."""
        try:
            trigger = self._triggers.of(request)
        except _KNOWN_ERRORS as error:
            await self._refuse("GetMetricSpec", request, "", error, context)
        self._access_log.spec("GetMetricSpec", request, trigger.name, trigger.target_size)
        return _spec(trigger)

    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: _Context
    ) -> pb.GetMetricsResponse:
        """The metric's value."""
        ref, metric = request.scaledObjectRef, ""
        try:
            trigger = self._triggers.of(ref)
            _check_metric(trigger, request.metricName)
            metric = trigger.name
            answer = await self._read(trigger)
        except _KNOWN_ERRORS as error:
            await self._refuse("GetMetrics", ref, metric, error, context)
        self._access_log.value("GetMetrics", ref, metric, answer)
        value = pb.MetricValue(
            metricName=metric,
            metricValue=math.ceil(answer.value),
            metricValueFloat=answer.value,
        )
        return pb.GetMetricsResponse(metricValues=[value])

    async def StreamIsActive(
        self, request: pb.ScaledObjectRef, context: _Context
    ) -> AsyncIterator[pb.IsActiveResponse]:
        """IsActive at once, at every change, and as a slow heartbeat; nothing while unknown."""
        method, metric = "StreamIsActive", ""
        try:
            trigger = self._triggers.of(request)
            metric = trigger.name
            with (
                self._streams.open(method) as stream,
                self._upstream.watch(trigger.value_queries, stream.event),
            ):
                sent: bool | None = None
                due = 0.0
                while not self._streams.over(stream):
                    answer = await self._read_or_none(method, request, trigger)
                    if answer is None:
                        due = stream.time() + self._heartbeat_s
                    elif answer.active != sent or stream.time() >= due:
                        self._access_log.active(method, request, metric, answer)
                        yield pb.IsActiveResponse(result=answer.active)
                        sent, due = answer.active, stream.time() + self._heartbeat_s
                    await stream.wait(due)
        except _KNOWN_ERRORS as error:
            await self._refuse(method, request, metric, error, context)

    async def StreamMetricSpec(
        self, request: pb.ScaledObjectRef, context: _Context
    ) -> AsyncIterator[pb.GetMetricSpecResponse]:
        """GetMetricSpec at once. It changes only with the metadata, and so with the stream."""
        method = "StreamMetricSpec"
        try:
            trigger = self._triggers.of(request)
            with self._streams.open(method) as stream:
                self._access_log.spec(method, request, trigger.name, trigger.target_size)
                yield _spec(trigger)
                while not self._streams.over(stream):
                    await stream.wait(stream.end)
                    self._triggers.of(request)
        except _KNOWN_ERRORS as error:
            await self._refuse(method, request, "", error, context)

    async def _read(self, trigger: Trigger) -> Answer:
        if trigger.target is not None:
            now = self._monotonic()
            return of_target(trigger, self._decisions, now=now, max_age_s=self._decision_max_age_s)
        outcomes = await self._upstream.get_all(trigger.value_queries)
        return of_queries(trigger, outcomes, now=self._monotonic())

    async def _read_or_none(
        self, method: str, ref: pb.ScaledObjectRef, trigger: Trigger
    ) -> Answer | None:
        try:
            return await self._read(trigger)
        except UnknownValueError as error:
            code = _CODES[UnknownValueError]
            self._access_log.refused(method, ref, trigger.name, code, str(error))
            return None

    async def _refuse(
        self,
        method: str,
        ref: pb.ScaledObjectRef,
        metric: str,
        error: Exception,
        context: _Context,
    ) -> NoReturn:
        code = _CODES[type(error)]
        reason = str(error)[:_LONGEST_STATUS]
        self._access_log.refused(method, ref, metric, code, reason)
        await context.abort(code, reason)


def handlers(service: Service) -> grpc.GenericRpcHandler:
    """The calls of the contract, as its descriptor has them, answered by `service`."""
    found: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in _DESCRIPTOR.methods:
        make = grpc.unary_unary_rpc_method_handler
        if method.server_streaming:
            make = grpc.unary_stream_rpc_method_handler
        found[method.name] = make(
            getattr(service, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(NAME, found)


def _check_metric(trigger: Trigger, asked: str) -> None:
    if asked.casefold() != trigger.name.casefold():
        raise UnknownMetricError(
            f"metricName: {shorten(asked)} is not allowed; allowed: {trigger.name}"
        )


def _spec(trigger: Trigger) -> pb.GetMetricSpecResponse:
    spec = pb.MetricSpec(
        metricName=trigger.name,
        # For clients that read whole numbers only: rounded to the side of more replicas.
        targetSize=max(1, math.floor(trigger.target_size)),
        targetSizeFloat=trigger.target_size,
    )
    return pb.GetMetricSpecResponse(metricSpecs=[spec])
