"""Whatever a trigger says, the answer is an answer or a reason, and comes in time."""

from __future__ import annotations

import time

import grpc
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from protos import externalscaler_pb2 as pb
from scaler.external.metadata import Trigger
from tests.support import externalscaler_pb2_grpc
from tests.support.keda import FakePrometheus, Serving

KEYS = [info.alias or name for name, info in Trigger.model_fields.items()]
NUMBERS = st.sampled_from(
    ["0", "-0", "1", "0.0005", "1e-320", "1e400", "nan", "-inf", "0x10", "1_000", "١", " 7 ", "٣.٥"]
)
QUERIES = st.sampled_from(
    [
        "jobs",
        "sum(rate(jobs[5m]))",
        '{__name__=~".+"}',
        "jobs[5m]",
        '"text"',
        "jobs{",
        "((((((((jobs))))))))",
        "-" * 4_000 + "1",
        "(" * 4_096,
        'jobs{a="\x00"}',
        "jobs offset -1e9y",
        "1e999",
        "jobs @ 9e99",
        "jobs[99999999999999999999y]",
        'label_replace(jobs,"a","$1","b","(")',
    ]
)
VALUES = st.one_of(
    NUMBERS, QUERIES, st.text(max_size=60), st.sampled_from(["error", "hold", "value"])
)
NAMES = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from([f"{key}FromEnv" for key in KEYS]),
    st.sampled_from(["scalerAddress", "FromEnv", "__class__", "model_config", "metric_name"]),
    st.text(max_size=20),
)
ANY = st.dictionaries(NAMES, VALUES, max_size=6)
# Nearly right, so that what lies behind the first check is reached, too.
NEARLY = st.fixed_dictionaries(
    {"query": st.one_of(QUERIES, st.text(max_size=60)), "threshold": NUMBERS},
    optional={key: VALUES for key in KEYS if key not in ("query", "threshold")},
)
FINE = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def test_no_metadata_ends_in_an_internal_error_or_a_hang(
    prometheus: FakePrometheus, served: Serving
) -> None:
    with grpc.insecure_channel(served.address) as channel:
        stub = externalscaler_pb2_grpc.ExternalScalerStub(channel)

        @given(metadata=st.one_of(ANY, NEARLY), name=st.text(max_size=300), metric=st.text())
        @examples(
            max_examples=2_000,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def check(metadata: dict[str, str], name: str, metric: str) -> None:
            ref = pb.ScaledObjectRef(name=name, namespace=name, scalerMetadata=metadata)
            asked = pb.GetMetricsRequest(scaledObjectRef=ref, metricName=metric)
            begun = time.monotonic()
            calls = [
                stub.IsActive.future(ref, timeout=10),
                stub.GetMetricSpec.future(ref, timeout=10),
                stub.GetMetrics.future(asked, timeout=10),
            ]
            codes = [call.code() for call in calls]
            assert set(codes) <= FINE, [(call.code(), call.details()) for call in calls]
            assert time.monotonic() - begun < 10
            assert codes[1] is not grpc.StatusCode.UNAVAILABLE, "the spec needs nothing"

        check()
