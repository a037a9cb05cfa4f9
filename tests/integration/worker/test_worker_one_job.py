"""A worker that is started for one job leaves after it, and leaves the rest to others."""

from __future__ import annotations

import pytest

from tests.support.waiting import until
from tests.support.worker_fleet import Fleet

pytestmark = pytest.mark.integration


def test_a_worker_for_one_job_takes_one(fleet: Fleet) -> None:
    fleet.start(MAX_JOBS="1")
    fleet.ready()
    job = fleet.submit("fast")
    other = fleet.submit("fast")
    assert fleet.exit_code("w1") == 0
    assert fleet.announced() == [job]
    assert fleet.renders(other) == 0
    assert until(lambda: fleet.depth(fleet.job_queue)) == 1
