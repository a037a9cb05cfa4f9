"""The rule that benches compare with is the one that decided before bursts that come back did."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.simulate import peers
from scaler.simulate.arena import arena, run
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.generators import generate
from scaler.simulate.loads import Generator
from scaler.simulate.world import WorldSettings
from tests.support.former_rule import Former, FormerRule, side_by_side

VIEWS = (
    ViewSettings(),
    ViewSettings(data_age_s=7.0),
    ViewSettings(tick_s=1.0, data_age_s=0.5),
    ViewSettings(tick_s=90.0),
    ViewSettings(missing=0.1, recorded_s=0.0),
    ViewSettings(data_age_s=15.0, outage=(0.0, 300.0)),
    ViewSettings(missing=0.5, outage=(1200.0, 2400.0)),
)


@dataclass(frozen=True)
class Situation:
    """What is replayed; a seed draws the rest."""

    kind: Generator
    wait_weight: float
    startup_s: float
    minimum: int
    more: int
    view: ViewSettings


SITUATIONS = st.builds(
    Situation,
    kind=st.sampled_from([Generator.SERIES, Generator.BURSTY, Generator.POISSON, Generator.BATCH]),
    wait_weight=st.sampled_from([0.0, 0.3, 1.0, 4.0, 10.0]),
    startup_s=st.sampled_from([3.0, 10.0, 45.0, 120.0, 400.0]),
    minimum=st.integers(0, 3),
    more=st.sampled_from([1, 4, 10, 40, 1000]),
    view=st.sampled_from(VIEWS),
)


@settings(max_examples=30, deadline=None)
@given(SITUATIONS, st.integers(0, 1000))
def test_it_says_what_is_decided(case: Situation, seed: int) -> None:
    trace = generate(case.kind, hours=1, mean=60, seed=seed)
    settled = WorldSettings(case.startup_s, startup_spread=0.3, loss_per_hour=0.2)
    given_arena = arena(trace, case.minimum, case.minimum + case.more, settled)
    _, both = side_by_side(given_arena, case.wait_weight, view=case.view, seed=seed)
    assert both.asked >= given_arena.pool.horizon_s / case.view.tick_s - 1
    assert both.differences == []


@pytest.mark.parametrize("wait_weight", [1.0, 4.0, 10.0])
def test_a_run_by_it_scores_the_same(wait_weight: float) -> None:
    trace = generate(Generator.SERIES, burst=20, gap=60, hours=2, seed=5)
    given_arena = arena(trace, 1, 12, WorldSettings(45.0))
    policy = peers.ours(given_arena, wait_weight=wait_weight)
    rule = FormerRule(wait_weight, 1, 12)
    former = run(given_arena, policy, seed=2, strategy=lambda view: Former(rule, view))
    score, _ = side_by_side(given_arena, wait_weight, view=ViewSettings(), seed=2)
    assert former == score
