"""The loop's time passes as time passes, whatever becomes of the wall clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.loop.clock import LoopClock


@dataclass
class Clocks:
    """A wall clock and the time that really passes."""

    wall: float = 1_700_000_000.0
    passed: float = 50.0

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds

    @property
    def clock(self) -> LoopClock:
        return LoopClock(lambda: self.wall, lambda: self.passed)


def test_time_passes_with_the_wall_clock() -> None:
    clocks = Clocks()
    clock = clocks.clock
    clocks.wait(5)
    assert clock.moment() == (clocks.wall, 0.0)
    assert clock.now() == clocks.wall


@pytest.mark.parametrize("step", [-3600.0, -120.0, 120.0, 3600.0])
def test_a_step_is_told_once_and_apart_from_the_time_that_passed(step: float) -> None:
    clocks = Clocks()
    clock = clocks.clock
    before = clock.moment().now
    clocks.wait(2)
    clocks.wall += step
    now, stepped = clock.moment()
    assert now == clocks.wall
    assert stepped == pytest.approx(step)
    assert now - before == pytest.approx(2 + step)
    clocks.wait(1)
    assert clock.moment() == (clocks.wall, 0.0)


def test_a_wall_clock_that_stands_still_does_not_stop_time() -> None:
    clocks = Clocks()
    clock = clocks.clock
    total_shift = 0.0
    first = now = clock.moment().now
    for _ in range(60):
        clocks.passed += 1
        now, stepped = clock.moment()
        total_shift += stepped
    assert now - first - total_shift == pytest.approx(60)


def test_a_clock_that_is_kept_right_in_small_steps_is_not_set() -> None:
    clocks = Clocks()
    clock = clocks.clock
    clocks.wait(1)
    clocks.wall += 0.4
    assert clock.moment().stepped_s == 0.0


def test_a_step_that_no_moment_has_told_of_yet_is_known_to_who_asks() -> None:
    clocks = Clocks()
    clock = clocks.clock
    assert clock.unseen_step_s(clocks.wall) == 0.0
    clocks.wall -= 3600
    assert clock.unseen_step_s(clocks.wall) == pytest.approx(3600)
    clock.moment()
    assert clock.unseen_step_s(clocks.wall) == 0.0


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(-7200, 7200)), max_size=30))
def test_what_passes_apart_from_steps_is_what_really_passed(
    story: list[tuple[float, float]],
) -> None:
    clocks = Clocks()
    clock = clocks.clock
    first, began, shifted = clock.moment().now, clocks.passed, 0.0
    now = first
    for waited, step in story:
        clocks.wait(waited)
        clocks.wall += step
        now, stepped = clock.moment()
        shifted += stepped
    assert now - first - shifted == pytest.approx(clocks.passed - began, abs=1e-3)
    assert abs(now - clocks.wall) <= 1.0
