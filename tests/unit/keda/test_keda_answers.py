"""From what is known to what is answered."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.errors import InvalidInputError
from scaler.external.answers import of_queries, of_target
from scaler.external.decisions import ControllerDecisions
from scaler.external.errors import UnknownValueError
from scaler.external.metadata import Trigger, parse
from scaler.external.upstream import KnownValue, Missing, Outcome
from scaler.policy.target import Target
from tests.support.crew import Crew, controller_of
from tests.support.keda import TARGET, Board

NOW = 1_000.0


def answer(trigger: Trigger, *outcomes: Outcome) -> tuple[float, bool]:
    said = of_queries(trigger, dict(zip(trigger.value_queries, outcomes, strict=True)), now=NOW)
    return said.value, said.active


def sample(value: float, age_s: float = 1.0) -> KnownValue:
    return KnownValue(value, at=0.0, asked_at=NOW - age_s)


@pytest.mark.parametrize(
    ("demand", "in_flight", "per_worker", "expected"),
    [
        (0, 0, "1", (0, False)),
        (7, 0, "1", (7, True)),
        (7, 3, "2", (3.5, True)),
        (4, 4, "4", (4, True)),  # no busy worker is one too many
        (0, 2, "1", (2, True)),  # the two series are of different moments
    ],
)
def test_a_queue_wants_workers_and_never_less_than_are_busy(
    demand: float, in_flight: float, per_worker: str, expected: tuple[float, bool]
) -> None:
    trigger = parse({"queue": "q", "perWorker": per_worker})
    assert answer(trigger, sample(demand), sample(in_flight)) == expected


def test_a_query_is_active_above_its_threshold_or_with_work_in_flight() -> None:
    plain = parse({"query": "a", "threshold": "1", "activationThreshold": "5"})
    assert answer(plain, sample(5)) == (5, False)
    assert answer(plain, sample(5.1)) == (5.1, True)
    careful = parse(
        {"query": "a", "threshold": "1", "activationThreshold": "5", "inFlightQuery": "b"}
    )
    assert answer(careful, sample(0), sample(1)) == (0, True)
    assert answer(careful, sample(0), sample(0)) == (0, False)
    with pytest.raises(UnknownValueError, match="no data"):
        answer(careful, sample(0), Missing("no data", sample(0)))


def test_hold_keeps_the_last_value_and_says_its_age() -> None:
    trigger = parse({"query": "a", "threshold": "1", "onUnknown": "hold", "holdSeconds": "60"})
    said = of_queries(trigger, {"a": Missing("no data", sample(8, age_s=60))}, now=NOW)
    assert (said.value, said.active, said.age_s) == (8, True, 60)
    assert said.reason == "held for 60 s, because no data: 8"
    with pytest.raises(UnknownValueError, match="61 s old, more than holdSeconds 60"):
        answer(trigger, Missing("no data", sample(8, age_s=61)))
    with pytest.raises(UnknownValueError, match="no earlier value"):
        answer(trigger, Missing("no data", None))


def test_a_stand_in_is_active_whatever_the_activation_threshold() -> None:
    trigger = parse(
        {
            "query": "a",
            "threshold": "1",
            "activationThreshold": "9",
            "onUnknown": "value",
            "unknownValue": "2",
        }
    )
    assert answer(trigger, Missing("no data", None)) == (2, True)


@pytest.mark.parametrize("step", [-3_600.0, -120.0, 3_600.0])
def test_a_loop_that_stopped_is_seen_whatever_the_clock_says(tmp_path: Path, step: float) -> None:
    crew, trigger = Crew(), parse({"target": TARGET})
    controller = controller_of(crew, [Target()], tmp_path)
    decisions = ControllerDecisions(controller)
    crew.now += step
    decided = decisions.latest(TARGET)
    assert decided is not None
    now = decided.made_at + 119
    assert of_target(trigger, decisions, now=now, max_age_s=120).age_s == pytest.approx(119)
    with pytest.raises(UnknownValueError, match="121 s old"):
        of_target(trigger, decisions, now=now + 2, max_age_s=120)
    controller.cycle()
    again = decisions.latest(TARGET)
    assert again is not None
    assert again.made_at >= decided.made_at
    controller.history.close()


def test_a_decision_is_passed_on_with_its_reason() -> None:
    board, trigger = Board(), parse({"target": TARGET})

    def read(max_age_s: float = 120.0) -> tuple[float, bool, str]:
        said = of_target(trigger, board, now=time.monotonic(), max_age_s=max_age_s)
        return said.value, said.active, said.reason

    with pytest.raises(UnknownValueError, match="nothing is decided"):
        read()
    board.decide(0, active=True, reason="a job is in progress")
    assert read() == (0, True, "a job is in progress")
    board.decide(3)
    assert read()[:2] == (3, True)
    board.decide(3, age_s=121)
    with pytest.raises(UnknownValueError, match="121 s old"):
        read()
    board.decide(None, reason="nothing was ever known")
    with pytest.raises(UnknownValueError, match=f"no number .*{TARGET}.*: nothing was ever known"):
        read()
    board.rename(*(f"t{n}" for n in range(12)))
    with pytest.raises(InvalidInputError, match=r"a configured target: t0, t1, .* and 2 more$"):
        read()
