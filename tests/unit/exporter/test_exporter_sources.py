"""Sources and their time."""

from __future__ import annotations

import threading
import time

import pytest

from common.ledger import LedgerError
from exporter.pages import budget
from exporter.sources import SourceError, SourceReader


@pytest.mark.parametrize("error", [SourceError("gone"), LedgerError("gone")])
def test_a_failure_is_a_reading(error: Exception) -> None:
    def read() -> int:
        raise error

    reading = SourceReader[int]("s").begin(read).result(time.monotonic() + 5)
    assert (reading.value, reading.error) == (None, "gone")


@pytest.mark.parametrize("fault", [KeyError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "")])
def test_a_fault_of_ours_is_a_reading_too(fault: Exception) -> None:
    def read() -> int:
        raise fault

    reading = SourceReader[int]("s").begin(read).result(time.monotonic() + 5)
    assert reading.value is None
    assert type(fault).__name__ in reading.error


def test_a_hung_source_heaps_up_no_work() -> None:
    release, begun = threading.Event(), []

    def hang() -> int:
        begun.append(1)
        release.wait(30)
        return 1

    source = SourceReader[int]("s")
    for _ in range(5):
        reading = source.begin(hang).result(time.monotonic() + 0.05)
        assert "deadline" in reading.error
    assert len(begun) == 1
    release.set()
    # The thread is free again, and nothing of what was given up is done any more.
    assert source.begin(lambda: 7).result(time.monotonic() + 5).value == 7
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({"x-prometheus-scrape-timeout-seconds": "1"}, 0.8), ({}, 9.0), ({"Accept": "*/*"}, 9.0)],
)
def test_the_headers_deadline_leaves_time_to_answer(header: dict[str, str], seconds: float) -> None:
    assert budget(header, 10) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", "1e9"])
def test_a_senseless_deadline_is_the_default(value: str) -> None:
    assert budget({"X-Prometheus-Scrape-Timeout-Seconds": value}, 10) == pytest.approx(9.0)
