"""Ids of workers and names of queues in the ledger: each is one holder's."""

from __future__ import annotations

import pytest

from common.ledger import Ledger, WorkerReplacedError
from common.ledger.queue_holders import holder_key
from common.records import WORKERS, Outcome, WorkerRecord, WorkerState

pytestmark = pytest.mark.integration


def worker(ledger: Ledger, instance: str, *, name: str = "w1") -> WorkerRecord:
    now = ledger.now()
    return WorkerRecord(
        id=name,
        queue="q",
        vhost="/",
        instance=instance,
        status=WorkerState.IDLE,
        status_since=now,
        started_at=now,
        last_seen=now,
    )


def test_an_id_that_nobody_has_is_taken(ledger: Ledger) -> None:
    assert ledger.take_identity(worker(ledger, "a")) is None
    assert [each.instance for each in ledger.workers()] == ["a"]


def test_an_id_in_use_is_refused_with_the_record_that_has_it(ledger: Ledger) -> None:
    ledger.take_identity(worker(ledger, "a"))
    standing = ledger.take_identity(worker(ledger, "b"))
    assert standing is not None
    assert standing.instance == "a"
    assert [each.instance for each in ledger.workers()] == ["a"]


def test_the_same_process_takes_its_id_again(ledger: Ledger) -> None:
    ledger.take_identity(worker(ledger, "a"))
    assert ledger.take_identity(worker(ledger, "a")) is None


def test_the_id_of_one_found_dead_is_taken_over_that_one_only(ledger: Ledger) -> None:
    ledger.take_identity(worker(ledger, "a"))
    assert ledger.take_identity(worker(ledger, "c"), over="b") is not None
    assert ledger.take_identity(worker(ledger, "c"), over="a") is None
    assert [each.instance for each in ledger.workers()] == ["c"]


def test_a_record_from_before_instances_is_replaced_by_its_empty_name(ledger: Ledger) -> None:
    ledger.put_worker(worker(ledger, ""))
    assert ledger.take_identity(worker(ledger, "b")) is not None
    assert ledger.take_identity(worker(ledger, "b"), over="") is None


@pytest.mark.parametrize("entry", [b"{", b"\xff\xfe", b"[" * 5000, b'{"instance": 3}', b""])
def test_a_record_that_cannot_be_read_holds_no_id(ledger: Ledger, entry: bytes) -> None:
    ledger._redis.hset(WORKERS, "w1", entry)
    assert ledger.take_identity(worker(ledger, "b")) is None
    assert [each.instance for each in ledger.workers()] == ["b"]


def test_who_writes_while_being_replaced_is_not_dead(
    ledger: Ledger, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker(ledger, "a")
    ledger.take_identity(first)
    other = Ledger.connect(redis_url)
    run = other._run

    def after_a_heartbeat(script: str, keys: list[str], args: list[object]) -> object:
        ledger.put_worker(first)
        return run(script, keys, args)

    monkeypatch.setattr(other, "_run", after_a_heartbeat)
    standing = other.take_identity(worker(ledger, "b"), over="a")
    assert standing is not None
    assert standing.instance == "a"
    other.close()


def test_who_was_replaced_is_told_so_and_removes_nothing(ledger: Ledger) -> None:
    old, new = worker(ledger, "a"), worker(ledger, "b")
    ledger.take_identity(old)
    ledger.request_drain("w1", "too many")
    ledger.take_identity(new, over="a")
    assert ledger.drain_request("w1") is None
    with pytest.raises(WorkerReplacedError, match="w1"):
        ledger.put_worker(old)
    ledger.remove_worker("w1", "a")
    assert [each.instance for each in ledger.workers()] == ["b"]
    ledger.remove_worker("w1", "b")
    assert ledger.workers() == []


def test_a_queues_name_is_held_for_one_virtual_host(ledger: Ledger) -> None:
    assert ledger.register_queue("q", "/") is None
    assert ledger.register_queue("q", "/") is None
    assert ledger.register_queue("q", "team-b") == "/"
    assert ledger.register_queue("other", "team-b") is None


def test_a_hold_lapses_unless_it_is_asked_for_again(ledger: Ledger) -> None:
    ledger.register_queue("q", "/", ttl_s=60)
    key = holder_key("q")
    ledger._redis.expire(key, 5)
    ledger.register_queue("q", "/", ttl_s=60)
    assert ledger._redis.ttl(key) > 5
    ledger._redis.delete(key)
    assert ledger.register_queue("q", "team-b") is None


def test_totals_are_those_of_one_virtual_host(ledger: Ledger) -> None:
    ledger.count_outcome("q", "before", Outcome.DONE)
    ledger.register_queue("q", "/")
    (kept,) = ledger.counters()
    assert kept.outcomes[Outcome.DONE] == 1
    assert kept.vhost == "/"
    ledger._redis.delete(holder_key("q"))
    ledger.register_queue("q", "team-b")
    (begun_anew,) = ledger.counters()
    assert begun_anew.outcomes[Outcome.DONE] == 0
    assert begun_anew.vhost == "team-b"
