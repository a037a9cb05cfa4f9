"""What operators expect of any gRPC server: health, reflection, metrics, an access log."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from common.errors import ConfigError
from tests.support.keda import TARGET, FakePrometheus, Keda, Serving, refused, serving
from tests.support.log_lines import capture_logs

SERVICE = "externalscaler.ExternalScaler"


def test_health_is_served_whatever_prometheus_does() -> None:
    with serving() as served, grpc.insecure_channel(served.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its stub lacks the methods
        for name in ("", SERVICE):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=30)
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        threading.Thread(target=served.server.stop).start()
        assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()


def test_reflection_lists_the_services() -> None:
    with serving() as served, grpc.insecure_channel(served.address) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert set(services) >= {SERVICE, "grpc.health.v1.Health"}


def test_calls_are_counted_by_their_code(served: Serving, keda: Keda) -> None:
    served.board.decide(2)
    keda.is_active(target=TARGET)
    with refused(grpc.StatusCode.INVALID_ARGUMENT):
        keda.is_active(target="none")
    stream = keda.stream_active(target=TARGET)
    next(stream)
    labels = {"grpc_service": SERVICE, "grpc_method": "IsActive", "grpc_type": "unary"}
    assert served.metric("grpc_server_started_total", **labels) == 2
    assert served.metric("grpc_server_handled_total", grpc_code="OK", **labels) == 1
    assert served.metric("grpc_server_handled_total", grpc_code="InvalidArgument", **labels) == 1
    assert served.metric("grpc_server_handling_seconds_count", **labels) == 2
    assert served.metric("autoscaler_keda_streams", method="StreamIsActive") == 1


def test_each_scaled_object_has_metrics_up_to_the_limit(prometheus: FakePrometheus) -> None:
    with (
        serving(prometheus, grpc_max_objects=2) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        prometheus.set(7, "jobs")
        for name in ("a", "b", "c"):
            keda.value(name, query="jobs", threshold="1", metricName="jobs")
        keda.is_active("a", query="jobs", threshold="1", metricName="jobs")

        def of(name: str, scaled_object: str) -> float | None:
            return served.metric(name, namespace="team", scaled_object=scaled_object, metric="jobs")

        assert of("autoscaler_keda_value", "a") == of("autoscaler_keda_value", "b") == 7
        assert of("autoscaler_keda_active", "a") == 1
        assert of("autoscaler_keda_value", "c") is None
        assert served.metric("autoscaler_keda_objects_untracked") == 1
        with prometheus.serve_nothing("other"), refused(grpc.StatusCode.UNAVAILABLE):
            keda.value("a", query="other", threshold="1", metricName="jobs")
        assert of("autoscaler_keda_known", "a") == 0
        assert of("autoscaler_keda_value", "a") is None, "unknown is absent, not the last number"


@pytest.mark.parametrize(("mode", "lines"), [("changes", 3), ("all", 5), ("off", 0)])
def test_the_access_log_says_who_got_what_and_why(mode: str, lines: int) -> None:
    with (
        capture_logs() as logs,
        serving(grpc_access_log=mode) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        served.board.decide(1, reason="one job is waiting")
        for _ in range(2):
            keda.is_active(target=TARGET)
        served.board.decide(0, reason="nothing to do")
        for _ in range(2):
            keda.is_active(target=TARGET)
        with refused(grpc.StatusCode.UNAVAILABLE):
            served.board.decide(0, age_s=121)
            keda.is_active(target=TARGET)
    calls = [line for line in logs if line["event"] == "call"]
    assert len(calls) == lines
    if calls:
        assert calls[0]["reason"] == "one job is waiting"
        assert calls[0]["log_level"] == "info"
        last = calls[-1]
        why = f"the last decision for {TARGET} is 121 s old, more than the 120 s allowed"
        assert (last["code"], last["reason"]) == ("UNAVAILABLE", why)
        assert (last["namespace"], last["scaled_object"]) == ("team", "so")


def test_a_port_in_use_is_refused_by_name() -> None:
    with (
        serving() as served,
        pytest.raises(ConfigError, match=f"GRPC_PORT.*{served.server.port}"),
        serving(grpc_port=served.server.port),
    ):
        pass


def test_tenants_can_be_held_to_targets_or_to_a_pattern(prometheus: FakePrometheus) -> None:
    denied = grpc.StatusCode.PERMISSION_DENIED
    with (
        serving(prometheus, grpc_targets_only=True) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        served.board.decide(1)
        assert keda.is_active(target=TARGET)
        for metadata in ({"query": "jobs", "threshold": "1"}, {"queue": "jobs"}):
            with refused(denied, "configured targets only", TARGET):
                keda.spec(**metadata)
    with (
        serving(prometheus, grpc_query_pattern=r'jobs\{team="[a-z]+"\}') as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        assert keda.is_active(query='jobs{team="a"}', threshold="1")
        with refused(denied, "GRPC_QUERY_PATTERN"):
            keda.is_active(query='jobs{team="a"} or secrets', threshold="1")
        with refused(denied, "GRPC_QUERY_PATTERN"):
            keda.is_active(query='jobs{team="a"}', inFlightQuery="secrets", threshold="1")
    assert {query for query, _ in prometheus.asked} == {'jobs{team="a"}'}
