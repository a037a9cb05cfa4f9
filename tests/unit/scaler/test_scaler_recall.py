"""The past is read once Prometheus shows the present; what was ordered meanwhile stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from scaler.loop.containment import Containment, LoopPart
from scaler.loop.drain import Drains
from scaler.loop.recall import Recall
from scaler.loop.restore import Due
from scaler.loop.target_state import Look, TargetState, Unread
from scaler.orchestrators.dry_run import DryRun
from scaler.policy.memory import Memory
from scaler.policy.observation import Known, Observation, Signal, Unknown
from scaler.policy.orders import Order, OrderKind
from scaler.policy.target import Target
from scaler.prometheus.client import PrometheusError

KEPT = Memory(at=900.0, target=7)
PAUSE = Order(at=950.0, order=OrderKind.PAUSE, reason="a deploy", by="me")


class Ledger:
    """Of which nobody is asked anything."""

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        raise NotImplementedError

    def withdraw_drain(self, worker_id: str) -> None:
        raise NotImplementedError


def state(kept: Memory | None = KEPT, name: str = "t") -> TargetState:
    target = Target(name=name, service=name)
    return TargetState(target, DryRun(), Drains(Ledger()), kept or Memory(), Unread(kept))


def look(*, known: bool) -> Look:
    signal: Signal = Known(3.0, 0.5, "q") if known else Unknown("away", "q")
    unknown = Unknown("no sample", "q")
    return Look(
        Observation(
            waiting=signal,
            in_flight=signal,
            idle=signal,
            arrival_rate=unknown,
            burstiness=unknown,
            mean_duration=unknown,
            startup=unknown,
            fleet=None,
        )
    )


def recall(restore: Callable[[Sequence[Due], float], Mapping[str, Memory]]) -> Recall:
    return Recall(restore, Containment())


def rebuilt(due: Sequence[Due], now: float) -> Mapping[str, Memory]:
    return {each.target.name: Memory(at=now, target=5, busy=3) for each in due}


def test_nothing_is_read_while_prometheus_shows_nothing() -> None:
    asked: list[str] = []

    def restore(due: Sequence[Due], _: float) -> Mapping[str, Memory]:
        asked.extend(each.target.name for each in due)
        return {}

    one = state()
    waiting = recall(restore).complete([one], {"t": look(known=False)}, 1000.0)
    assert (asked, list(waiting)) == ([], [])
    assert one.past is not None


def test_it_is_read_once_with_what_was_kept() -> None:
    seen: list[Due] = []

    def restore(due: Sequence[Due], now: float) -> Mapping[str, Memory]:
        seen.extend(due)
        return rebuilt(due, now)

    one, reading = state(), recall(restore)
    for _ in range(3):
        assert not reading.complete([one], {"t": look(known=True)}, 1000.0)
    assert [each.last for each in seen] == [KEPT]
    assert one.memory == Memory(at=1000.0, target=5, busy=3)


def test_what_was_ordered_and_decided_while_blind_stays() -> None:
    one = state()
    one.memory = KEPT._replace(at=990.0, target=9, changed_at=960.0, order=PAUSE)
    recall(rebuilt).complete([one], {"t": look(known=True)}, 1000.0)
    memory = one.memory
    assert (memory.order, memory.target, memory.changed_at, memory.busy) == (PAUSE, 9, 960.0, 3)


def test_what_can_not_be_read_is_tried_three_times_before_deciding_without() -> None:
    contained, tries = Containment(), 0

    def refuse(due: Sequence[Due], now: float) -> Mapping[str, Memory]:
        nonlocal tries
        tries += 1
        raise PrometheusError("too many samples")

    one, reading = state(), Recall(refuse, contained)
    waiting = [list(reading.complete([one], {"t": look(known=True)}, 1000.0)) for _ in range(5)]
    assert waiting == [["t"], ["t"], [], [], []]
    assert tries == 3
    assert one.memory == KEPT
    assert contained.failures()[LoopPart.PAST] == 3


def test_targets_that_prometheus_does_not_show_keep_nobody_waiting() -> None:
    seen, unseen = state(name="seen"), state(name="unseen")
    looks = {"seen": look(known=True), "unseen": look(known=False)}
    assert not recall(rebuilt).complete([seen, unseen], looks, 1000.0)
    assert (seen.past, unseen.past is None) == (None, False)
