"""The fleet as it is reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from common.records import WorkerRecord, WorkerState
from exporter.members import Member, counts, in_flight, members, stranded

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def worker(
    name: str,
    state: WorkerState,
    *,
    silent_s: float = 0,
    job: str | None = None,
    problem: str = "",
) -> Any:
    return WorkerRecord(
        id=name,
        queue="video-queue",
        status=state,
        status_since=NOW - timedelta(seconds=90),
        started_at=NOW - timedelta(hours=1),
        last_seen=NOW - timedelta(seconds=silent_s),
        job_id=job,
        problem=problem,
        problem_since=NOW - timedelta(seconds=40) if problem else None,
    )


def fleet(*records: WorkerRecord) -> list[Member]:
    return members(records, NOW, unhealthy_after_s=30, forget_after_s=600)


def test_each_worker_counts_in_one_state() -> None:
    crew = fleet(
        worker("a", WorkerState.STARTING),
        worker("b", WorkerState.IDLE),
        worker("c", WorkerState.BUSY, job="j1"),
        worker("d", WorkerState.DRAINING, job="j2"),
        worker("e", WorkerState.BUSY, silent_s=31, job="j3"),
    )
    assert counts(crew) == {"starting": 1, "idle": 1, "busy": 1, "draining": 1, "unhealthy": 1}
    assert sum(counts(crew).values()) == len(crew)


def test_a_job_in_silent_hands_is_stranded_and_not_in_flight() -> None:
    crew = fleet(
        worker("a", WorkerState.BUSY, job="j1"),
        worker("b", WorkerState.BUSY, silent_s=31, job="j2"),
        worker("c", WorkerState.DRAINING, job="j3"),
        worker("d", WorkerState.IDLE),
    )
    assert (in_flight(crew), stranded(crew)) == (2, 1)


def test_who_says_of_itself_that_it_is_unwell_is_unhealthy_and_its_job_still_in_its_hands() -> None:
    (member,) = crew = fleet(worker("a", WorkerState.BUSY, job="j1", problem="a thread hangs"))
    assert (member.state, member.healthy, member.silent) == ("unhealthy", False, False)
    assert member.since == NOW - timedelta(seconds=40)
    assert (in_flight(crew), stranded(crew)) == (1, 0)


def test_the_limits_are_inclusive() -> None:
    at_limit, over = fleet(
        worker("a", WorkerState.IDLE, silent_s=30), worker("b", WorkerState.IDLE, silent_s=30.001)
    )
    assert (at_limit.state, over.state) == ("idle", "unhealthy")
    assert at_limit.since == NOW - timedelta(seconds=90)
    assert over.since == over.record.last_seen


def test_the_long_gone_are_forgotten() -> None:
    crew = fleet(
        worker("a", WorkerState.IDLE, silent_s=600), worker("b", WorkerState.IDLE, silent_s=601)
    )
    assert [member.record.id for member in crew] == ["a"]


def test_a_clock_ahead_is_no_harm() -> None:
    (member,) = fleet(worker("a", WorkerState.IDLE, silent_s=-5))
    assert member.healthy
