"""A Redis whose memory is full: old statuses go, and what is in use stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from common.ledger import Ledger, LedgerError
from common.records import Outcome, WorkerRecord, WorkerState
from demo.stack import Stack

pytestmark = pytest.mark.integration
WEEK_S = 7 * 86_400
ROOM_BYTES = 4_000_000
STATUS = "x" * 1000


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Redis of its own, started as everywhere, with room for some thousand statuses."""
    with Stack(tmp_path_factory.mktemp("small") / "stack") as stack:
        stack.start("redis")
        with redis.Redis.from_url(stack.redis_url) as client:
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", used + ROOM_BYTES)
            yield client


@pytest.fixture
def small(client: Any) -> Iterator[Ledger]:
    arguments = client.connection_pool.connection_kwargs
    ledger = Ledger.connect(f"redis://{arguments['host']}:{arguments['port']}/0")
    yield ledger
    ledger.close()


def worker(ledger: Ledger) -> WorkerRecord:
    now = ledger.now()
    return WorkerRecord(
        id="w1", queue="q", vhost="/", instance="i", status=WorkerState.IDLE,
        status_since=now, started_at=now, last_seen=now,
    )  # fmt: skip


def test_when_memory_is_full_old_statuses_go_and_what_is_used_stays(
    client: Any, small: Ledger
) -> None:
    small.put_order("target", 1.0, {"kind": "pause"})
    small.register_queue("q", "/")
    small.take_identity(worker(small))
    token = small.take_lease("scaler", "a", ttl_s=600)
    claim = small.claim("in-hand", "w1", ttl_s=600)
    small.put_text("sample", STATUS)
    content = client.dump("sample")
    for number in range(20_000):
        # Nobody has asked for it within the hour.
        client.restore(f"job-{number}", WEEK_S * 1000, content, idletime=3600)
    assert client.info("stats")["evicted_keys"] > 10_000
    small.count_outcome("q", "e1", Outcome.DONE, duration_s=3)
    assert small.put_worker(worker(small)).id == "w1"
    assert small.take_lease("scaler", "a", ttl_s=600) == token
    assert small.renew(claim, ttl_s=600)
    assert small.register_queue("q", "team-b") == "/"
    assert small.orders().keys() == {"target"}
    (totals,) = small.counters()
    assert totals.outcomes[Outcome.DONE] == 1


def test_with_nothing_left_to_give_up_it_says_so_and_records_can_still_be_removed(
    client: Any, small: Ledger
) -> None:
    small.take_identity(worker(small))
    fill = (client.set(f"for-ever-{number}", STATUS) for number in range(20_000))
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        all(fill)
    with pytest.raises(LedgerError, match="OutOfMemory"):
        small.put_worker(worker(small))
    small.remove_worker("w1", "i")
    assert small.workers() == []
