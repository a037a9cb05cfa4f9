"""The ledger on a real Redis."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from common.ledger import Ledger, LedgerError
from common.records import WORKERS, Outcome, WorkerRecord, WorkerState

pytestmark = pytest.mark.integration


def record(ledger: Ledger, name: str, status: WorkerState = WorkerState.IDLE) -> WorkerRecord:
    now = ledger.now()
    return WorkerRecord(
        id=name, queue="q", status=status, status_since=now, started_at=now, last_seen=now
    )


def test_workers_come_and_go(ledger: Ledger) -> None:
    written = ledger.put_worker(record(ledger, "w1"))
    assert ledger.workers() == [written]
    ledger.remove_worker("w1")
    assert ledger.workers() == []


def test_foreign_entries_of_the_fleet_are_passed_over(ledger: Ledger) -> None:
    ledger._redis.hset(WORKERS, "old", '{"id": "old", "status": "active"}')
    ledger._redis.hset(WORKERS, "torn", "{")
    written = ledger.put_worker(record(ledger, "w1"))
    assert ledger.workers() == [written]


def test_prune_forgets_the_dead_only(ledger: Ledger) -> None:
    dead = record(ledger, "dead").model_copy(
        update={"last_seen": ledger.now() - timedelta(seconds=100)}
    )
    ledger._redis.hset(WORKERS, "dead", dead.model_dump_json())
    ledger.put_worker(record(ledger, "alive"))
    assert ledger.prune(60) == 1
    assert [worker.id for worker in ledger.workers()] == ["alive"]


@pytest.mark.parametrize(
    ("status", "granted"),
    [
        (WorkerState.IDLE, True),
        (WorkerState.BUSY, False),
        (WorkerState.STARTING, False),
        (WorkerState.DRAINING, False),
    ],
)
def test_only_the_idle_are_asked_to_leave(
    ledger: Ledger, status: WorkerState, granted: bool
) -> None:
    ledger.put_worker(record(ledger, "w1", status))
    assert ledger.request_drain("w1", "too many") is granted
    request = ledger.drain_request("w1")
    assert (request.reason if request else None) == ("too many" if granted else None)
    ledger.withdraw_drain("w1")
    assert ledger.drain_request("w1") is None


def test_nobody_is_asked_who_is_not_there(ledger: Ledger) -> None:
    assert not ledger.request_drain("nobody", "x")


def test_a_damaged_claim_is_nobodys(ledger: Ledger) -> None:
    for fields in ({"worker": "w1"}, {"worker": "w1", "token": "many"}):
        ledger._redis.hset("autoscaler:claim:damaged", mapping=fields)
        assert ledger.holder("damaged") is None
        assert ledger.at_work("damaged") is None


def test_who_began_and_never_ended_counts_once_it_is_dead(ledger: Ledger) -> None:
    first, second, third = (
        record(ledger, name).model_copy(update={"instance": f"i-{name}"})
        for name in ("w1", "w2", "w3")
    )
    assert ledger.begin_handling("message", first) == 0
    ledger.put_worker(first)
    assert ledger.begin_handling("message", second) == 0, "w1 is alive"
    ledger.end_handling("message", "i-w2")
    ledger.remove_worker("w1")
    assert ledger.begin_handling("message", second) == 1
    assert ledger.begin_handling("message", third) == 2, "of w2 nothing was ever seen"
    ledger.put_worker(second.model_copy(update={"instance": "another"}))
    assert ledger.begin_handling("message", third) == 2, "w2 has begun anew"
    for instance in ("i-w1", "i-w2"):
        ledger.end_handling("message", instance)
    assert ledger.begin_handling("message", third) == 0


def test_who_is_alive_counts_when_the_message_broke_what_it_did(ledger: Ledger) -> None:
    first, second = (
        record(ledger, name).model_copy(update={"instance": f"i-{name}"}) for name in ("w1", "w2")
    )
    ledger.begin_handling("message", first)
    ledger.put_worker(first)
    ledger.break_handling("message", first)
    assert ledger.begin_handling("message", second) == 1
    ledger.end_handling("message", "i-w1")
    assert ledger.begin_handling("message", second) == 0


def test_the_newest_claim_wins(ledger: Ledger) -> None:
    first = ledger.claim("job", "w1", ttl_s=60)
    second = ledger.claim("job", "w2", ttl_s=60)
    assert second.token > first.token
    assert not ledger.renew(first, ttl_s=60)
    assert ledger.renew(second, ttl_s=60)
    assert not ledger.release(first)
    assert ledger.release(second)


def test_an_event_is_counted_once(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.count_started("q", "start-1", first=True, wait_s=7.0)
        ledger.count_outcome("q", "end-1", Outcome.DONE, duration_s=33.5)
    ledger.count_startup("q", "up-1", 1.4)
    (counters,) = ledger.counters()
    assert counters.started == 1
    assert counters.outcomes[Outcome.DONE] == 1
    assert counters.duration.count == 1
    assert counters.duration.sum == pytest.approx(33.5)
    assert dict(counters.duration.buckets)[30.0] == 0
    assert dict(counters.duration.buckets)[45.0] == 1
    assert counters.wait.count == 1
    assert counters.startup.count == 1


def test_a_text_is_kept_under_its_key_alone(ledger: Ledger) -> None:
    ledger.put_text("mine", "a")
    ledger.put_text("mine", "b")
    assert ledger.text("mine") == ledger._redis.get("mine") == "b"
    assert ledger.text("nobody's") is None
    assert ledger._redis.keys() == ["mine"]


def test_a_text_may_have_an_end(ledger: Ledger) -> None:
    ledger.put_text("mine", "a", ttl_s=60)
    assert 0 < ledger._redis.ttl("mine") <= 60
    ledger.put_text("mine", "b")
    assert ledger._redis.ttl("mine") == -1


def test_a_redis_that_is_away_is_a_ledger_error() -> None:
    with pytest.raises(LedgerError, match="ledger"):
        Ledger.connect("redis://127.0.0.1:9", timeout_s=0.2).workers()


def test_a_lease_has_one_holder_and_each_new_one_a_higher_token(ledger: Ledger) -> None:
    first = ledger.take_lease("scaler", "a", ttl_s=0.3)
    assert first
    assert ledger.take_lease("scaler", "b", ttl_s=5) is None
    assert ledger.take_lease("scaler", "a", ttl_s=0.3) == first
    time.sleep(0.5)
    second = ledger.take_lease("scaler", "b", ttl_s=5)
    assert second
    assert second > first
    ledger.drop_lease("scaler", "a")
    assert ledger.take_lease("scaler", "a", ttl_s=5) is None
    ledger.drop_lease("scaler", "b")
    assert ledger.take_lease("scaler", "a", ttl_s=5)


def test_who_lost_the_lease_can_ask_nobody_to_leave(ledger: Ledger) -> None:
    ledger.put_worker(record(ledger, "w1"))
    token = ledger.take_lease("scaler", "a", ttl_s=5)
    assert token
    assert not ledger.request_drain("w1", "late", lease=("scaler", token - 1))
    assert ledger.drain_request("w1") is None
    assert ledger.request_drain("w1", "in time", lease=("scaler", token))
