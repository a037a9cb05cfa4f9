"""One name in several virtual hosts."""

from __future__ import annotations

from datetime import UTC, datetime

from common.records import QueueCounters, WorkerRecord, WorkerState
from exporter.members import Member
from exporter.mixed_queues import mixed
from exporter.selection import QueueName

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE, THERE = QueueName("/", "q"), QueueName("b", "q")


def member(vhost: str, queue: str = "q") -> Member:
    record = WorkerRecord(
        id="w", queue=queue, vhost=vhost, status=WorkerState.IDLE, status_since=NOW,
        started_at=NOW, last_seen=NOW,
    )  # fmt: skip
    return Member(record, "idle", NOW)


def test_a_fleet_in_the_virtual_host_that_is_read_is_told_apart() -> None:
    assert mixed([HERE], [member("/")], [QueueCounters("q", vhost="/")]) == {}


def test_two_fleets_are_not() -> None:
    assert mixed([HERE], [member("/"), member("b")], []) == {"q": ["/", "b"]}


def test_nor_is_a_fleet_elsewhere_than_what_is_read() -> None:
    assert mixed([THERE], [member("/")], []) == {"q": ["/", "b"]}
    assert mixed([THERE], [], [QueueCounters("q", vhost="/")]) == {"q": ["/", "b"]}


def test_nor_is_one_fleet_where_two_queues_are_read() -> None:
    assert mixed([HERE, THERE], [member("/")], []) == {"q": ["/", "b"]}


def test_other_names_are_not_concerned() -> None:
    read = [HERE, QueueName("/", "r"), QueueName("b", "r")]
    assert mixed(read, [member("/"), member("b", "s")], []) == {}


def test_workers_that_do_not_say_where_they_are_prove_nothing() -> None:
    assert mixed([HERE, THERE], [member("")], [QueueCounters("q")]) == {}
