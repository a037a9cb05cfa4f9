"""What is answered when Prometheus does not simply say a number."""

from __future__ import annotations

import time

import grpc
import pytest

from tests.support.keda import (
    AS_SHIPPED,
    TICK_S,
    FakePrometheus,
    Keda,
    Said,
    Serving,
    ref,
    refused,
    serving,
    success,
    vector,
)

QUERY = {"query": "jobs", "threshold": "2"}
OTHER = {"query": "other_jobs", "threshold": "2"}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

CASES = {
    "slow": (Said(vector(4), delay_s=30), "did not answer within 1.5 s"),
    "NaN": (Said(vector("NaN")), "NaN is no number"),
    "infinite": (Said(vector("+Inf")), "+Inf is no number"),
    "negative": (Said(vector(-1)), "-1 is negative; use clamp_min"),
    "too large": (Said(vector("1e30")), "larger than Kubernetes can hold"),
    "empty": (Said(vector()), "no data"),
    "two series": (Said(vector(1, 2)), "more than one series; aggregate to one"),
    "many series, cut to two": (
        Said(vector(1, 2, warnings=["results truncated due to limit"])),
        "more than one series; aggregate to one",
    ),
    "string": (Said(success("string", [1.0, "many"])), "a string where a number is needed"),
    "matrix": (Said(success("matrix", [])), "a matrix where a number is needed"),
    "histogram": (
        Said(success("vector", [{"metric": {}, "histogram": [1.0, {}]}])),
        "a histogram where a number is needed",
    ),
    "10 MB": (Said(b" " * 10_000_000), "more than the 65536 bytes allowed"),
    "partial": (
        Said(vector(7, warnings=["store-2: connection refused"])),
        "may lack a part: 'store-2: connection refused'",
    ),
    "no such function": (
        Said(b'{"status":"error","errorType":"bad_data","error":"unknown function"}', status=400),
        "refused the query: 'unknown function'",
    ),
    "a proxy's page": (Said(b"<html>502</html>", status=502), "HTTP 502 with what is no answer"),
    "another API": (Said(b'{"status":"success"}'), "HTTP 200 with what is no answer"),
    "nested": (Said(b"[" * 60_000), "no answer of the query API"),
    "no number": (Said(vector("soon")), "no answer of the query API"),
    "redirect": (Said(b"", status=302), "answers with a redirect to"),
}
TIMED = [(case, AS_SHIPPED if case == "slow" else {}) for case in CASES]


@pytest.mark.parametrize(("case", "times"), TIMED, ids=CASES)
def test_unknown_is_an_error_with_its_reason_and_hurts_nobody_else(
    case: str, prometheus: FakePrometheus, keda: Keda
) -> None:
    said, reason = CASES[case]
    prometheus.set(6, "other_jobs")
    prometheus.answers["jobs"] = said
    begun = time.monotonic()
    with refused(UNAVAILABLE, reason, "query 'jobs'"):
        keda.value(**QUERY)
    with refused(UNAVAILABLE, reason):
        keda.is_active(**QUERY)
    assert time.monotonic() - begun < 5, "two calls, each within its deadline of 2 s"
    assert keda.spec(**QUERY).targetSizeFloat == 2
    assert keda.value(**OTHER).metricValueFloat == 6
    assert keda.is_active(**OTHER)


@pytest.mark.parametrize(("case", "times"), TIMED, ids=CASES)
def test_a_call_recovers_within_two_ticks(
    case: str, prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    prometheus.answers["jobs"] = CASES[case][0]
    with refused(UNAVAILABLE):
        keda.is_active(**QUERY)
    prometheus.set(3, "jobs")
    prometheus.released.set()
    time.sleep(2 * TICK_S)
    assert keda.value(**QUERY).metricValueFloat == 3


def test_a_scalar_and_notes_that_are_no_warnings_are_known(
    prometheus: FakePrometheus, keda: Keda
) -> None:
    prometheus.answers["jobs"] = Said(success("scalar", [1.0, "2.5"], infos=["may be no counter"]))
    assert keda.value(**QUERY).metricValueFloat == 2.5


def test_down_fails_values_and_activity_only_and_comes_back() -> None:
    fake = FakePrometheus()
    with fake.serve():
        port = int(fake.url.rpartition(":")[2])
    with serving(fake) as served, grpc.insecure_channel(served.address) as channel:
        keda = Keda(channel)
        served.board.decide(3)
        with refused(UNAVAILABLE, "is not reachable"):
            keda.value(**QUERY)
        with refused(UNAVAILABLE, "is not reachable"):
            keda.is_active(**QUERY)
        assert keda.spec(**QUERY).targetSizeFloat == 2
        assert keda.value(target="video-creator").metricValueFloat == 3
        fake.set(5)
        with fake.serve(port):
            time.sleep(2 * TICK_S)
            assert keda.value(**QUERY).metricValueFloat == 5


def test_many_hung_queries_leave_room_for_the_others(prometheus: FakePrometheus) -> None:
    prometheus.set(6, "other_jobs")
    for number in range(60):
        prometheus.answers[f"hung_{number}"] = Said(vector(1), delay_s=120)
    with (
        # Times that a busy machine keeps; a place is free once the first have been given up.
        serving(prometheus, grpc_query_timeout_s=4, grpc_deadline_s=12) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        for _ in range(2):  # the second time they are known to be slow
            calls = [
                keda.stub.IsActive.future(ref("so", query=f"hung_{n}", threshold="1"), timeout=60)
                for n in range(60)
            ]
            assert keda.value(**OTHER).metricValueFloat == 6
            assert {call.exception().code() for call in calls} <= {
                UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            }


def test_hold_answers_the_last_value_up_to_its_age(
    prometheus: FakePrometheus, served: Serving, keda: Keda
) -> None:
    held = {**QUERY, "onUnknown": "hold", "holdSeconds": "3"}
    with prometheus.serve_nothing("jobs"), refused(UNAVAILABLE, "no earlier value to hold"):
        keda.value(**held)
    time.sleep(2 * TICK_S)
    prometheus.set(8, "jobs")
    assert keda.value(**held).metricValueFloat == 8
    with prometheus.serve_nothing("jobs"):
        time.sleep(1.0)
        assert keda.value(**held).metricValueFloat == 8
        assert keda.is_active(**held)
        with refused(UNAVAILABLE, "no data"):
            keda.value(**QUERY)
        time.sleep(3.0)
        with refused(UNAVAILABLE, "no data", "holdSeconds 3"):
            keda.value(**held)


def test_value_answers_the_stand_in_and_is_active(prometheus: FakePrometheus, keda: Keda) -> None:
    stand_in = {
        **QUERY,
        "onUnknown": "value",
        "unknownValue": "4",
        "activationThreshold": "10",
    }
    with prometheus.serve_nothing("jobs"):
        assert keda.value(**stand_in).metricValueFloat == 4
        assert keda.is_active(**stand_in), "the unknown must not scale to zero"
