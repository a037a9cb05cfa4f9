"""What the ledger is told, also when it was away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest

from common.ledger import Ledger, LedgerError
from common.records import WORKERS, Outcome, WorkerRecord, WorkerState
from demo.stack import Stack
from tests.support.waiting import until
from worker.admission import Admission
from worker.job_status import JobStatus, Status, put_status, read_status
from worker.presence import Presence
from worker.process_identity import realm, this_instance

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
OURS = this_instance()


class Switch:
    """A ledger that can be away."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise LedgerError("away")
        return getattr(self.ledger, name)


@pytest.fixture
def switch(worker_stack: Stack) -> Switch:
    return Switch(Ledger.connect(worker_stack.redis_url))


@pytest.fixture
def ledger(switch: Switch) -> Ledger:
    return switch.ledger


@pytest.fixture
def queue() -> str:
    return f"presence-{uuid4().hex[:8]}"


@pytest.fixture
def job() -> str:
    return f"job-{uuid4().hex[:8]}"


def record(worker: str, queue: str, state: WorkerState, job: str | None = None) -> WorkerRecord:
    return WorkerRecord(
        id=worker,
        queue=queue,
        status=state,
        status_since=NOW,
        started_at=NOW,
        last_seen=NOW,
        job_id=job,
    )


def take_as_another(ledger: Ledger, job: str) -> None:
    """Another worker takes the job and works on it."""
    worker = f"another-{uuid4().hex[:8]}"
    ledger.put_worker(record(worker, "elsewhere", WorkerState.BUSY, job))
    ledger.claim(job, worker, ttl_s=60)


@pytest.fixture
def presence(switch: Switch, queue: str) -> Iterator[Presence]:
    first = record("w1", queue, WorkerState.STARTING).model_copy(update={"instance": OURS})
    presence = Presence(
        cast(Ledger, switch),
        first,
        admission=Admission(first, heartbeat_s=10),
        heartbeat_s=10,
        status_ttl_s=600,
    )
    presence.start()
    yield presence
    presence.leave(5)


def status(job_id: str, state: Status = Status.RENDERING) -> JobStatus:
    return JobStatus(job_id=job_id, status=state)


def test_the_record_follows_the_state(presence: Presence, ledger: Ledger) -> None:
    presence.record.show(WorkerState.BUSY, job_id="j", stage="starting")
    until(lambda: (w := ledger.worker("w1")) and w.status is WorkerState.BUSY and w.job_id == "j")
    presence.record.show(WorkerState.IDLE)
    until(lambda: (w := ledger.worker("w1")) and w.status is WorkerState.IDLE)
    assert ledger.worker("w1").progress == 0.0  # type: ignore[union-attr]
    assert presence.leave(5) == 0
    assert ledger.worker("w1") is None


def test_outcomes_wait_for_the_ledger_and_count_once(
    presence: Presence, switch: Switch, queue: str
) -> None:
    until(lambda: presence.reachable)
    switch.away = True
    for _ in range(2):  # told twice, as after a lost answer
        presence.outbox.put(lambda one: one.count_outcome(queue, f"{queue}:1", Outcome.DONE))
    until(lambda: not presence.reachable)
    assert len(presence.outbox) == 2
    assert not presence.flush(5)
    switch.away = False
    until(lambda: len(presence.outbox) == 0)
    (counters,) = [c for c in switch.ledger.counters() if c.queue == queue]
    assert counters.outcomes[Outcome.DONE] == 1


def test_an_end_is_never_hidden_by_late_progress(presence: Presence, ledger: Ledger) -> None:
    for number in range(20):
        job_id = f"j{number}"
        presence.record.show(WorkerState.BUSY, job_id=job_id)
        presence.record.progress(status(job_id))
        presence.conclude(partial(put_status, status=status(job_id, Status.DONE), ttl_s=600))
        presence.claim.let_go()
        presence.record.show(WorkerState.IDLE)
    until(lambda: len(presence.outbox) == 0)
    presence.leave(5)
    found = [read_status(ledger, f"j{number}") for number in range(20)]
    assert {one.status for one in found if one} == {Status.DONE}


def test_a_later_claim_supersedes(presence: Presence, ledger: Ledger, job: str) -> None:
    presence.claim.hold(job, ledger.claim(job, "w1", ttl_s=20))
    take_as_another(ledger, job)
    until(presence.claim.superseded.is_set)


def test_a_claim_that_the_ledger_forgot_is_made_again(
    presence: Presence, ledger: Ledger, job: str
) -> None:
    claim = ledger.claim(job, "w1", ttl_s=20)
    ledger.release(claim)
    presence.claim.hold(job, claim)
    until(lambda: ledger.holder(job))
    assert ledger.holder(job).worker_id == "w1"  # type: ignore[union-attr]
    presence.claim.let_go()
    until(lambda: ledger.holder(job) is None)
    assert not presence.claim.superseded.is_set()


def test_a_claim_missed_during_an_outage_is_made_up_for(
    presence: Presence, ledger: Ledger, job: str
) -> None:
    presence.claim.hold(job, None)
    until(lambda: ledger.holder(job))
    assert ledger.holder(job).worker_id == "w1"  # type: ignore[union-attr]
    assert not presence.claim.superseded.is_set()


def test_a_claim_missed_during_an_outage_gives_way_to_who_works(
    presence: Presence, ledger: Ledger, job: str
) -> None:
    take_as_another(ledger, job)
    presence.claim.hold(job, None)
    until(presence.claim.superseded.is_set)


def test_a_dead_holder_stands_in_nobodys_way(presence: Presence, ledger: Ledger, job: str) -> None:
    ledger.claim(job, "never seen", ttl_s=60)
    presence.claim.hold(job, None)
    until(lambda: ledger.holder(job).worker_id == "w1")  # type: ignore[union-attr]
    assert not presence.claim.superseded.is_set()


def test_a_drain_request_is_seen_and_its_withdrawal_too(presence: Presence, ledger: Ledger) -> None:
    presence.record.show(WorkerState.IDLE)
    until(lambda: ledger.request_drain("w1", "too many"))
    until(lambda: presence.drain_reason == "too many")
    ledger.withdraw_drain("w1")
    presence.look_again()
    assert presence.drain_reason is None


def test_a_dead_predecessor_that_came_back_with_an_older_ledger_is_replaced(
    presence: Presence, ledger: Ledger
) -> None:
    until(lambda: ledger.worker("w1"))
    with subprocess.Popen(["true"]) as gone:
        instance = f"{realm()}-{gone.pid}-1"
    older = record("w1", "q", WorkerState.BUSY).model_copy(update={"instance": instance})
    ledger._redis.hset(WORKERS, "w1", older.model_dump_json())
    presence.record.show(WorkerState.IDLE)
    until(lambda: (w := ledger.worker("w1")) and w.instance == OURS)
    assert presence.admission.refusal is None


def test_one_whose_id_another_process_uses_may_not_work_on(
    presence: Presence, ledger: Ledger
) -> None:
    until(lambda: ledger.worker("w1"))
    other = record("w1", "q", WorkerState.IDLE).model_copy(update={"instance": "elsewhere"})

    def refused() -> str:
        """While the other one writes its heartbeats."""
        stamped = other.model_copy(update={"last_seen": ledger.now()})
        ledger._redis.hset(WORKERS, "w1", stamped.model_dump_json())
        presence.record.show(WorkerState.IDLE)
        return str(presence.admission.refusal or "")

    assert "WORKER_ID" in until(refused)
