"""What the page asks of Prometheus, and how seldom."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, Sample
from scaler.web.page_data import PageData, Series
from tests.support.waiting import until

NOW = 1_700_000_000.0
DAY_STEP = 360.0
TARGET = Target()


class Source(Prometheus):
    """Every step's value is its time; notes what was asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.ranges: list[tuple[float, float]] = []
        self.vectors = 0
        self.away = False
        self.held: threading.Event | None = None

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
        self.vectors += 1
        if self.held is not None:
            self.held.wait(60)
        if self.away:
            raise PrometheusError("away")
        return []

    def matrix(
        self,
        query: str,
        start: float,
        end: float,
        step_s: float,
        timeout_s: float | None = None,
    ) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        self.ranges.append((start, end))
        if self.away:
            raise PrometheusError("away")
        times = [start + step_s * i for i in range(round((end - start) / step_s) + 1)]
        return [({"series": "waiting"}, [(at, at) for at in times])]


class Clocks:
    """A wall clock that may be set, and time that passes."""

    def __init__(self) -> None:
        self.wall = NOW
        self.passed = 0.0

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def data(source: Source, clocks: Clocks) -> PageData:
    return PageData(source, 5.0, lambda: clocks.wall, lambda: clocks.passed)


def is_whole(series: Series) -> bool:
    """Every step has the value of its own time."""
    row = series.values["waiting"]
    times = [series.start + series.step_s * i for i in range(241)]
    return row == times


def test_a_day_is_asked_for_once_and_then_what_is_new_once_a_step(
    data: PageData, source: Source, clocks: Clocks
) -> None:
    for _ in range(3600):
        assert is_whole(data.series(TARGET, "24h"))
        clocks.pass_s(1)
    first, *others = source.ranges
    assert first[1] - first[0] == 86_400
    assert len(others) == 3600 / DAY_STEP
    assert all(end - start <= 2 * DAY_STEP for start, end in others)
    newest = data.series(TARGET, "24h").end
    assert clocks.wall - DAY_STEP < newest <= clocks.wall


@pytest.mark.parametrize("span", ["10m", "1h", "24h"])
def test_no_chart_is_asked_for_more_often_than_the_refresh_interval(
    data: PageData, source: Source, clocks: Clocks, span: str
) -> None:
    for _ in range(100):
        assert is_whole(data.series(TARGET, span))
        clocks.pass_s(1)
    assert len(source.ranges) <= 100 / 5 + 1


@pytest.mark.parametrize("step", [-86_400.0, -3_600.0, -120.0, 120.0, 3_600.0, 200_000.0])
@pytest.mark.parametrize("span", ["10m", "24h"])
def test_a_clock_that_was_set_is_followed_within_a_step(
    data: PageData, clocks: Clocks, span: str, step: float
) -> None:
    data.series(TARGET, span)
    data.alerts()
    clocks.wall += step
    clocks.pass_s(DAY_STEP)
    series = data.series(TARGET, span)
    assert is_whole(series)
    assert 0 <= clocks.wall - series.end < series.step_s


def test_alerts_are_asked_for_again_though_the_clock_was_set_back(
    data: PageData, source: Source, clocks: Clocks
) -> None:
    data.alerts()
    clocks.wall -= 3_600
    for _ in range(60):
        clocks.pass_s(1)
        data.alerts()
    assert source.vectors == 13


def test_an_outage_leaves_what_was_known_and_is_made_up_for(
    data: PageData, source: Source, clocks: Clocks
) -> None:
    before = data.series(TARGET, "1h")
    source.away = True
    clocks.pass_s(900)
    assert data.series(TARGET, "1h") is before
    assert data.error == "away"
    assert data.silent_since == NOW
    for _ in range(20):
        clocks.pass_s(1)
        data.series(TARGET, "1h")
    assert len(source.ranges) <= 7, "tried again each refresh interval, not each time"
    source.away = False
    clocks.pass_s(5)
    assert is_whole(data.series(TARGET, "1h"))
    assert data.error is None


def test_what_was_never_known_is_no_series_of_the_span(data: PageData, source: Source) -> None:
    source.away = True
    series = data.series(TARGET, "1h")
    assert series.values == {}
    assert (series.step_s, series.end - series.start) == (15, 3600)


def test_while_one_asks_the_others_take_what_there_is(
    data: PageData, source: Source, clocks: Clocks
) -> None:
    data.alerts()
    clocks.pass_s(6)
    source.held = threading.Event()
    asking = threading.Thread(target=data.alerts)
    asking.start()
    until(lambda: source.vectors == 2, "the question that hangs")
    assert data.alerts() == []
    assert is_whole(data.series(TARGET, "1h")), "other questions are asked meanwhile"
    source.held.set()
    asking.join()
    assert source.vectors == 2


def test_a_thousand_charts_leave_a_bounded_memory_and_those_in_use(
    data: PageData, source: Source
) -> None:
    for number in range(1_000):
        data.series(Target(name=f"t{number}"), "1h")
        data.series(TARGET, "1h")
    assert len(source.ranges) == 1_001
    assert len(data._kept) <= 128
