"""Pools of real processes: filled cheapest first, given back dearest first, passed over when
their workers die."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scaler.orchestrators.pooled import Pooled
from scaler.orchestrators.process import Process, ProcessSettings
from scaler.policy.observation import Worker, WorkerCondition
from scaler.policy.target import Pool, Target
from tests.support.waiting import until

pytestmark = pytest.mark.integration
TARGET = Target(
    max_workers=6,
    pools=(
        Pool(service="spot", price=3, max_workers=9),
        Pool(service="reserved", price=1, max_workers=2),
    ),
)
_SLEEP = "import time; time.sleep(600)"
# As on a host that has lost what the worker needs.
_DIE_IN_RESERVED = (
    'import os, time; os.environ["WORKER_ID"].startswith("reserved-") and os._exit(3);'
    " time.sleep(600)"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for name in ("reserved", "spot"):
        for pid in pids(tmp_path, name):
            os.kill(pid, signal.SIGKILL)


def pids(folder: Path, pool: str) -> list[int]:
    """Of the processes that a pool has started and not yet buried."""
    return [json.loads(note.read_text())["pid"] for note in (folder / pool).glob("*.json")]


def pooled_in(folder: Path, code: str = _SLEEP) -> Pooled:
    command = f"{sys.executable} -c '{code}'"
    return Pooled(Process(ProcessSettings(worker_command=command, worker_state=folder)))


def test_pools_of_processes_fill_and_empty_by_price(folder: Path) -> None:
    pooled = pooled_in(folder)
    handle = pooled.fleet(TARGET, [])
    assert handle.facts.running == 0
    said = handle.scale_up(5)
    assert said == "started 2 workers of reserved; started 3 workers of spot"
    reserved, spot = pids(folder, "reserved"), pids(folder, "spot")
    assert (len(reserved), len(spot)) == (2, 3)
    idle = [
        Worker(str(pid), WorkerCondition.IDLE, 0.0, task=str(pid)) for pid in (*reserved, *spot)
    ]
    handle = pooled.fleet(TARGET, idle)
    assert handle.facts.running == 5
    leavers = handle.victims(idle, 4)
    assert {int(worker.task) for worker in leavers[:3]} == set(spot), "the dear ones first"
    assert int(leavers[3].task) in reserved
    for pid in spot:
        os.kill(pid, signal.SIGKILL)
    until(lambda: pooled.fleet(TARGET, idle).facts.running == 2, "the dear pool empty")
    again = pooled_in(folder)
    assert again.fleet(TARGET, idle).facts.running == 2, "a new scaler finds the pools"


def test_a_pool_whose_workers_die_as_they_start_is_passed_over(folder: Path) -> None:
    pooled = pooled_in(folder, _DIE_IN_RESERVED)
    pooled.fleet(TARGET, []).scale_up(2)
    assert len(pids(folder, "reserved")) == 2
    until(lambda: pooled.fleet(TARGET, []).facts.running == 0, "the reserved ones dead")
    handle = pooled.fleet(TARGET, [])
    fleet = handle.facts
    assert fleet.hold is None
    assert fleet.pools[0].closed.startswith("held: workers die as they start")
    assert handle.scale_up(2).endswith("started 2 workers of spot")
    assert len(pids(folder, "spot")) == 2
    assert pooled.fleet(TARGET, []).facts.running == 2
