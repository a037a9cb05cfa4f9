"""What a person orders of one scaler holds at the others, over a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.ledger import Ledger
from demo.stack import Stack
from scaler.loop.controller import Controller
from scaler.loop.order_sync import LedgerBoard
from scaler.policy.orders import Order, OrderKind
from scaler.policy.target import Target
from tests.support.crew import Crew, controller_of

pytestmark = pytest.mark.integration
NAME = "video-creator"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("orders") / "stack") as stack:
        yield stack.start("redis")


class Scaler:
    """A scaler with a clock, a history and a connection to the ledger of its own."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.crew, self.folder = Crew(), folder
        self.crew.states[NAME] = {"w-1": "busy"}
        self._ledger = Ledger.connect(stack.redis_url)
        self.start()

    def start(self) -> None:
        self.controller: Controller = controller_of(
            self.crew,
            [Target(max_workers=5)],
            self.folder,
            LedgerBoard(self._ledger),
        )

    def decided(self) -> tuple[int | None, str]:
        """Number and bound after one more cycle."""
        self.crew.now += 1
        self.controller.cycle()
        latest = self.controller.latest(NAME)
        assert latest is not None
        return latest.decision.replicas, latest.decision.bound

    def order(self, kind: OrderKind, reason: str, by: str, **more: Any) -> None:
        self.controller.order(
            NAME, Order(at=self.crew.now, order=kind, reason=reason, by=by, **more)
        )

    def ordered(self) -> list[str]:
        return [each["order"] for each in self.controller.history.orders(NAME)]

    def close(self) -> None:
        self.controller.history.close()
        self._ledger.close()


@pytest.fixture
def pair(stack: Stack, tmp_path: Path) -> Iterator[tuple[Scaler, Scaler]]:
    ledger = Ledger.connect(stack.redis_url)
    ledger._redis.flushall()
    ledger.close()
    made = Scaler(stack, tmp_path / "a"), Scaler(stack, tmp_path / "b")
    yield made
    for each in made:
        each.close()


def test_an_order_holds_at_both_whichever_was_asked(pair: tuple[Scaler, Scaler]) -> None:
    asked, other = pair
    # Nobody can keep two clocks alike.
    other.crew.now -= 90
    asked.order(OrderKind.OVERRIDE, "a launch", "somebody", until=asked.crew.now + 600, replicas=4)
    assert asked.decided() == other.decided() == (4, "override")
    other.order(OrderKind.PAUSE, "a look", "somebody else")
    assert asked.decided()[1] == other.decided()[1] == "pause"
    asked.order(OrderKind.RESUME, "seen enough", "somebody")
    assert other.decided()[1] == asked.decided()[1] == ""
    assert asked.ordered() == other.ordered() == ["resume", "pause", "override"]
    assert other.controller.history.orders(NAME)[0]["by"] == "somebody"


def test_what_is_ordered_without_the_ledger_holds_and_is_shared_later(
    stack: Stack, pair: tuple[Scaler, Scaler]
) -> None:
    asked, other = pair
    redis = stack.parts["redis"]
    redis.stop()
    try:
        asked.order(OrderKind.PAUSE, "a deploy", "somebody")
        assert asked.decided()[1] == "pause"
        assert other.decided()[1] == ""
    finally:
        redis.start()
        redis.wait_ready()
    assert asked.decided()[1] == "pause"
    assert other.decided()[1] == "pause"


def test_an_order_outlives_the_ledgers_loss_and_the_histories(
    stack: Stack, pair: tuple[Scaler, Scaler], tmp_path: Path
) -> None:
    asked, other = pair
    asked.order(OrderKind.PAUSE, "a deploy", "somebody")
    ledger = Ledger.connect(stack.redis_url)
    ledger._redis.flushall()
    ledger._redis.hset("autoscaler:orders", "someone-elses", "no JSON")
    ledger.close()
    assert asked.decided()[1] == "pause"
    other.controller.history.close()
    other.folder = tmp_path / "new"
    other.start()
    assert other.decided()[1] == "pause"
    asked.controller.history.close()
    asked.start()
    assert asked.decided()[1] == "pause"
    assert asked.ordered() == ["pause"]
