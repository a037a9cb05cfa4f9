"""Local workers as real processes."""

from __future__ import annotations

import contextlib
import os
import resource
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


def started_in(folder: Path) -> list[int]:
    """All processes whose log is in `folder`, whether there is a note of them or not."""
    found = []
    for log in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if log.readlink().is_relative_to(folder):
                found.append(int(log.parent.parent.name))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in started_in(tmp_path):
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


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_a_note_has_no_room_no_worker_is_started(folder: Path) -> None:
    process = Process(settings(folder))
    handle = process.fleet(TARGET, [])
    with full_disk(), pytest.raises(OrchestratorError, match="a worker cannot be started"):
        handle.scale_up(2)
    assert started_in(folder) == []
    assert handle.scale_up(2) == "started 2 workers of video-creator"
    assert sorted(started_in(folder)) == sorted(pids(folder))


def test_a_worker_whose_note_fails_at_the_last_moment_is_not_left_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, renamed = Process(settings(folder)), []

    def rename(self: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) == 2:
            raise OSError(28, "No space left on device")
        os.rename(self, target)
        return target

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OrchestratorError, match="started 1 workers of video-creator of 3; then"):
        process.fleet(TARGET, []).scale_up(3)
    assert started_in(folder) == pids(folder)
    assert len(pids(folder)) == 1
    assert process.fleet(TARGET, []).facts.running == 1


@pytest.mark.parametrize("left", ["", "{}", '{"pid": 0, "born": 0}', "[" * 100_000])
def test_a_worker_whose_note_is_lost_is_found_again(folder: Path, left: str) -> None:
    """A scaler that is killed between starting a worker and noting it leaves its place; a
    machine that crashed may leave an empty note."""
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(2)
    one, two = sorted((folder / TARGET.name).glob("*.json"))
    before = pids(folder)
    one.with_suffix(".tmp").write_text(left)
    os.utime(one.with_suffix(".tmp"), (1, 1))
    one.unlink()
    if left != '{"pid": 0, "born": 0}':
        two.write_text(left)
    assert Process(settings(folder)).fleet(TARGET, []).facts.running == 2
    assert sorted(pids(folder)) == sorted(before)
    assert not list(folder.rglob("*.tmp"))


def test_a_note_that_is_no_workers_is_put_away(folder: Path) -> None:
    note = folder / TARGET.name / "nobody.json"
    note.parent.mkdir()
    note.write_text("")
    assert Process(settings(folder)).fleet(TARGET, []).facts.running == 0
    assert not note.exists()


def test_what_cannot_be_read_is_not_taken_for_dead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(OrchestratorError, match="Too many open files"):
            process.fleet(TARGET, [])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert process.fleet(TARGET, []).facts.running == 1


def test_nobody_is_started_or_ended_by_who_leads_no_more(folder: Path) -> None:
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(1)
    (pid,) = pids(folder)
    stuck = [Worker("a", WorkerCondition.UNHEALTHY, 0.0, task=str(pid), stuck=True)]
    handle = process.fleet(TARGET, stuck)

    def fence() -> None:
        raise OrchestratorError("others lead")

    process.fence = fence
    for change in (lambda: handle.scale_up(2), handle.reconcile):
        with pytest.raises(OrchestratorError, match="others lead"):
            change()
    assert started_in(folder) == [pid]
    del process.fence
    assert str(handle.reconcile()).startswith("SIGTERM"), "nothing had been counted as done"


def test_of_whom_nobody_has_told_nothing_is_said(folder: Path) -> None:
    process = Process(settings(folder))
    process.fleet(TARGET, []).scale_up(2)
    facts = process.fleet(TARGET, None).facts
    assert (facts.running, facts.starting, facts.draining) == (2, 0, 0)
