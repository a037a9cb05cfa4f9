"""KEDA's side, Prometheus' side and the decisions' side of the external scaler, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import grpc
import pytest
from prometheus_client import CollectorRegistry

from protos import externalscaler_pb2 as pb
from scaler.external.decisions import DecidedTarget
from scaler.external.grpc_server import ExternalScalerServer
from scaler.external.settings import ExternalScalerSettings
from tests.support import externalscaler_pb2_grpc

TARGET = "video-creator"
TICK_S = 0.2
PATIENCE_S = 5.0
"""How long the server waits for Prometheus where a test sets nothing else: more than any answer
takes on a busy machine."""
AS_SHIPPED: Mapping[str, Any] = {
    name: ExternalScalerSettings.model_fields[name].default
    for name in ("grpc_query_timeout_s", "grpc_deadline_s")
}
"""For tests that ask what happens when it takes longer."""
CALL_TIMEOUT_S = 10.0


class Board:
    """Decisions that a test sets."""

    def __init__(self, *names: str) -> None:
        self._names = names or (TARGET,)
        self._decided: dict[str, DecidedTarget] = {}
        self._callbacks: list[Callable[[], None]] = []

    def names(self) -> Collection[str]:
        return self._names

    def has(self, target_name: str) -> bool:
        return target_name in self._names

    def latest(self, target_name: str) -> DecidedTarget | None:
        return self._decided.get(target_name)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def decide(
        self,
        replicas: int | None,
        *,
        name: str = TARGET,
        active: bool = False,
        age_s: float = 0.0,
        reason: str = "decided by the test",
    ) -> None:
        self._decided[name] = DecidedTarget(replicas, active, time.monotonic() - age_s, reason)
        for callback in list(self._callbacks):
            callback()

    def rename(self, *names: str) -> None:
        """Another configuration: these targets alone."""
        self._names = names
        for callback in list(self._callbacks):
            callback()


@dataclass(frozen=True)
class Said:
    """One answer of Prometheus: after `delay_s`, `body` with `status`."""

    body: bytes
    status: int = 200
    delay_s: float = 0.0


def vector(*values: float | str, **more: Any) -> bytes:
    result = [
        {"metric": {"n": str(i)}, "value": [1.0, str(value)]} for i, value in enumerate(values)
    ]
    return success("vector", result, **more)


def success(kind: str, result: Any, **more: Any) -> bytes:
    data = {"resultType": kind, "result": result}
    return json.dumps({"status": "success", "data": data, **more}).encode()


@dataclass
class FakePrometheus:
    """A small HTTP server that answers each query as the test says, and counts."""

    answers: dict[str, Said] = field(default_factory=dict)
    default: Said = Said(vector(1))
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By query and evaluation time."""
    parallel: int = 0
    most_parallel: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    """Set, it lets every delayed answer go."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, value: float | str, query: str | None = None) -> None:
        said = Said(vector(value))
        if query is None:
            self.default = said
        else:
            self.answers[query] = said

    @contextmanager
    def serve_nothing(self, query: str) -> Iterator[None]:
        """Have no data for `query`, for a while."""
        before = self.answers.get(query)
        self.answers[query] = Said(vector())
        yield
        if before is None:
            del self.answers[query]
        else:
            self.answers[query] = before

    def answer(self, form: Mapping[str, list[str]]) -> Said:
        query = form["query"][0]
        with self.lock:
            self.asked[query, form["time"][0]] += 1
        return self.answers.get(query, self.default)

    @contextmanager
    def serve(self, port: int = 0) -> Iterator[FakePrometheus]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                said = fake.answer(parse_qs(self.rfile.read(length).decode()))
                with fake.lock:
                    fake.parallel += 1
                    fake.most_parallel = max(fake.most_parallel, fake.parallel)
                try:
                    if said.delay_s:
                        fake.released.wait(said.delay_s)
                    self.send_response(said.status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(said.body)))
                    self.end_headers()
                    self.wfile.write(said.body)
                except OSError:
                    self.close_connection = True
                finally:
                    with fake.lock:
                        fake.parallel -= 1

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            server.shutdown()
            server.server_close()
            thread.join()
            self.released.clear()


def settings(**changes: Any) -> ExternalScalerSettings:
    """Loopback, a free port, short ticks, and time for Prometheus to answer."""
    defaults = {
        "grpc_host": "127.0.0.1",
        "grpc_port": 0,
        "grpc_tick_s": TICK_S,
        "grpc_stream_tick_s": 0.1,
        "grpc_query_timeout_s": PATIENCE_S,
        "grpc_deadline_s": PATIENCE_S + 1,
    }
    return ExternalScalerSettings.model_validate({**defaults, **changes})


@dataclass
class Serving:
    """A running server and what it stands on."""

    server: ExternalScalerServer
    board: Board
    prometheus: FakePrometheus
    registry: CollectorRegistry

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@contextmanager
def serving(
    prometheus: FakePrometheus | None = None,
    board: Board | None = None,
    prometheus_url: str = "",
    **changes: Any,
) -> Iterator[Serving]:
    fake = prometheus or FakePrometheus(url=prometheus_url or "http://127.0.0.1:9")
    decisions = board or Board()
    registry = CollectorRegistry()
    server = ExternalScalerServer(
        settings(**changes), decisions, prometheus_url or fake.url, registry
    )
    with server:
        yield Serving(server, decisions, fake, registry)


class Keda:
    """The calls, as KEDA's client makes them for one ScaledObject."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.stub = externalscaler_pb2_grpc.ExternalScalerStub(channel)

    def is_active(self, name: str = "so", **metadata: str) -> bool:
        answer = self.stub.IsActive(ref(name, **metadata), timeout=CALL_TIMEOUT_S)
        return bool(answer.result)

    def spec(self, name: str = "so", **metadata: str) -> pb.MetricSpec:
        answer = self.stub.GetMetricSpec(ref(name, **metadata), timeout=CALL_TIMEOUT_S)
        spec: pb.MetricSpec
        [spec] = answer.metricSpecs
        return spec

    def value(self, name: str = "so", metric: str | None = None, **metadata: str) -> pb.MetricValue:
        asked = metric if metric is not None else self.spec(name, **metadata).metricName
        request = pb.GetMetricsRequest(scaledObjectRef=ref(name, **metadata), metricName=asked)
        value: pb.MetricValue
        [value] = self.stub.GetMetrics(request, timeout=CALL_TIMEOUT_S).metricValues
        return value

    def stream_active(self, name: str = "so", **metadata: str) -> Any:
        return self.stub.StreamIsActive(ref(name, **metadata), timeout=60)

    def stream_spec(self, name: str = "so", **metadata: str) -> Any:
        return self.stub.StreamMetricSpec(ref(name, **metadata), timeout=60)


def ref(name: str = "so", **metadata: str) -> pb.ScaledObjectRef:
    return pb.ScaledObjectRef(name=name, namespace="team", scalerMetadata=metadata)


@contextmanager
def refused(code: grpc.StatusCode, *parts: str) -> Iterator[None]:
    """The block ends in that status, with each of `parts` in its message."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    details = str(caught.value.details())
    assert caught.value.code() is code, f"{caught.value.code()}: {details}"
    for part in parts:
        assert part in details, details
