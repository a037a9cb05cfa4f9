"""The scaler as a program: its own decisions over gRPC, and the cost of its workers' pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pika
import pytest

from common.ledger import Ledger
from common.records import WorkerRecord, WorkerState
from demo.stack import Stack
from tests.support.keda import TARGET, Keda
from tests.support.kubernetes_api import ApiServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "account")
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path / "stack") as running:
        yield running.start("redis", "rabbitmq", "prometheus")


def record(pod: str, state: WorkerState) -> WorkerRecord:
    now = datetime.now(UTC)
    return WorkerRecord(
        id=pod,
        queue="video-queue",
        status=state,
        status_since=now,
        started_at=now,
        last_seen=now,
        job_id="job" if state is WorkerState.BUSY else None,
        task=pod,
        startup_seconds=1.0,
    )


def test_keda_hears_the_decision_and_busy_pods_cost_more(stack: Stack, api: ApiServer) -> None:
    api.pods = {"pod-1": {}, "pod-2": {}}
    ledger = Ledger.connect(stack.redis_url)
    with pika.BlockingConnection(pika.URLParameters(stack.rabbit_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("video-queue", durable=True)
        for _ in range(4):
            channel.basic_publish("", "video-queue", b"{}")
    ledger.put_worker(record("pod-1", WorkerState.BUSY))
    ledger.put_worker(record("pod-2", WorkerState.IDLE))
    stack.program("exporter")
    stack.program(
        "scaler",
        {
            "ORCHESTRATOR": "dry_run",
            "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": str(stack.grpc_port),
            "POD_DELETION_COST": "true",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api.port),
            "SERVICE_ACCOUNT_PATH": str(api.account),
        },
    )
    with grpc.insecure_channel(f"127.0.0.1:{stack.grpc_port}") as channel_to_scaler:
        keda = Keda(channel_to_scaler)

        def wants(number: int, **metadata: str) -> Callable[[], bool]:
            def check() -> bool:
                try:
                    return keda.value(**metadata).metricValueFloat == number
                except grpc.RpcError:
                    return False

            return check

        until(wants(5, target=TARGET), "four that wait and one in progress make five")
        until(wants(5, queue="video-queue"), "the queue says the same")
        assert keda.is_active(target=TARGET)
        assert next(keda.stream_active(target=TARGET)).result
    until(lambda: (api.cost_of("pod-1"), api.cost_of("pod-2")) == ("1000", "0"), "each its cost")
    ledger.put_worker(record("pod-1", WorkerState.IDLE))
    ledger.put_worker(record("pod-2", WorkerState.BUSY))
    until(lambda: (api.cost_of("pod-1"), api.cost_of("pod-2")) == ("0", "1000"), "they changed")
    ledger.close()
