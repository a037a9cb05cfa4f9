"""What is usual of a series of bursts is learned again from the last hour that was recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from statistics import mean

import pytest

from scaler.loop.restore import Due, Restore
from scaler.policy.decision import Decision
from scaler.policy.mean_reversion import Moments
from scaler.policy.memory import Memory
from scaler.policy.observation import Known
from scaler.policy.target import Target
from scaler.policy.usual import NOTHING
from scaler.prometheus.client import LabelledPoints, Prometheus, PrometheusError
from tests.support.burst_series import AGE_S, decided, observed, signals
from tests.support.recorded_past import recorded_past, series_of

pytestmark = pytest.mark.integration

LENGTH, RESTART = 4300, 4000
BEGIN = time.time() // 1 - 6000.0
TARGET = Target(name="series", service="series", queue="series", max_workers=40)
BROKEN = Target(name="broken", service="broken", queue="broken", max_workers=40)
UNSEEN = range(1500, 2600)
"""Seconds in which nothing of it was scraped."""


def recorded(target: Target) -> Iterator[str]:
    """The samples in OpenMetrics, one series after the other."""
    for signal, series in series_of(target.queue).items():
        for second in range(RESTART):
            if target is TARGET or second not in UNSEEN:
                yield f"{series} {signals(second)[signal]!r} {BEGIN + second - AGE_S:.3f}"
    if target is TARGET:
        for second, decision in enumerate(unbroken()[0][:RESTART]):
            replicas = f'autoscaler_target_replicas{{target="{target.name}"}}'
            yield f"{replicas} {decision.replicas} {BEGIN + second}"


@cache
def unbroken() -> tuple[Sequence[Decision], Sequence[Memory]]:
    return decided(Memory(), TARGET, BEGIN, range(LENGTH))


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    blocks = {target.name: recorded(target) for target in (TARGET, BROKEN)}
    with recorded_past(tmp_path_factory.mktemp("usual"), blocks) as client:
        yield client


def recalled(
    prometheus: Prometheus, last: Memory | None, *others: Target, target: Target = TARGET
) -> Memory:
    """What a scaler remembers that starts with `last`, among other targets."""
    seen = observed(RESTART, 1)
    due = [Due(target, last, seen), *(Due(each, None, seen) for each in others)]
    return Restore(prometheus)(due, BEGIN + RESTART)[target.name]


def kept(second: int) -> Memory:
    """By a scaler that decided last in that second."""
    return unbroken()[1][second]


def assert_alike(found: Moments, known: Moments, within: float) -> None:
    assert found.mean == pytest.approx(known.mean, rel=within)
    assert found.variance == pytest.approx(known.variance, rel=2 * within)
    assert found.persistence == pytest.approx(known.persistence, abs=within)
    assert found.returns == pytest.approx(known.returns, rel=2 * within)
    assert found.weight == pytest.approx(known.weight, rel=2 * within)


def differences(memory: Memory) -> list[int]:
    """By how many workers each of the decisions that follow is off that of the scaler that was
    never stopped."""
    decisions = unbroken()[0]
    running = decisions[RESTART - 1].replicas or 0
    found, _ = decided(memory, TARGET, BEGIN, range(RESTART, LENGTH), running)
    pairs = zip(found, decisions[RESTART:], strict=True)
    return [abs((one.replicas or 0) - (other.replicas or 0)) for one, other in pairs]


def share_equal(memory: Memory) -> float:
    """How many of them are the very same, where none is off by more than what rounding makes."""
    off = differences(memory)
    assert max(off) <= 1
    return off.count(0) / len(off)


def test_the_series_is_one_that_is_worth_remembering() -> None:
    demand = kept(RESTART - 1).usual.demand
    assert demand.returns >= 2.0
    assert demand.persistence < 0.9
    forgetful = kept(RESTART - 1)._replace(usual=NOTHING)
    assert mean(differences(forgetful)) > 3.0, "its loss would be noticed"


def test_from_prometheus_alone(prometheus: Prometheus) -> None:
    found, known = recalled(prometheus, None), kept(RESTART - 1)
    assert_alike(found.usual.demand, known.usual.demand, 0.03)
    assert found.usual.rate.mean == pytest.approx(known.usual.rate.mean, rel=0.03)
    assert found.usual.rate.persistence == pytest.approx(known.usual.rate.persistence, abs=0.1)
    assert found.usual.busy.value == pytest.approx(known.usual.busy.value, rel=0.03)
    assert share_equal(found) > 0.75


def test_among_many_targets_of_which_fewer_moments_are_looked_at(prometheus: Prometheus) -> None:
    others = [Target(name=f"t{n}", service=f"s{n}", queue=f"q{n}") for n in range(200)]
    found = recalled(prometheus, None, *others)
    assert_alike(found.usual.demand, kept(RESTART - 1).usual.demand, 0.1)
    assert max(differences(found)) <= 1


def test_of_very_many_it_is_learned_anew_how_short_a_burst_lasts(prometheus: Prometheus) -> None:
    """What lies fifty seconds apart says nothing of a horizon of six."""
    seen = replace(observed(RESTART, 1), startup=Known(5.0, AGE_S, "q"))
    others = [Target(name=f"t{n}", service=f"s{n}", queue=f"q{n}") for n in range(1000)]
    due = [Due(each, None, seen) for each in (TARGET, *others)]
    demand = Restore(prometheus)(due, BEGIN + RESTART)[TARGET.name].usual.demand
    known = kept(RESTART - 1).usual.demand
    assert demand.mean == pytest.approx(known.mean, rel=0.1)
    assert demand.returns > 2.0
    assert demand.persistence > 0.9
    assert demand.pairs < 60.0


def test_a_memory_of_an_older_version_is_completed(prometheus: Prometheus) -> None:
    older = kept(RESTART - 5)._replace(usual=NOTHING)
    found = recalled(prometheus, older)
    assert (found.at, found.changed_at) == (BEGIN + RESTART - 1.0, kept(RESTART - 5).changed_at)
    assert_alike(found.usual.demand, kept(RESTART - 1).usual.demand, 0.03)
    assert share_equal(found) > 0.75


@pytest.mark.parametrize("down_s", [20, 700, 1900])
def test_what_was_kept_goes_on_where_it_ended(prometheus: Prometheus, down_s: int) -> None:
    found, known = recalled(prometheus, kept(RESTART - down_s)), kept(RESTART - 1)
    assert_alike(found.usual.demand, known.usual.demand, 0.03)
    assert share_equal(found) > 0.75
    if down_s < 1200:
        # All of it was looked at as closely as it was decided by.
        assert_alike(found.usual.demand, known.usual.demand, 1e-5)


def test_what_is_not_known_teaches_nothing(prometheus: Prometheus) -> None:
    found, known = recalled(prometheus, None, target=BROKEN), kept(RESTART - 1)
    assert found.usual.demand.weight < known.usual.demand.weight - 400.0
    assert found.usual.demand.mean == pytest.approx(known.usual.demand.mean, rel=0.1)
    assert found.usual.demand.persistence == pytest.approx(known.usual.demand.persistence, abs=0.1)


class Forgetful(Prometheus):
    """Refuses, or has nothing of, what is asked for the last hour."""

    refuses = True

    def matrix(
        self, query: str, start: float, end: float, step_s: float, timeout_s: float | None = None
    ) -> list[LabelledPoints]:
        if "last_over_time" not in query:
            return super().matrix(query, start, end, step_s, timeout_s)
        if self.refuses:
            raise PrometheusError("too many samples")
        return []


@pytest.mark.parametrize("refuses", [True, False])
def test_an_hour_that_cannot_be_read_begins_at_nothing_known(
    prometheus: Prometheus, refuses: bool
) -> None:
    asked = Forgetful(prometheus.url, timeout_s=60.0)
    asked.refuses = refuses
    last = kept(RESTART - 1)._replace(usual=NOTHING)
    try:
        assert recalled(asked, last) == last
        alone = recalled(asked, None)
    finally:
        asked.close()
    assert alone.usual.demand.weight == pytest.approx(1010.0, rel=0.05), "what was seen closely"
