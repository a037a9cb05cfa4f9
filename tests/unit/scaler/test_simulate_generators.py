"""Generated traces: as large, as long and as bursty as asked, and the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.errors import ConfigError, InvalidInputError
from scaler.simulate.generators import generate
from scaler.simulate.loads import NUMBERS, Generator
from scaler.simulate.trace import Floats

RATED = [kind for kind in Generator if kind in NUMBERS["rate"].defaults]


@pytest.mark.parametrize("kind", Generator)
def test_a_seed_makes_the_same_trace_again_and_another_one_not(kind: Generator) -> None:
    first, again, other = (generate(kind, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.arrivals, again.arrivals)
    assert np.array_equal(first.durations, again.durations)
    assert not np.array_equal(first.durations, other.durations[: len(first)])


@pytest.mark.parametrize("kind", Generator)
def test_every_trace_is_sorted_of_the_length_and_mean_that_are_asked(kind: Generator) -> None:
    trace = generate(kind, hours=200, mean=60, seed=7)
    assert trace.name == kind
    assert trace.arrivals[0] == 0
    assert np.all(np.diff(trace.arrivals) >= 0)
    assert trace.span_s == pytest.approx(200 * 3600, rel=0.02)
    assert trace.durations.min() > 0
    assert trace.durations.mean() == pytest.approx(60, rel=0.06)


@pytest.mark.parametrize("kind", RATED)
def test_loads_with_a_rate_are_as_large_as_asked(kind: Generator) -> None:
    trace = generate(kind, rate=3, hours=240, seed=7)
    assert len(trace) == pytest.approx(3 * 240 * 60, rel=0.1)


def test_bursts_are_burstier_than_chance() -> None:
    def dispersion(kind: Generator) -> float:
        arrivals = generate(kind, rate=3, hours=100, mean=60, seed=7).arrivals
        counts = np.bincount((arrivals // 120).astype(int))
        return float(counts.var() / counts.mean())

    assert dispersion(Generator.POISSON) == pytest.approx(1.0, abs=0.2)
    assert dispersion(Generator.BURSTY) > 5


def bursts_of(arrivals: Floats, gap: float) -> list[Floats]:
    """The arrivals of each burst: no pause in one is half a gap long."""
    return np.split(arrivals, np.flatnonzero(np.diff(arrivals) > gap / 2) + 1)


def test_bursts_come_back_after_their_gaps() -> None:
    bursts = bursts_of(
        generate(Generator.SERIES, burst=60, gap=300, hours=200, seed=1).arrivals, 300
    )
    lengths = [burst[-1] - burst[0] for burst in bursts]
    begins = np.array([burst[0] for burst in bursts])
    sizes = np.array([len(burst) for burst in bursts])
    # The time of the arrivals and the gap make a period.
    assert np.diff(begins).mean() == pytest.approx(30 + 300, rel=0.02)
    assert np.diff(begins).min() > 0.5 * 300
    assert np.diff(begins).max() < 2 * 30 + 1.5 * 300
    assert 25 < np.mean(lengths) <= max(lengths) <= 30
    assert sizes.mean() == pytest.approx(60, rel=0.05)
    assert np.log(sizes).std() == pytest.approx(0.5, abs=0.05)
    late = np.concatenate([burst - burst[0] for burst in bursts if len(burst) > 50])
    assert late.mean() == pytest.approx(15, abs=0.5)


def test_a_burst_may_come_all_at_once_and_has_a_job_at_least() -> None:
    arrivals = generate(Generator.SERIES, burst=1, within=0, gap=60, hours=10, seed=2).arrivals
    assert all(len(set(burst)) == 1 for burst in bursts_of(arrivals, 60))
    assert len(set(arrivals)) == pytest.approx(10 * 60, rel=0.1)


def test_thin_load_is_a_job_every_thirteen_minutes_by_chance() -> None:
    trace = generate(Generator.THIN, hours=2000, seed=1)
    pauses = np.diff(trace.arrivals)
    assert pauses.mean() == pytest.approx(13 * 60, rel=0.03)
    assert pauses.std() == pytest.approx(pauses.mean(), rel=0.05)
    assert trace.durations.mean() == pytest.approx(155, rel=0.03)


def test_a_ramp_climbs_straight_to_its_peak_and_down_again() -> None:
    numbers = {"peak": 20.0, "trough": 4.0, "wave": 2.0}
    arrivals = generate(Generator.RAMP, **numbers, hours=400, seed=1).arrivals
    tenths = np.bincount((arrivals / 7200 % 1.0 * 10).astype(int)) / (200 * 12)
    assert tenths == pytest.approx([5.6, 8.8, 12, 15.2, 18.4, 18.4, 15.2, 12, 8.8, 5.6], rel=0.04)


def test_a_ramp_without_slope_is_a_steady_load() -> None:
    steady = generate(Generator.RAMP, peak=3, trough=3, hours=100, seed=1)
    assert len(steady) == pytest.approx(3 * 60 * 100, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (
            Generator.SERIES,
            {"rate": 2},
            "--rate: 2 is not allowed; allowed: only with --generate p",
        ),
        (Generator.THIN, {"burst": 3}, "--burst: 3 .* only with --generate series"),
        (Generator.POISSON, {"wave": 1}, "--wave: 1 .* only with --generate ramp"),
        (Generator.SERIES, {"gap": 0}, "--gap: 0 is not allowed; allowed: 1 to 86400"),
        (Generator.SERIES, {"within": math.nan}, "--within: nan .* 0 to 3600"),
        (Generator.RAMP, {"hours": math.inf}, "--hours: inf .* 0.01 to 100000"),
        (Generator.RAMP, {"peak": 1, "trough": 2}, "--trough: 2 .* at most --peak, which is 1"),
        (Generator.SERIES, {"burst": 1e5, "hours": 1e4}, "--burst: .* at most 5000000 jobs in all"),
        (Generator.RAMP, {"peak": 1e4, "hours": 1e4}, "--peak: .* at most 5000000 jobs in all"),
        (Generator.BATCH, {"rate": 1e4, "hours": 1e4}, "--rate: .* at most 5000000 jobs in all"),
        (Generator.POISSON, {"rate": 1e4, "hours": 1e4}, "--rate: .* at most 5000000 jobs in all"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(
    kind: Generator, given: dict[str, float], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        generate(kind, seed=1, **given)


def test_a_load_without_a_job_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one job"):
        generate(Generator.THIN, rate=1e-6, hours=0.01, seed=1)


@pytest.mark.parametrize("kind", Generator)
def test_the_help_says_whose_a_number_is(kind: Generator) -> None:
    """Where few have it they are named, where most have it those with another default."""
    for number in NUMBERS.values():
        usual = max(number.defaults.values(), key=list(number.defaults.values()).count)
        if kind in number.defaults and (len(number.defaults) < 4 or number.defaults[kind] != usual):
            assert f"{kind}" in number.help
            assert f"{number.defaults[kind]:.3g}" in number.help
