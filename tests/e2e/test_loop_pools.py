"""Two pools on real parts: the dear one is used for what the cheap one cannot take, a host that
is taken away costs no job, and the dear one is given back."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.records import WorkerRecord
from tests.support.loop import Loop, dialogue
from tests.support.waiting import until
from tests.support.worker_fleet import LAUNCH, make_video

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_CONFIG = """
scaling: {min_workers: 1, max_workers: 5, headroom: 0}
targets:
  - name: video-creator
    pools:
      - {service: spot, price: 3, max_workers: 9}
      - {service: reserved, price: 1, max_workers: 2}
"""
# The shipped worker with a renderer that waits; on a spot host it has a notice to look at.
_WORKER = """#!/bin/sh
case $WORKER_ID in spot-*) export INTERRUPTION_NOTICE={folder}/$WORKER_ID.notice;; esac
export STANDIN_VIDEO={video}
exec {python} -c {launch}
"""


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    config, worker = tmp_path / "scaling-config.yml", tmp_path / "worker.sh"
    config.write_text(_CONFIG)
    worker.write_text(
        _WORKER.format(
            folder=tmp_path,
            video=make_video(tmp_path / "small.mp4"),
            python=sys.executable,
            launch=shlex.quote(LAUNCH),
        )
    )
    worker.chmod(0o755)
    settings = {"SCALING_CONFIG": str(config), "WORKER_COMMAND": str(worker)}
    loop = Loop(tmp_path / "stack", settings)
    with loop.stack:
        yield loop.start()


def pools(loop: Loop) -> list[str]:
    return sorted(worker.id.partition("-")[0] for worker in loop.workers())


def at_work(loop: Loop) -> list[WorkerRecord]:
    return [worker for worker in loop.workers() if worker.has_job]


def reasons(loop: Loop) -> list[str]:
    lines = loop.stack.parts["scaler"].log.read_text().rpartition("\n")[0].splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return [str(entry["reason"]) for entry in logged if entry.get("event") == "decided"]


def test_a_spot_host_that_is_taken_away_costs_no_job_and_the_dear_are_given_back(
    loop: Loop, tmp_path: Path
) -> None:
    assert pools(loop) == ["reserved"]
    ids = [f"pools-{number}" for number in range(4)]
    go = tmp_path / "go"
    loop.broker.publish([{**dialogue(job), "title": f"await {go}"} for job in ids])
    until(lambda: len(at_work(loop)) == 4, "four at work")
    assert pools(loop) == ["reserved", "reserved", "spot", "spot"]
    spot = next(worker for worker in at_work(loop) if worker.id.startswith("spot"))
    (tmp_path / f"{spot.id}.notice").touch()

    def replaced() -> bool:
        said = [reason for reason in reasons(loop) if "in spot (1 leaving)" in reason]
        return any("reserved full; started 1 workers of spot" in reason for reason in said)

    until(replaced, "a replacement asked for", explain=lambda: reasons(loop))
    until(lambda: "starting" not in map(str, (w.status for w in loop.workers())), "all started")
    assert spot.id in [worker.id for worker in at_work(loop)], "it goes on with its job"
    go.touch()
    loop.done(ids)
    until(lambda: pools(loop) == ["reserved"], "the dear ones gone", explain=lambda: pools(loop))
    assert sorted(loop.announced()) == ids
    assert loop.redelivered() == 0
