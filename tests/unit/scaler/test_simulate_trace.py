"""Traces: read, refused, taken from Prometheus."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from common.errors import ConfigError
from scaler.commands.moments import seconds
from scaler.prometheus.client import Prometheus, Sample
from scaler.simulate.past import draw, trace_from
from scaler.simulate.trace import read_csv


@pytest.mark.parametrize("name", ["jobs.csv.gz", "jobs.csv"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_trace_is_read_plain_or_packed(
    tmp_path: Path, name: str, packed: bool, mark: bytes
) -> None:
    content = mark + b"arrival_s,duration_s\n5,30\n5,60.5\n17,1\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if packed else content)
    trace = read_csv(path)
    assert trace.name == "jobs"
    assert trace.arrivals.tolist() == [0.0, 0.0, 12.0]
    assert trace.durations.tolist() == [30.0, 60.5, 1.0]


@pytest.mark.parametrize(
    ("content", "where", "allowed"),
    [
        ("", "line 1", "the header arrival_s,duration_s"),
        ("a,b\n1,2\n", "line 1", "the header arrival_s,duration_s"),
        ("arrival_s,duration_s\n", "trace", "at least one job"),
        ("arrival_s,duration_s\n1\n", "line 2", "two numbers"),
        ("arrival_s,duration_s\n1,x\n", "line 2", "a number of seconds"),
        ("arrival_s,duration_s\n1,nan\n", "line 2", "a finite number of seconds"),
        ("arrival_s,duration_s\n-1,4\n", "line 2", "a finite number of seconds"),
        ("0,10\n5,10\n", "line 1", "the header arrival_s,duration_s"),
        ("arrival_s,duration_s\n0,10\n\n5,10\n", "line 3", "two numbers"),
        ("arrival_s,duration_s\n0,10,1\n", "line 2", "two numbers"),
        ("arrival_s,duration_s\n0," + "9" * 200_000, "trace", "a readable CSV"),
        ("arrival_s,duration_s\n1,0\n", "line 2", "a duration above 0"),
        ("arrival_s,duration_s\n5,1\n4,1\n", "line 3", "an arrival not before the last one, 5"),
    ],
)
def test_a_bad_trace_is_refused_by_its_line(
    tmp_path: Path, content: str, where: str, allowed: str
) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(content)
    with pytest.raises(ConfigError) as refused:
        read_csv(path)
    assert where in refused.value.field
    assert allowed in refused.value.allowed


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv.gz"
    path.write_bytes(gzip.compress(b"arrival_s,duration_s\n" + b"1,2\n" * 99)[:-20])
    with pytest.raises(ConfigError, match="a readable CSV or gzip file"):
        read_csv(path)


class Recorded:
    """Answers as Prometheus would: an arrival every 30 s, all jobs of 30 to 60 s."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def matrix(
        self, query: str, start: float, end: float, step_s: float
    ) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
        self.asked.append(query)
        times = np.arange(start, end + 1, step_s).tolist()
        return [({}, [(at, 2.05) for at in times])]

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
        self.asked.append(query)
        counts = {"30": 0.0, "60": 100.0, "120": 100.0, "+Inf": 100.0}
        return [Sample({"le": bound}, count) for bound, count in counts.items()]


def test_a_trace_comes_out_of_prometheus() -> None:
    recorded = Recorded()
    trace = trace_from(cast(Prometheus, recorded), "video-queue", 7 * 86_400.0, 1e9)
    assert len(trace) == pytest.approx(7 * 1440 * 2.05, rel=0.001)
    assert trace.durations.min() >= 30
    assert trace.durations.max() <= 60
    assert all('queue="video-queue"' in query for query in recorded.asked)


def test_a_queue_without_a_past_is_refused() -> None:
    class Empty(Recorded):
        def matrix(
            self, query: str, start: float, end: float, step_s: float
        ) -> list[tuple[Mapping[str, str], list[tuple[float, float]]]]:
            return []

    with pytest.raises(ConfigError, match="a queue whose jobs it has recorded"):
        trace_from(cast(Prometheus, Empty()), "other", 3600.0, 1e9)


def test_durations_are_drawn_straight_within_a_bucket() -> None:
    buckets = [(10.0, 0.0), (20.0, 50.0), (40.0, 100.0)]
    assert [draw(buckets, share) for share in (0.25, 0.5, 0.75, 1.0)] == [15.0, 20.0, 30.0, 40.0]


@pytest.mark.parametrize(("text", "length"), [("90s", 90), ("12h", 43_200), ("7d", 604_800)])
def test_lengths_of_time(text: str, length: float) -> None:
    assert seconds(text, "since") == length


@pytest.mark.parametrize("text", ["7", "d", "0d", "7 days", "-1h", "1.5h"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="since"):
        seconds(text, "since")
