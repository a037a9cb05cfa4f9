"""Names that a broker does not answer for: each costs its own queue, and no other its depth."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from common.amqp import parameters
from demo.stack import Stack
from exporter import depths
from exporter.__main__ import settings
from exporter.depths import QueueReader
from exporter.sources import SourceError
from tests.integration.exporter.conftest import channel, exporter_for
from tests.support.waiting import until

pytestmark = pytest.mark.integration
READY = "rabbitmq_queue_messages_ready"
# The broker takes the line's end off a name, so that its answer is about another one.
UNANSWERED = "unanswered\r"


@pytest.fixture
def reader(stack: Stack) -> Iterator[QueueReader]:
    given = settings({"RABBIT_URL": stack.rabbit_url, "REDIS_URL": stack.redis_url})
    reader = QueueReader(parameters(given, name="names")).start()
    yield reader
    reader.close()


def test_a_long_name_costs_no_other_queue_its_depth(stack: Stack) -> None:
    long = "q" * 251
    with exporter_for(stack, QUEUES=f"video-queue,{long}") as probe, channel(stack) as amqp:
        amqp.queue_declare(long)
        seen = probe.until(lambda s: s.value(READY, queue=long) == 0, "the long one")
        assert seen.value("autoscaler_source_up", source="amqp") == 1
        assert seen.value(READY, queue="video-queue") == 0
        assert seen.value("autoscaler_jobs_parked", queue=long) is None
        amqp.queue_delete(long)


@pytest.mark.parametrize("name", ["q" * 256, "\udcff", ""])
def test_a_name_that_cannot_be_sent_or_is_none(reader: QueueReader, name: str) -> None:
    for _ in range(2):
        found = reader.read(["a-missing-one", name, "video-queue"], 5)
        assert found.keys() == {"video-queue"}


def test_a_queue_of_somebody_else_alone(stack: Stack, reader: QueueReader) -> None:
    with channel(stack) as amqp:
        amqp.queue_declare("exclusive-one", exclusive=True)
        assert reader.read(["exclusive-one", "video-queue"], 5).keys() == {"video-queue"}


def test_a_queue_that_is_never_answered_for_is_absent_and_costs_one_channel(
    stack: Stack, reader: QueueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depths, "ASK_AGAIN_S", 0.0)
    with channel(stack) as amqp:
        amqp.queue_declare("unanswered")
        until(lambda: reader.read(["video-queue"], 5), "connected")
        for _ in range(depths.CHANNELS + 6):
            assert reader.read([UNANSWERED, "video-queue"], 0.3).keys() == {"video-queue"}
        assert reader._channels <= 3
        amqp.queue_delete("unanswered")


def test_where_nothing_is_answered_for_the_source_is_down(
    stack: Stack, reader: QueueReader
) -> None:
    with channel(stack) as amqp:
        amqp.queue_declare("unanswered")
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(SourceError, match="did not answer"):
                reader.read([UNANSWERED], 0.5)
            assert time.monotonic() - began < 5
        amqp.queue_delete("unanswered")
