"""Many push triggers, connections that are closed under them, and clients that do not read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import grpc

from protos import externalscaler_pb2 as pb
from tests.support import externalscaler_pb2_grpc
from tests.support.keda import TARGET, FakePrometheus, Keda, ref, serving
from tests.support.waiting import until

CLIENTS = 40


class PushClient:
    """Holds StreamIsActive open as KEDA does: connects again when it ends."""

    def __init__(self, address: str, number: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(address, options)
        self._stub = externalscaler_pb2_grpc.ExternalScalerStub(self._channel)
        self._ref = ref(f"so{number}", target=TARGET)
        self._stopped = False
        self.state: bool | None = None
        self.clean_ends = 0
        self.errors: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            try:
                for message in self._stub.StreamIsActive(self._ref):
                    self.state = message.result
                self.clean_ends += 1
            except grpc.RpcError as error:
                if not self._stopped:
                    self.errors.append(f"{error.code()}: {error.details()}")
            time.sleep(0.05)

    def close(self) -> None:
        self._stopped = True
        self._channel.close()
        self._thread.join(5)


@contextmanager
def clients(address: str, count: int) -> Iterator[list[PushClient]]:
    opened = [PushClient(address, number) for number in range(count)]
    try:
        yield opened
    finally:
        for client in opened:
            client.close()


def all_know(opened: list[PushClient], state: bool) -> bool:
    return all(client.state is state for client in opened)


def test_connections_that_age_out_lose_nothing() -> None:
    # On a busy machine too a stream ends by itself within the grace, which is as long as the age.
    with serving(grpc_max_connection_age_s=5) as served:
        served.board.decide(1)
        with clients(served.address, CLIENTS) as opened:
            for replicas in (0, 1, 0, 1, 0, 1):
                served.board.decide(replicas)
                know = partial(all_know, opened, replicas > 0)
                until(know, f"every client knows of {replicas}")
                time.sleep(0.6)
            until(lambda: all(c.clean_ends >= 2 for c in opened), "each was sent away twice")
            assert [c.errors for c in opened if c.errors] == []


def test_a_client_that_does_not_read_harms_nobody() -> None:
    # A heartbeat of a millisecond and a window of a kilobyte: full at once.
    with serving(grpc_heartbeat_s=0.001) as served:
        served.board.decide(1)
        small = [("grpc.http2.lookahead_bytes", 1_024), ("grpc.use_local_subchannel_pool", 1)]
        with (
            grpc.insecure_channel(served.address, small) as stuck,
            grpc.insecure_channel(served.address) as channel,
        ):
            stub = externalscaler_pb2_grpc.ExternalScalerStub(stuck)
            unread = [stub.StreamIsActive(ref(f"stuck{n}", target=TARGET)) for n in range(20)]
            for stream in unread:
                next(stream)
            time.sleep(1)
            keda = Keda(channel)
            stream = keda.stream_active(target=TARGET)
            assert next(stream).result
            served.board.decide(0)
            until(lambda: not next(stream).result, "the change arrives")
            assert not keda.is_active(target=TARGET)
            for call in unread:
                call.cancel()
            until(
                lambda: served.metric("autoscaler_keda_streams", method="StreamIsActive") == 1,
                "streams that were given up are closed",
            )


def test_equal_queries_share_one_request_a_tick_however_many_ask(
    prometheus: FakePrometheus,
) -> None:
    with (
        serving(prometheus, grpc_tick_s=0.5) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        streams = [keda.stream_active(f"push{n}", query="jobs", threshold="1") for n in range(10)]
        for stream in streams:
            next(stream)
        for _ in range(3):
            calls = [
                keda.stub.IsActive.future(ref(f"so{n}", query="jobs", threshold=str(n + 1)))
                for n in range(100)
            ]
            assert all(call.result().result for call in calls)
            time.sleep(0.3)
        assert set(prometheus.asked.values()) == {1}


def test_too_many_streams_and_queries_are_refused_and_say_so(prometheus: FakePrometheus) -> None:
    with (
        serving(prometheus, grpc_max_streams=2, grpc_max_queries=3) as served,
        grpc.insecure_channel(served.address) as channel,
    ):
        keda = Keda(channel)
        served.board.decide(1)
        streams = [keda.stream_spec(f"so{n}", target=TARGET) for n in range(2)]
        for stream in streams:
            next(stream)
        third = keda.stream_spec("so3", target=TARGET)
        assert third.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 streams are open" in third.details()
        codes = []
        for number in range(5):
            request = ref(query=f"q{number}", threshold="1")
            call = keda.stub.IsActive.future(request)
            codes.append(call.code())
        assert codes == [grpc.StatusCode.OK] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2


def test_an_oversized_request_is_refused(prometheus: FakePrometheus) -> None:
    with serving(prometheus) as served, grpc.insecure_channel(served.address) as channel:
        stub = externalscaler_pb2_grpc.ExternalScalerStub(channel)
        for size, code in (
            (20_000, grpc.StatusCode.INVALID_ARGUMENT),
            (2_000_000, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            metadata = {"query": "x" * size, "threshold": "1"}
            call = stub.IsActive.future(pb.ScaledObjectRef(scalerMetadata=metadata))
            assert call.code() is code
