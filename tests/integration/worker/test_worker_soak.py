"""The soak of `make soak`, with few jobs: every kind of fault comes at least once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from tests.soak.judge import ZEROS
from tests.soak.run import Report, Soak

pytestmark = pytest.mark.integration

JOBS = 300
WORKERS = 6
# `make soak` draws others; this one has found most.
SEED = 618693


@pytest.mark.timeout(1_200)
def test_no_job_is_lost_none_doubled_and_no_worker_stopped(tmp_path: Path) -> None:
    """On both types of job queue, side by side, since most of it is waiting."""

    def soak(queue_type: str) -> Report:
        folder = tmp_path / queue_type
        folder.mkdir()
        return Soak(folder, queue_type, JOBS, SEED, print, workers=WORKERS).run()

    with ThreadPoolExecutor() as pool:
        reports = list(pool.map(soak, ("classic", "quorum")))
    for report in reports:
        problems = "\n".join(chain.from_iterable(report.verdict.problems.values()))
        assert {name: report.verdict.figures[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0), (
            problems
        )
