"""Local workers as real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler.orchestrators.base import OrchestratorError
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
    handle = first.fleet(TARGET, [])
    assert handle.facts.running == 0
    handle.scale_up(3)
    assert first.fleet(TARGET, []).facts.running == 3
    handle = Process(settings(folder)).fleet(TARGET, [])
    assert handle.facts.running == 3
    handle.scale_up(3)
    assert len(pids(folder)) == 3


def test_who_shows_itself_is_no_longer_starting_and_who_drains_does_not_count(
    folder: Path,
) -> None:
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(3)
    one, two, _ = pids(folder)
    workers = [
        Worker("a", WorkerCondition.IDLE, 0.0, task=str(one)),
        Worker("b", WorkerCondition.DRAINING, 0.0, task=str(two)),
    ]
    handle = process.fleet(TARGET, workers)
    fleet = handle.facts
    assert (fleet.running, fleet.starting, fleet.draining) == (2, 1, 1)
    process.fleet(TARGET, [])
    handle.scale_up(3)
    assert len(pids(folder)) == 4
    assert handle.scale_up(3) == "started 0 workers of video-creator", "they are counted anew"


def test_the_dead_are_forgotten(folder: Path) -> None:
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(2)
    os.kill(pids(folder)[0], signal.SIGKILL)
    deadline = time.monotonic() + 5
    while process.fleet(TARGET, []).facts.running != 1:
        assert time.monotonic() < deadline


def test_workers_that_die_as_they_start_are_not_started_without_end(folder: Path) -> None:
    process = Process(settings(folder, code="raise SystemExit(3)"))
    process.fleet(TARGET, []).scale_up(1)
    deadline = time.monotonic() + 5
    while process.fleet(TARGET, []).facts.hold is None:
        assert time.monotonic() < deadline
    handle = process.fleet(TARGET, [])
    assert "die as they start" in str(handle.facts.hold)
    assert handle.facts.obstacle_kind is Obstacle.CRASH_LOOP
    for urgent in (False, True):
        with pytest.raises(OrchestratorError, match="die as they start"):
            handle.scale_up(1, urgent=urgent)


def test_the_longest_idle_of_ours_are_the_victims(folder: Path) -> None:
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(2)
    one, two = map(str, pids(folder))
    idle = [
        Worker("a", WorkerCondition.IDLE, 30.0, task=one),
        Worker("b", WorkerCondition.IDLE, 10.0, task=two),
        Worker("another's", WorkerCondition.IDLE, 5.0, task=str(os.getpid())),
    ]
    handle = process.fleet(TARGET, idle)
    assert [worker.id for worker in handle.victims(idle, 1)] == ["b"]
    assert [worker.id for worker in handle.victims(idle, 3)] == ["b", "a"]


def test_the_stuck_are_ended_as_a_supervisor_would_and_another_runs_in_their_place(
    folder: Path,
) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    config = settings(folder, code=f"{deaf}time.sleep(600)")
    process = Process(config.model_copy(update={"graceful_shutdown_timeout": 1.0}))
    process.fleet(TARGET, []).scale_up(2)
    until(lambda: all(log.read_bytes() for log in (folder / TARGET.name).glob("*.log")), "deaf")
    stuck, well = pids(folder)
    workers = [
        Worker("a", WorkerCondition.UNHEALTHY, 0.0, task=str(stuck), stuck=True),
        Worker("b", WorkerCondition.UNHEALTHY, 0.0, task=str(well)),
    ]
    handle = process.fleet(TARGET, workers)
    assert (handle.facts.running, handle.facts.unhealthy) == (2, 1)
    handle.scale_up(3)
    said = str(handle.reconcile())
    assert said.startswith("SIGTERM to stuck")

    def reconciled() -> str | None:
        return process.fleet(TARGET, workers).reconcile()

    until(lambda: "SIGKILL" in str(reconciled()), "killed after its grace period")
    until(lambda: process.fleet(TARGET, workers).facts.running == 2, "gone")
    assert stuck not in pids(folder)
    assert well in pids(folder)
    assert reconciled() is None
    assert handle.reconcile() is None, "an old look signals nobody who took over the number"
