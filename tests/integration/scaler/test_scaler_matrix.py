"""The matrix of faults, but for Docker: what was promised holds in every cell.

Prometheus, Redis, the history's disk and the ledger are real; the fleets are in memory, as the
orchestrator is not what fails here (tests/swarm/test_swarm_matrix.py has that).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.matrix import MatrixCell, MatrixPart, cells
from tests.support.matrix_fleet import InMemoryFleet
from tests.support.matrix_run import CellRun, tell
from tests.support.matrix_world import MatrixWorld

_CELLS = [cell for cell in cells() if cell.part is not MatrixPart.DOCKER]
# On a machine that is busy otherwise, what waits longest is not to be the cells.
_AT_ONCE = max(4, 24 - 2 * int(os.getloadavg()[0]))


def outcome(world: MatrixWorld, cell: MatrixCell, folder: Path) -> str:
    with CellRun(world, cell, folder) as run:
        run.people()
        run.crew.tasks = {worker: f"task-{n}" for n, worker in enumerate(run.crew.states)}
        run.prepare(InMemoryFleet(run.crew))
        return run.run()


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[dict[MatrixCell, Future[str]]]:
    """All cells, side by side: most of their time is waiting for who does not answer."""
    folder = tmp_path_factory.mktemp("matrix")
    with MatrixWorld(folder) as world, ThreadPoolExecutor(_AT_ONCE) as pool:
        running = {cell: pool.submit(outcome, world, cell, folder) for cell in _CELLS}
        yield running
    tell(pytestconfig, running)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("cell", _CELLS, ids=str)
def test_in_each_cell_the_promises_hold(
    outcomes: dict[MatrixCell, Future[str]], cell: MatrixCell
) -> None:
    assert outcomes[cell].result() == cell.outcome
