"""The simulated world by hand: who waits, what is paid, who is stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.policy.observation import Known, Unknown
from scaler.simulate import peers
from scaler.simulate.arena import Arena, Policy, Timeline, arena, run
from scaler.simulate.delayed_view import DelayedView, ViewSettings, arrival_statistics
from scaler.simulate.generators import generate
from scaler.simulate.loads import Generator
from scaler.simulate.strategies import Keda, KedaSettings
from scaler.simulate.trace import Trace, trace_of
from scaler.simulate.world import World, WorldSettings


def trace(*jobs: tuple[float, float]) -> Trace:
    arrivals, durations = zip(*jobs, strict=True)
    return Trace("hand", np.array(arrivals), np.array(durations))


def world(made: Trace, workers: int, **settings: float) -> World:
    return World(made, workers, WorldSettings(**{"startup_s": 10.0, **settings}), seed=1)


def test_a_started_worker_takes_the_oldest_job() -> None:
    here = world(trace((0.0, 30.0), (1.0, 5.0), (2.0, 5.0)), 1)
    here.advance(2.0)
    here.start(1)
    assert (here.busy, len(here.waiting), here.starting) == (1, 2, 1)
    here.advance(60.0)
    assert here.finished
    assert here.starts == [0.0, 12.0, 17.0]


def test_every_second_of_every_worker_is_paid() -> None:
    here = world(trace((0.0, 30.0)), 1)
    here.advance(10.0)
    here.start(2)
    here.advance(40.0)
    assert here.retire_idle(5) == 3
    here.advance(100.0)
    here.settle()
    assert here.paid_s == 40 + 2 * 30


def test_a_killed_job_begins_again_and_its_wait_counts_to_the_last_begin() -> None:
    here = world(trace((0.0, 30.0)), 1)
    here.advance(5.0)
    here.start(1)
    here.stop_busy(1, grace_s=4.0)
    here.advance(60.0)
    assert (here.killed, here.wasted_s) == (1, 9.0)
    assert here.starts == [15.0]
    assert here.finished


def test_one_who_may_finish_leaves_after_its_job() -> None:
    here = world(trace((0.0, 30.0)), 1)
    here.advance(5.0)
    here.stop_busy(1, math.inf)
    assert (here.running, here.total) == (0, 1)
    here.advance(60.0)
    assert (here.killed, here.total, here.done) == (0, 0, 1)


def test_lost_workers_are_replaced_and_their_jobs_done_again() -> None:
    made = trace(*((float(n), 40.0) for n in range(50)))
    here = world(made, 5, loss_per_hour=20.0)
    for tick in range(0, 4000, 5):
        here.advance(float(tick))
        assert here.total == 5
    assert here.lost > 0
    assert here.wasted_s > 0
    assert here.finished


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["ours", "keda", "plan"]), st.integers(1, 12))
def test_every_job_is_done_once_and_ours_stops_nobody(seed: int, kind: str, maximum: int) -> None:
    made = generate(Generator.BURSTY, rate=3, hours=0.5, mean=60, seed=seed)
    given_arena = arena(
        made, 0, maximum, WorldSettings(10.0, startup_spread=0.5, start_failure=0.1)
    )
    policy = {
        "ours": peers.ours(given_arena),
        "keda": peers.keda(given_arena, 1.0, 60.0, idle_first=False),
        "plan": peers.plan(given_arena),
    }[kind]
    line = Timeline()
    score = run(given_arena, policy, seed=seed, timeline=line)
    assert score.jobs == len(made)
    assert score.paid_s >= float(made.durations.sum()) - 1e-6
    assert max(line.wanted) <= maximum
    if kind == "ours":
        assert score.killed == 0
        assert score.wait_mean_s >= -1e-9


def small() -> Arena:
    return arena(
        generate(Generator.BURSTY, rate=3, hours=4.0, mean=60, seed=3), 1, 50, WorldSettings(20.0)
    )


def test_a_run_is_the_same_each_time_and_not_with_another_seed() -> None:
    given_arena = small()
    policy = peers.ours(given_arena)
    assert run(given_arena, policy, seed=4) == run(given_arena, policy, seed=4)
    assert run(given_arena, policy, seed=4) != run(given_arena, policy, seed=5)


def test_the_target_never_falls_in_an_outage() -> None:
    given_arena = small()
    line = Timeline()
    view = ViewSettings(5.0, outage=(3600.0, 4200.0))
    run(given_arena, peers.ours(given_arena), view=view, timeline=line)
    inside = [w for at, w in zip(line.at, line.wanted, strict=True) if 3600 <= at < 4200]
    assert inside == sorted(inside)


def test_a_fixed_fleet_of_the_maximum_waits_for_its_own_start_alone() -> None:
    given_arena = small()
    line = Timeline()
    fixed = run(given_arena, peers.fixed(50), timeline=line)
    begun = [total for at, total in zip(line.at, line.total, strict=True) if at > peers.TICK_S]
    assert set(begun) == {50}
    late = given_arena.world.startup_s + peers.TICK_S
    assert all(n == 0 for at, n in zip(line.at, line.waiting, strict=True) if at > late)
    assert (fixed.wait_p50_s, fixed.killed) == (0.0, 0)
    assert fixed.paid_c0 > 1


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0.0, [0, 0, 1, 2, 2, 2]),
        (2.0, [0, 0, 1, 2, 2, 2]),
        (3.0, [0, 0, 1, 1, 2, 2]),
        (10.0, [0, 0, 0, 0, 1, 2]),
        (12.0, [0, 0, 0, 0, 1, 2]),
        (13.0, [0, 0, 0, 0, 1, 1]),
    ],
)
def test_what_is_seen_is_as_old_as_it_is_said_to_be(age_s: float, expected: list[int]) -> None:
    made = trace((0.0, 100.0), (7.0, 100.0), (13.0, 100.0))
    here = world(made, 1)
    view = DelayedView(
        made, ViewSettings(5.0, data_age_s=age_s), 10.0, np.arange(0.0, 60.0, 5.0), 0
    )
    seen = []
    for tick in range(0, 30, 5):
        here.advance(max(0.0, tick - view.before_s))
        view.sample(here)
        here.advance(float(tick))
        signal = view.observe(here).waiting
        assert isinstance(signal, Known)
        seen.append(signal.value)
    assert seen == expected


def test_missing_scrapes_are_unknown() -> None:
    made = trace((0.0, 1.0))
    view = DelayedView(made, ViewSettings(5.0, missing=0.5), 10.0, np.arange(0.0, 5000.0, 5.0), 0)
    here = world(made, 1)
    view.sample(here)
    unknown = sum(isinstance(view.observe(here).waiting, Unknown) for _ in range(1000))
    assert 400 < unknown < 600


def test_arrival_statistics_are_the_recording_rules() -> None:
    # 60 arrivals in the last minute of ten, none before.
    arrivals = np.arange(541.0, 601.0)
    found = arrival_statistics(arrivals, np.array([600.0]))
    assert found.rates[0] == pytest.approx(60 / 300)
    assert found.recent_rates[0] == pytest.approx(60 / 60)
    counts = np.array([60] + [0] * 9)
    assert found.dispersions[0] == pytest.approx(counts.var() / counts.mean(), rel=1e-6)
    early = np.arange(1.0, 200.0)
    assert arrival_statistics(early, np.array([239.0])).dispersions[0] > 1.0
    few = arrival_statistics(early, np.array([239.0]), 60.0)
    assert few.dispersions[0] == 1.0, "too few minutes"


def test_the_rate_of_the_last_minute_is_as_old_as_the_data() -> None:
    # Ten a minute at first, then sixty; the data is half a minute old.
    arrivals = np.concatenate([np.arange(0.0, 600.0, 6.0), np.arange(600.0, 900.0)]) + 0.5
    made = trace_of("made", arrivals, np.full(len(arrivals), 1.0))
    ticks = np.array([600.0, 630.0, 660.0, 690.0])
    view = DelayedView(made, ViewSettings(30.0, data_age_s=30.0), 10.0, ticks, 0)
    here = world(made, 1)
    seen = []
    for _ in ticks:
        view.sample(here)
        rate = view.observe(here).recent_rate
        assert isinstance(rate, Known)
        assert rate.age_s == 30.0
        seen.append(rate.value)
    assert seen == pytest.approx([1 / 6, 1 / 6, 35 / 60, 1.0])


# KEDA and the HPA, by the rules of the Kubernetes documentation


def hpa(load: int, current: int, settings: KedaSettings) -> int:
    made = trace(*((0.0, 1e6) for _ in range(load)))
    here = world(made, current)
    here.advance(1.0)
    return Keda(settings).step(here)


@pytest.mark.parametrize(
    ("load", "current", "value", "wanted"),
    [
        (5, 5, 1.0, 5),
        (21, 20, 1.0, 20),  # within the tolerance of a tenth
        (23, 20, 1.0, 23),
        (9, 1, 1.0, 5),  # four more at most, or twice as many
        (90, 10, 1.0, 20),
        (90, 10, 20.0, 5),
        (90, 40, 1.0, 50),
    ],
)
def test_the_hpa_scales_as_documented(load: int, current: int, value: float, wanted: int) -> None:
    assert hpa(load, current, KedaSettings(1, 50, value=value, window_s=0.0)) == wanted


def test_the_hpa_holds_the_highest_of_its_window() -> None:
    made = trace(*((0.0, 20.0) for _ in range(8)))
    here = world(made, 8)
    keda = Keda(KedaSettings(1, 50, value=1.0, window_s=300.0))
    wanted = []
    for tick in range(15, 400, 15):
        here.advance(float(tick))
        wanted.append(keda.step(here))
    assert wanted[:20] == [8] * 20
    assert wanted[-1] == 1


def test_keda_goes_to_zero_after_its_cooldown_and_back_at_a_poll() -> None:
    made = trace((0.0, 5.0), (1000.0, 5.0))
    here = world(made, 1)
    keda = Keda(KedaSettings(0, 50, value=1.0, window_s=0.0))
    wanted = {}
    for tick in range(15, 1100, 15):
        here.advance(float(tick))
        wanted[tick] = keda.step(here)
    assert wanted[285] == 1
    assert wanted[330] == 0
    assert wanted[990] == 0
    assert max(wanted[tick] for tick in (1005, 1020, 1035)) == 1


def test_labels_tell_the_settings() -> None:
    given_arena = small()
    assert peers.plan(given_arena).label == "thresholds 2/0.5, cooldown 60 s, grace 10 s"
    assert peers.ours(given_arena, wait_weight=4.0, headroom=0.5).label == "w 4, z 0.5"
    assert isinstance(peers.fixed(3), Policy)
