"""A ledger that hangs costs its time-out once, and is noticed at once when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from common.ledger import Ledger, LedgerError
from scaler.loop.housekeeping import EVERY_S, Housekeeping
from scaler.loop.lease import Leader
from scaler.loop.order_sync import LedgerBoard
from tests.support.fault_proxy import FaultProxy, Spoiled
from tests.support.waiting import until

pytestmark = pytest.mark.integration
TIMEOUT_S = 1.0
FOR_EVER_S = 3600.0


@pytest.fixture
def proxy(redis_url: str, ledger: Ledger) -> Iterator[FaultProxy]:
    """On the way to an empty ledger."""
    with FaultProxy(int(redis_url.split(":")[2].split("/", maxsplit=1)[0])) as made:
        yield made


@pytest.fixture
def away(proxy: FaultProxy) -> Iterator[Ledger]:
    """The ledger as the scaler has it; but it rests until it is seen to be back."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    made = Ledger.connect(url, timeout_s=TIMEOUT_S, rest_s=FOR_EVER_S)
    yield made
    made.close()


def refusal(ledger: Ledger) -> str:
    with pytest.raises(LedgerError) as caught:
        ledger.request_drain("w1", "idle")
    return str(caught.value)


def test_only_the_first_of_many_waits(proxy: FaultProxy, away: Ledger) -> None:
    away.now()
    proxy.freeze()
    reason = refusal(away)
    assert "Timeout" in reason
    begun = time.monotonic()
    assert {refusal(away) for _ in range(1_000)} == {reason}
    for ask in (away.now, away.orders, away.workers, lambda: away.prune(60)):
        with pytest.raises(LedgerError, match="Timeout"):
            ask()
    # A thousand times the time-out would be a quarter of an hour.
    assert time.monotonic() - begun < 60


def test_a_look_that_is_answered_ends_the_rest(proxy: FaultProxy, away: Ledger) -> None:
    proxy.freeze()
    refusal(away)
    with pytest.raises(LedgerError):
        away.take_lease("scaler", "a", ttl_s=60)
    refusal(away)
    proxy.thaw()
    assert until(lambda: _lease(away), "the ledger is back")
    assert away.orders() == {}
    assert not away.request_drain("w1", "idle"), "nobody is there"


def _lease(ledger: Ledger) -> int | None:
    try:
        return ledger.take_lease("scaler", "a", ttl_s=60)
    except LedgerError:
        return None


def test_without_a_look_it_is_asked_again_after_a_while(proxy: FaultProxy) -> None:
    brief = Ledger.connect(f"redis://127.0.0.1:{proxy.port}/0", timeout_s=TIMEOUT_S, rest_s=0.5)
    proxy.freeze()
    refusal(brief)
    proxy.thaw()

    def orders() -> bool:
        try:
            return brief.orders() == {}
        except LedgerError:
            return False

    until(orders, "it is asked again")
    brief.close()


def test_after_a_refusal_nothing_rests(proxy: FaultProxy, away: Ledger, ledger: Ledger) -> None:
    ledger._redis.set("autoscaler:orders", "no hash")
    with pytest.raises(LedgerError, match="WRONGTYPE"):
        away.orders()
    assert away.now(), "asked at once"
    nowhere = Ledger.connect("redis://127.0.0.1:9", timeout_s=TIMEOUT_S, rest_s=FOR_EVER_S)
    for _ in range(2):
        with pytest.raises(LedgerError, match="refused"):
            nowhere.now()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Spoiled.HANGS, "Timeout"),
        (Spoiled.SLOW, "Timeout"),
        (Spoiled.TOO_LARGE, "an answer of more than 67108864 bytes"),
        (Spoiled.GARBAGE, "ledger: "),
    ],
)
def test_every_answer_ends(redis_url: str, ledger: Ledger, fault: Spoiled, words: str) -> None:
    ledger.put_order("target", 1.0, {"reason": "long enough to be slow"})
    port = int(redis_url.split(":")[2].split("/", maxsplit=1)[0])
    patient_s = 60.0 if fault is Spoiled.TOO_LARGE else TIMEOUT_S
    with FaultProxy(port, endless=b"$1000000000000\r\n") as spoilt:
        asked = Ledger.connect(f"redis://127.0.0.1:{spoilt.port}/0", timeout_s=patient_s)
        assert asked.now()
        spoilt.spoil(fault)
        begun = time.monotonic()
        with pytest.raises(LedgerError, match=words):
            asked.orders()
        assert time.monotonic() - begun < 60
        asked.close()


def test_other_programs_ask_each_time(proxy: FaultProxy) -> None:
    worker = Ledger.connect(f"redis://127.0.0.1:{proxy.port}/0", timeout_s=TIMEOUT_S)
    proxy.freeze()
    refusal(worker)
    proxy.thaw()
    until(lambda: worker.orders() == {})
    worker.close()


def test_a_leader_renews_in_time_after_a_hiccup(proxy: FaultProxy, away: Ledger) -> None:
    clock = Hands()
    leader = Leader(away, clock=clock)
    assert leader.leads()
    proxy.freeze()
    clock.at = 2.0
    assert leader.leads(), "not renewed, but not over either"
    refusal(away)
    proxy.thaw()
    # The answer was waited for until 4.0; soon after it is asked again.
    clock.at = 4.5
    until(lambda: _led_anew(leader, clock), "the lease is renewed")
    assert away.orders() == {}, "and all else is asked again"


class Hands:
    """A clock that the test moves."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


def _led_anew(leader: Leader, clock: Hands) -> bool:
    """Whether it leads beyond what its first lease would have allowed."""
    leader.leads()
    before, clock.at = clock.at, 8.5
    leads = clock() < leader._until
    clock.at = before + 0.6
    return leads


def test_board_and_housekeeping_wait_no_longer_than_the_rest(
    proxy: FaultProxy, away: Ledger
) -> None:
    board = LedgerBoard(away)
    clock = Hands()
    keeper = Housekeeping(away, leads=lambda: True, targets=list, clock=clock)
    assert board.newest() == {}
    proxy.freeze()
    refusal(away)
    begun = time.monotonic()
    for _ in range(200):
        assert board.newest() is None
        clock.at += EVERY_S
        keeper()
    assert time.monotonic() - begun < 60
    proxy.thaw()
    assert until(lambda: _lease(away))
    assert board.newest() == {}
