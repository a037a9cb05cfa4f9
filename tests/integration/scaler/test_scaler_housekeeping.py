"""What the ledger keeps has an end: pruned by whoever leads, on a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from common.ledger import Ledger
from common.ledger.queue_totals import QUEUES, counters_key
from common.records import WORKERS, Outcome, WorkerRecord, WorkerState
from demo.stack import Stack
from scaler.loop.housekeeping import EVERY_S, FORGET_ORDERS_S, FORGET_WORKERS_S, Housekeeping
from tests.support.waiting import until

pytestmark = pytest.mark.integration
STEP_S = 60


class LaterLedger(Ledger):
    """A real ledger whose time a test lets pass."""

    later_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.later_s)

    def pass_time(self, seconds: float) -> None:
        """What is stamped grows older, and whatever expires comes nearer to that."""
        self.later_s += seconds
        for key in self._redis.scan_iter(count=1000):
            left_ms = self._redis.pttl(key)
            if left_ms != -1:
                # What has none left is removed at once.
                self._redis.pexpire(key, left_ms - round(seconds * 1000))

    def size(self) -> dict[str, int]:
        """How much each key without an end holds; those with an end are counted together."""
        held: dict[str, int] = {"(expire)": 0}
        for key in self._redis.scan_iter(count=1000):
            if self._redis.pttl(key) != -1:
                held["(expire)"] += 1
            else:
                length = {"hash": self._redis.hlen, "set": self._redis.scard}
                held[key] = length.get(self._redis.type(key), lambda _: 1)(key)
        return held


@pytest.fixture
def later(ledger: Ledger, redis_url: str) -> Iterator[LaterLedger]:
    later = LaterLedger.connect(redis_url)
    yield later
    later.close()


def keeper(ledger: LaterLedger, *targets: str, leads: bool = True) -> Housekeeping:
    return Housekeeping(
        ledger, leads=lambda: leads, targets=lambda: targets, clock=lambda: ledger.later_s
    )


def arrive(ledger: Ledger, name: str, queue: str = "q") -> WorkerRecord:
    now = ledger.now()
    record = WorkerRecord(
        id=name, queue=queue, vhost="/", instance=name, status=WorkerState.IDLE,
        status_since=now, started_at=now, last_seen=now,
    )  # fmt: skip
    assert ledger.register_queue(queue, "/") is None
    assert ledger.take_identity(record) is None
    return record


def work(ledger: Ledger, worker: WorkerRecord, job: str) -> None:
    ledger.claim(job, worker.id, ttl_s=20)
    ledger.count_started(worker.queue, f"{job}-start", first=True, wait_s=1.0)
    busy = {"status": WorkerState.BUSY, "job_id": job}
    ledger.put_worker(worker.model_copy(update=busy))
    ledger.count_outcome(worker.queue, f"{job}-end", Outcome.DONE, duration_s=30.0)
    ledger.put_text(job, '{"status": "done"}', ttl_s=3600)


def an_hour(ledger: LaterLedger, keep: Housekeeping, stays: WorkerRecord, name: str) -> None:
    """Every minute a worker comes, does a job and dies in the next one; another is asked to leave
    and does; an order is given for a target that is gone in the end."""
    for minute in range(60):
        ledger.put_worker(stays)
        ledger.register_queue(stays.queue, "/")
        dying = arrive(ledger, f"{name}-dies-{minute}")
        work(ledger, dying, f"{name}-done-{minute}")
        ledger.claim(f"{name}-lost-{minute}", dying.id, ttl_s=20)
        leaving = arrive(ledger, f"{name}-leaves-{minute}", queue=f"{name}-once")
        ledger.request_drain(leaving.id, "too many")
        ledger.remove_worker(leaving.id, leaving.instance)
        ledger.take_lease("scaler", f"scaler-{minute}", ttl_s=8)
        ledger.pass_time(STEP_S)
        keep()


def test_after_an_hour_of_churn_the_ledger_is_no_larger(later: LaterLedger) -> None:
    keep = keeper(later, "kept")
    later.put_order("kept", later.now().timestamp(), {"kind": "pause"})
    stays = arrive(later, "stays")
    an_hour(later, keep, stays, "first")
    before = later.size()
    an_hour(later, keep, stays, "second")
    after = later.size()
    assert after[WORKERS] <= before[WORKERS] <= 2 + FORGET_WORKERS_S / STEP_S
    assert after["(expire)"] <= before["(expire)"] + 3, (
        "what the second hour's queue has of its own"
    )
    del before["(expire)"], after["(expire)"]
    # Each hour's queue keeps its name for as long as its totals.
    assert after.pop(QUEUES) == before.pop(QUEUES) + 1
    assert after.keys() <= before.keys()
    assert all(after[key] <= before[key] for key in after)


def test_when_all_have_gone_nothing_is_left_that_grew(later: LaterLedger) -> None:
    keep = keeper(later, "kept")
    later.put_order("kept", later.now().timestamp(), {"kind": "pause"})
    later.take_lease("scaler", "one", ttl_s=8)
    later.pass_time(60)
    keep()
    before = later.size()
    stays = arrive(later, "stays")
    later.put_order("gone", later.now().timestamp(), {"kind": "pause"})
    an_hour(later, keep, stays, "only")
    later.remove_worker("stays", "stays")
    later.pass_time(31 * 86_400)
    keep()
    assert later.size() == before


def test_who_does_not_lead_prunes_nothing(later: LaterLedger) -> None:
    arrive(later, "dead")
    later.pass_time(FORGET_WORKERS_S + 1)
    keeper(later, leads=False)()
    assert [worker.id for worker in later.workers()] == ["dead"]
    keeper(later)()
    assert later.workers() == []


def test_it_prunes_every_minute_only_and_in_bounded_pieces(later: LaterLedger) -> None:
    keep = keeper(later)
    keep()
    arrive(later, "old")
    sample = later._redis.hget(WORKERS, "old")
    later._redis.hset(
        WORKERS,
        mapping={f"w{n}": sample.replace('"old"', f'"w{n}"') for n in range(2500)},
    )
    later.later_s += EVERY_S / 2
    keep()
    later.later_s += FORGET_WORKERS_S
    assert later._redis.hlen(WORKERS) == 2501
    keep()
    assert later._redis.hlen(WORKERS) == 501
    keep()
    assert later._redis.hlen(WORKERS) == 501
    later.later_s += EVERY_S
    keep()
    assert later._redis.hlen(WORKERS) == 0


def test_who_comes_back_while_it_is_being_forgotten_stays(
    later: LaterLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = arrive(later, "back")
    arrive(later, "dead")
    later.pass_time(FORGET_WORKERS_S + 1)
    run = later._run

    def after_a_heartbeat(script: str, keys: list[str], args: list[object]) -> object:
        if "HDEL" in script and keys == [WORKERS]:
            monkeypatch.setattr(later, "_run", run)
            later.put_worker(back)
        return run(script, keys, args)

    monkeypatch.setattr(later, "_run", after_a_heartbeat)
    assert later.prune(FORGET_WORKERS_S) == 1
    assert [worker.id for worker in later.workers()] == ["back"]


def test_what_cannot_be_read_is_nobodys_to_forget(later: LaterLedger) -> None:
    entries = {b"\xff": b"\xfe", b"text": b"no JSON", b"deep": b"[" * 5000}
    later._redis.hset(WORKERS, mapping=entries)
    arrive(later, "dead")
    later.pass_time(FORGET_WORKERS_S + 1)
    assert later.prune(FORGET_WORKERS_S) == 1
    assert later._redis.hlen(WORKERS) == 3


def test_a_record_from_the_future_is_of_before_the_clock_was_set_back(later: LaterLedger) -> None:
    later.later_s = 86_400
    arrive(later, "dead")
    later.later_s = 0
    assert later.prune(FORGET_WORKERS_S) == 1


def test_orders_of_targets_that_are_gone_have_an_end(later: LaterLedger) -> None:
    given = later.now().timestamp()
    for target in ("kept", "gone"):
        later.put_order(target, given, {"kind": "pause"})
    later._redis.hset("autoscaler:orders", "torn", "{")
    keep = keeper(later, "kept")
    keep()
    assert later.orders().keys() == {"kept", "gone"}
    later.pass_time(FORGET_ORDERS_S)
    later.put_order("new", later.now().timestamp(), {"kind": "pause"})
    keep()
    assert later.orders().keys() == {"kept", "new"}
    assert json.loads(later.orders()["kept"])["at"] == given


def test_totals_are_kept_while_the_fleet_is_there(later: LaterLedger) -> None:
    arrive(later, "w1")
    later.count_outcome("q", "e1", Outcome.DONE)
    later.pass_time(20 * 86_400)
    later.register_queue("q", "/")
    later.pass_time(20 * 86_400)
    keeper(later)()
    (totals,) = later.counters()
    assert totals.outcomes[Outcome.DONE] == 1


def test_totals_of_before_they_had_an_end_get_one(later: LaterLedger) -> None:
    later.count_outcome("q", "e1", Outcome.DONE)
    later._redis.persist(counters_key("q"))
    keeper(later)()
    assert later._redis.ttl(counters_key("q")) > 0


def test_a_ledger_that_is_away_ends_no_loop() -> None:
    away = LaterLedger.connect("redis://127.0.0.1:9", timeout_s=0.2)
    keeper(away)()
    away.close()


def test_a_running_scaler_prunes(tmp_path: Path) -> None:
    with Stack(tmp_path / "stack") as stack:
        stack.start("redis", "prometheus")
        later = LaterLedger.connect(stack.redis_url)
        later.later_s = -FORGET_WORKERS_S - 60
        arrive(later, "dead")
        later.later_s = 0
        arrive(later, "alive")
        stack.program("scaler", {"ORCHESTRATOR": "dry_run"})
        until(lambda: [worker.id for worker in later.workers()] == ["alive"], "the dead is pruned")
        later.close()
