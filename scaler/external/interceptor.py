"""Wraps every RPC of the server: its metrics, its deadline, and what no handler caught."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from common.logs import get
from scaler.external.metrics import ServerMetrics

_log = get("external-scaler")
_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class _Counts:
    """One method's metrics, looked up once."""

    def __init__(self, metrics: ServerMetrics, path: str, kind: str) -> None:
        _, service, method = path.split("/", 2)
        labels = (kind, service, method)
        self._handled = metrics.handled
        self._labels = labels
        self._codes: dict[str, Any] = {}
        self.started = metrics.started.labels(*labels)
        self.received = metrics.received.labels(*labels)
        self.sent = metrics.sent.labels(*labels)
        self.seconds = metrics.seconds.labels(*labels)

    def ended(self, code: grpc.StatusCode, seconds: float) -> None:
        name = _PASCAL[code]
        counter = self._codes.get(name)
        if counter is None:
            counter = self._codes[name] = self._handled.labels(*self._labels, name)
        counter.inc()
        self.seconds.observe(seconds)


# As other servers spell the codes in this family of metrics.
_PASCAL = {
    code: "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")
    for code in grpc.StatusCode
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Counts and bounds every call of every service that the server has."""

    def __init__(self, metrics: ServerMetrics, deadline_s: float) -> None:
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The method's handler, wrapped; wrapped handlers are kept, one for each method."""
        path = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._wrapped[path] = self._wrap(path, handler)
        return wrapped

    def _wrap(self, path: str, handler: Any) -> Any:
        if handler.unary_unary:
            counts = _Counts(self._metrics, path, "unary")
            return grpc.unary_unary_rpc_method_handler(
                _unary(counts, handler.unary_unary, self._deadline_s),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream:
            counts = _Counts(self._metrics, path, "server_stream")
            # A handler yields its messages, or writes them itself.
            wrap = _stream if inspect.isasyncgenfunction(handler.unary_stream) else _writer
            return grpc.unary_stream_rpc_method_handler(
                wrap(counts, handler.unary_stream),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return handler


def _unary(counts: _Counts, call: Any, deadline_s: float) -> Any:
    async def unary(request: Any, context: Any) -> Any:
        with _Counted(counts, context):
            try:
                async with asyncio.timeout(deadline_s):
                    answer = await call(request, context)
            except TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                await context.abort(code, f"no answer within {deadline_s:g} s")
            counts.sent.inc()
            return answer

    return unary


def _stream(counts: _Counts, call: Any) -> Any:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        with _Counted(counts, context):
            async for message in call(request, context):
                yield message
                counts.sent.inc()

    return stream


def _writer(counts: _Counts, call: Any) -> Any:
    async def writer(request: Any, context: Any) -> None:
        with _Counted(counts, context):
            await call(request, context)

    return writer


class _Counted:
    """One call, from its beginning to its end."""

    __slots__ = ("_begun", "_context", "_counts")

    def __init__(self, counts: _Counts, context: Any) -> None:
        self._counts = counts
        self._context = context
        self._begun = time.perf_counter()

    def __enter__(self) -> None:
        self._counts.started.inc()
        self._counts.received.inc()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        code = grpc.StatusCode.OK if error is None else _code_of(self._context, error)
        self._counts.ended(code, time.perf_counter() - self._begun)


def _code_of(context: Any, error: BaseException) -> grpc.StatusCode:
    """The code that the client gets, or would have got had it not gone away."""
    if isinstance(error, grpc.aio.AbortError):
        number = context.code()
        return number if isinstance(number, grpc.StatusCode) else _BY_NUMBER[number]
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED
    _log.error("call failed", error=repr(error), exc_info=error)
    return grpc.StatusCode.UNKNOWN
