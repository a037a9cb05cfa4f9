"""Local workers as real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler.orchestrators.process import Process, ProcessSettings
from scaler.policy.observation import Obstacle, Worker, WorkerCondition
from scaler.policy.target import Target
from tests.support.waiting import until

pytestmark = pytest.mark.integration
TARGET = Target()


def settings(folder: Path, code: str = "import time; time.sleep(60)") -> ProcessSettings:
    return ProcessSettings(worker_command=f"{sys.executable} -c '{code}'", worker_state=folder)


def pids(folder: Path) -> list[int]:
    notes = sorted((folder / TARGET.name).glob("*.json"))
    return [int(note.read_text().split('"pid": ')[1].split(",")[0]) for note in notes]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in pids(tmp_path):
        os.kill(pid, signal.SIGKILL)


def test_fleet_is_what_was_started_and_a_new_scaler_finds_it(folder: Path) -> None:
    first = Process(settings(folder))
    assert first.fleet(TARGET, []).running == 0
    first.scale_up(TARGET, 3)
    assert first.fleet(TARGET, []).running == 3
    second = Process(settings(folder))
    assert second.fleet(TARGET, []).running == 3
    second.scale_up(TARGET, 3)
    assert len(pids(folder)) == 3


def test_who_shows_itself_is_no_longer_starting_and_who_drains_does_not_count(
    folder: Path,
) -> None:
    process = Process(settings(folder))
    process.scale_up(TARGET, 3)
    one, two, _ = pids(folder)
    workers = [
        Worker("a", WorkerCondition.IDLE, 0.0, task=str(one)),
        Worker("b", WorkerCondition.DRAINING, 0.0, task=str(two)),
    ]
    fleet = process.fleet(TARGET, workers)
    assert (fleet.running, fleet.starting, fleet.draining) == (2, 1, 1)
    process.scale_up(TARGET, 3)
    assert len(pids(folder)) == 4


def test_the_dead_are_forgotten(folder: Path) -> None:
    process = Process(settings(folder))
    process.scale_up(TARGET, 2)
    os.kill(pids(folder)[0], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while process.fleet(TARGET, []).running != 1:
        assert time.monotonic() < deadline


def test_workers_that_die_as_they_start_are_not_started_without_end(folder: Path) -> None:
    process = Process(settings(folder, code="raise SystemExit(3)"))
    process.scale_up(TARGET, 1)
    deadline = time.monotonic() + 5
    while process.fleet(TARGET, []).hold is None:
        assert time.monotonic() < deadline
    fleet = process.fleet(TARGET, [])
    assert "die as they start" in str(fleet.hold)
    assert fleet.obstacle_kind is Obstacle.CRASH_LOOP


def test_the_longest_idle_of_ours_are_the_victims(folder: Path) -> None:
    process = Process(settings(folder))
    process.scale_up(TARGET, 2)
    one, two = map(str, pids(folder))
    idle = [
        Worker("a", WorkerCondition.IDLE, 30.0, task=one),
        Worker("b", WorkerCondition.IDLE, 10.0, task=two),
        Worker("another's", WorkerCondition.IDLE, 5.0, task=str(os.getpid())),
    ]
    assert [worker.id for worker in process.victims(TARGET, idle, 1)] == ["b"]
    assert [worker.id for worker in process.victims(TARGET, idle, 3)] == ["b", "a"]


def test_the_stuck_are_ended_as_a_supervisor_would_and_another_runs_in_their_place(
    folder: Path,
) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    config = settings(folder, code=f"{deaf}time.sleep(600)")
    process = Process(config.model_copy(update={"graceful_shutdown_timeout": 1.0}))
    process.scale_up(TARGET, 2)
    until(lambda: all(log.read_bytes() for log in (folder / TARGET.name).glob("*.log")), "deaf")
    stuck, well = pids(folder)
    workers = [
        Worker("a", WorkerCondition.UNHEALTHY, 0.0, task=str(stuck), stuck=True),
        Worker("b", WorkerCondition.UNHEALTHY, 0.0, task=str(well)),
    ]
    fleet = process.fleet(TARGET, workers)
    assert (fleet.running, fleet.unhealthy) == (2, 1)
    process.scale_up(TARGET, 3)
    said = str(process.settle(TARGET))
    assert said.startswith("SIGTERM to stuck")
    until(lambda: "SIGKILL" in str(process.settle(TARGET)), "killed after its grace period")
    until(lambda: process.fleet(TARGET, workers).running == 2, "gone")
    assert stuck not in pids(folder)
    assert well in pids(folder)
    assert process.settle(TARGET) is None
