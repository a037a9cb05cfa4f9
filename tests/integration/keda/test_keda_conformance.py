"""The contract as KEDA's client uses it, call by call, in the clear, by TLS and by mutual TLS.

The numbers in the tests' names are those of the list "What KEDA's client does, and what follows"
in docs/keda.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest

from protos import externalscaler_pb2 as pb
from scaler.external.upstream import tick_of
from tests.support.keda import (
    AS_SHIPPED,
    TARGET,
    FakePrometheus,
    Keda,
    Said,
    Serving,
    ref,
    refused,
    serving,
    vector,
)
from tests.support.keda_tls import Certificates

QUERY = {"query": "jobs", "threshold": "2.5", "activationThreshold": "1"}
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(params=["clear", "TLS", "mutual TLS"])
def served(
    request: pytest.FixtureRequest,
    prometheus: FakePrometheus,
    certificates: Certificates,
    times: Mapping[str, Any],
) -> Iterator[Serving]:
    secured = {"clear": {}, "TLS": certificates.tls(), "mutual TLS": certificates.mutual_tls()}
    with serving(prometheus, **times, **secured[request.param]) as one:
        yield one


@pytest.fixture
def keda(
    request: pytest.FixtureRequest, served: Serving, certificates: Certificates
) -> Iterator[Keda]:
    kind = request.node.callspec.params["served"]
    channel = {
        "clear": lambda: grpc.insecure_channel(served.address),
        "TLS": lambda: grpc.secure_channel(served.address, certificates.trust()),
        "mutual TLS": lambda: grpc.secure_channel(served.address, certificates.identity()),
    }[kind]()
    with channel:
        yield Keda(channel)


# Each call, its answer and its error.


def test_each_call_answers_from_the_decision(served: Serving, keda: Keda) -> None:
    served.board.decide(4)
    spec = keda.spec(target=TARGET)
    assert (spec.targetSize, spec.targetSizeFloat) == (1, 1.0)
    value = keda.value(target=TARGET)
    assert (value.metricName, value.metricValue, value.metricValueFloat) == (spec.metricName, 4, 4)
    assert keda.is_active(target=TARGET)
    assert next(keda.stream_active(target=TARGET)).result
    assert next(keda.stream_spec(target=TARGET)).metricSpecs == [spec]


def test_each_call_answers_from_a_query(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.set(3.2, "jobs")
    spec = keda.spec(**QUERY)
    assert (spec.targetSize, spec.targetSizeFloat) == (2, 2.5)
    value = keda.value(**QUERY)
    assert (value.metricValue, value.metricValueFloat) == (4, 3.2)
    assert keda.is_active(**QUERY)
    assert next(keda.stream_active(**QUERY)).result
    assert next(keda.stream_spec(**QUERY)).metricSpecs == [spec]


def test_each_call_answers_from_a_queue(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.set(9, 'queue:jobs_demand:sum{queue="video-queue"}')
    prometheus.set(3, 'queue:jobs_in_flight:max{queue="video-queue"}')
    queue = {"queue": "video-queue", "perWorker": "2"}
    spec = keda.spec(**queue)
    assert (spec.metricName, spec.targetSizeFloat) == ("queue-video-queue", 1.0)
    assert keda.value(**queue).metricValueFloat == 4.5
    prometheus.set(3, 'queue:jobs_demand:sum{queue="video-queue"}')
    time.sleep(0.5)
    assert keda.value(**queue).metricValueFloat == 3, "never below what is in progress"
    assert keda.is_active(**queue)


def test_wrong_metadata_ends_every_call_the_same_way(served: Serving, keda: Keda) -> None:
    said = ("threshold", "'0'", "greater than or equal to 0.0005")
    wrong = {"query": "jobs", "threshold": "0"}
    with refused(INVALID, *said):
        keda.is_active(**wrong)
    with refused(INVALID, *said):
        keda.spec(**wrong)
    with refused(INVALID, *said):
        keda.value(metric="any", **wrong)
    with refused(INVALID, *said):
        next(keda.stream_active(**wrong))
    with refused(INVALID, *said):
        next(keda.stream_spec(**wrong))


def test_unknown_ends_values_and_activity_alone(served: Serving, keda: Keda) -> None:
    metric = keda.spec(target=TARGET).metricName
    with refused(grpc.StatusCode.UNAVAILABLE, "nothing is decided"):
        keda.value(metric=metric, target=TARGET)
    with refused(grpc.StatusCode.UNAVAILABLE, "nothing is decided"):
        keda.is_active(target=TARGET)
    assert next(keda.stream_spec(target=TARGET)).metricSpecs


# The numbered list.


@pytest.mark.parametrize("times", [AS_SHIPPED], ids=["as shipped"])
def test_01_a_hung_source_never_holds_a_call_that_has_no_deadline(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.answers["jobs"] = Said(vector(1), delay_s=60)
    begun = time.monotonic()
    with refused(grpc.StatusCode.UNAVAILABLE, "did not answer within 1.5 s"):
        keda.stub.IsActive(ref(**QUERY))
    assert time.monotonic() - begun < 4


def test_02_the_spec_needs_neither_prometheus_nor_a_decision() -> None:
    nowhere = FakePrometheus(url="http://127.0.0.1:9")
    with serving(nowhere) as one, grpc.insecure_channel(one.address) as channel:
        keda = Keda(channel)
        assert keda.spec(**QUERY).targetSizeFloat == 2.5
        assert keda.spec(queue="q").targetSizeFloat == 1
        assert keda.spec(target=TARGET).targetSizeFloat == 1
        with refused(grpc.StatusCode.UNAVAILABLE):
            keda.value(**QUERY)
        with refused(grpc.StatusCode.UNAVAILABLE):
            keda.is_active(queue="q")


@pytest.mark.parametrize("said", ["NaN", "+Inf", "-Inf", None])
def test_03_what_is_no_number_is_never_sent_as_one(
    said: str | None, prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.answers["jobs"] = Said(vector() if said is None else vector(said))
    with refused(grpc.StatusCode.UNAVAILABLE):
        keda.value(**QUERY)
    with refused(grpc.StatusCode.UNAVAILABLE):
        keda.is_active(**QUERY)


def test_03_a_stale_or_missing_decision_is_never_sent_as_one(served: Serving, keda: Keda) -> None:
    with refused(grpc.StatusCode.UNAVAILABLE, "nothing is decided", TARGET):
        keda.is_active(target=TARGET)
    served.board.decide(2, age_s=121)
    with refused(grpc.StatusCode.UNAVAILABLE, "121 s old", "120 s"):
        keda.value(target=TARGET)


def test_03_where_no_number_was_ever_known_none_is_sent(served: Serving, keda: Keda) -> None:
    served.board.decide(None, reason="neither signals nor fleet were ever known")
    for ask in (keda.value, keda.is_active):
        with refused(grpc.StatusCode.UNAVAILABLE, TARGET, "neither signals nor fleet"):
            ask(target=TARGET)
    stream = keda.stream_active(target=TARGET)
    assert served.metric("autoscaler_keda_value", namespace="team", scaled_object="so") is None
    served.board.decide(0)
    assert not next(stream).result, "what came first is a decision that was made"
    served.board.decide(None)
    served.board.decide(2)
    assert next(stream).result


@pytest.mark.parametrize("number", [0, 0.2, 1, 7.5, 1_000_000])
def test_04_both_numbers_are_set_and_zero_is_zero_in_both(
    number: float, prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.set(number, "jobs")
    value = keda.value(**QUERY)
    assert value.metricValueFloat == number
    assert (value.metricValue == 0) == (number == 0)
    assert 0 <= value.metricValue - number < 1


@pytest.mark.parametrize("threshold", ["0", "-1", "0.0004", "nan", "inf", "", "five"])
def test_05_a_target_that_kubernetes_refuses_is_refused(
    threshold: str, served: Serving, keda: Keda
) -> None:
    with refused(INVALID, "threshold", repr(threshold)):
        keda.spec(query="jobs", threshold=threshold)


def test_05_a_small_target_is_above_zero_in_both_numbers(served: Serving, keda: Keda) -> None:
    spec = keda.spec(query="jobs", threshold="0.0005")
    assert (spec.targetSize, spec.targetSizeFloat) == (1, 0.0005)


def test_05_another_metric_is_an_error_and_one_value_comes(served: Serving, keda: Keda) -> None:
    served.board.decide(1)
    with refused(grpc.StatusCode.NOT_FOUND, "'other'", "allowed: target-video-creator"):
        keda.value(metric="other", target=TARGET)
    with refused(grpc.StatusCode.NOT_FOUND, "allowed: target-video-creator"):
        keda.value(metric="", target=TARGET)
    request = pb.GetMetricsRequest(
        scaledObjectRef=ref(target=TARGET), metricName="TARGET-Video-Creator"
    )
    assert len(keda.stub.GetMetrics(request).metricValues) == 1


def test_06_names_are_stable_distinct_and_plain(served: Serving, keda: Keda) -> None:
    asked = [
        {"query": "a/b % 2", "threshold": "1"},
        {"query": "a/b % 3", "threshold": "1"},
        {"queue": "Jobs"},
        {"queue": "jobs"},
        {"queue": "jobs/%"},
        {"target": TARGET},
    ]
    names = [keda.spec(**metadata).metricName for metadata in asked]
    assert len({name.lower() for name in names}) == len(names)
    assert not any(set("/% ") & set(name) for name in names)
    with serving() as another, grpc.insecure_channel(another.address) as channel:
        again = [Keda(channel).spec(**metadata).metricName for metadata in asked]
    assert again == names
    for name in ("a/b", "a%b", "", "x" * 64, "ü"):
        with refused(INVALID, "metricName"):
            keda.spec(query="jobs", threshold="1", metricName=name)


def test_06_there_is_one_spec_for_a_trigger(served: Serving, keda: Keda) -> None:
    answer = keda.stub.GetMetricSpec(ref(query="a", inFlightQuery="b", threshold="1"))
    assert len(answer.metricSpecs) == 1


def test_07_kedas_own_keys_pass_and_from_env_values_count(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.set(4, "from_env")
    metadata = {
        "scalerAddress": "scaler:6000",
        "enableTLS": "true",
        "unsafeSsl": "false",
        "caCert": "…",
        "queryFromEnv": "from_env",
        "threshold": "2",
    }
    assert keda.value(**metadata).metricValueFloat == 4
    with refused(INVALID, "query", "only one of query and queryFromEnv"):
        keda.spec(query="a", **metadata)


def test_08_a_stream_says_at_opening_at_change_and_again(prometheus: FakePrometheus) -> None:
    with (
        serving(prometheus, grpc_heartbeat_s=0.5) as one,
        grpc.insecure_channel(one.address) as channel,
    ):
        keda = Keda(channel)
        one.board.decide(1)
        stream = keda.stream_active(target=TARGET)
        assert next(stream).result
        one.board.decide(0)
        assert not next(stream).result
        assert not next(stream).result, "the heartbeat"
        assert keda.is_active(target=TARGET) is False


def test_08_a_stream_follows_prometheus_and_is_silent_while_unknown(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.set(1, "jobs")
    stream = keda.stream_active(**QUERY)
    assert not next(stream).result
    with prometheus.serve_nothing("jobs"):
        time.sleep(0.5)
        with refused(grpc.StatusCode.UNAVAILABLE, "no data"):
            keda.is_active(**QUERY)
    prometheus.set(2, "jobs")
    assert next(stream).result, "unknown was passed over, not sent as false"
    assert keda.is_active(**QUERY)


def test_08_a_stream_ends_when_its_target_is_gone(served: Serving, keda: Keda) -> None:
    served.board.decide(1)
    active, spec = keda.stream_active(target=TARGET), keda.stream_spec(target=TARGET)
    next(active)
    next(spec)
    served.board.rename("another")
    for stream in (active, spec):
        with refused(INVALID, "target", "allowed: a configured target: another"):
            next(stream)


def test_09_one_connection_serves_all_and_replicas_agree(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    with serving(prometheus) as twin, grpc.insecure_channel(twin.address) as channel:
        other = Keda(channel)
        for number in range(20):
            prometheus.set(number, f"q{number}")
        for number in range(20):
            metadata = {"query": f"q{number}", "threshold": "1"}
            first, second = (
                one.value(f"so{number}", metric=None, **metadata) for one in (keda, other)
            )
            assert first == second
            assert first.metricValueFloat == number
    for query, at in prometheus.asked:
        moment = tick_of(query, float(at) + 0.05, 0.2)
        assert abs(moment - float(at)) < 0.01, "each query has its own moment in the tick"


def test_09_streams_end_cleanly_when_the_server_stops(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    served.board.decide(1)
    streams = [keda.stream_active(target=TARGET), keda.stream_spec(target=TARGET)]
    for stream in streams:
        next(stream)
    served.server.stop()
    for stream in streams:
        assert list(stream) == []
        assert stream.code() is grpc.StatusCode.OK


def test_10_streams_take_no_threads(served: Serving, keda: Keda) -> None:
    served.board.decide(1)
    keda.is_active(target=TARGET)
    before = threading.active_count()
    streams = [keda.stream_spec(f"so{n}", target=TARGET) for n in range(100)]
    for stream in streams:
        next(stream)
    # The client here has one thread for each call it consumes; the server has none.
    ours = [thread.name for thread in threading.enumerate() if thread.name == "grpc"]
    assert len(ours) == 1
    assert threading.active_count() - before <= 100
    assert served.metric("autoscaler_keda_streams", method="StreamMetricSpec") == 100
