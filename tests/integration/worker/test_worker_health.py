"""A worker that hangs fails the image's health check and says so in the ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import until
from tests.support.worker_fleet import ROOT, STANDIN, Fleet

pytestmark = pytest.mark.integration

CHECK = ROOT / "deploy" / "images" / "healthcheck.py"
# The shipped worker. USR1 makes its main thread hang, USR2 the broker's, until THAW exists.
HANGING = f"""
import os, signal, sys, time
from common import logs
from worker.program import WorkerProgram
from worker.settings import load_settings
logs.configure("worker", terminal=False)
worker = WorkerProgram(load_settings(), (sys.executable, {STANDIN!r}))
def hang(*_):
    while not os.path.exists(os.environ["THAW"]):
        time.sleep(0.05)
def hang_broker(*_):
    worker._broker._session.connection.add_callback_threadsafe(hang)
signal.signal(signal.SIGUSR1, hang)
signal.signal(signal.SIGUSR2, hang_broker)
worker.run()
"""


@pytest.fixture
def thaw(tmp_path: Path) -> Path:
    return tmp_path / "thaw"


@pytest.fixture
def port(fleet: Fleet, thaw: Path) -> int:
    """Of a worker that consumes."""
    fleet.start(launch=HANGING, THAW=str(thaw), HEALTH_CHECK_TIMEOUT="3", HEARTBEAT_INTERVAL="1")
    fleet.ready()

    return port_of(fleet)


def port_of(fleet: Fleet) -> int:
    """That of w1's pages."""

    def find() -> list[int]:
        return [int(e["http"]) for e in fleet.events("w1") if e["event"] == "consuming"]

    found: list[int] = until(find, "its port told")
    return found[0]


def check(port: int) -> str:
    """What the image's health check says; empty when it passes."""
    done = subprocess.run(
        [sys.executable, "-S", str(CHECK)],
        env={**os.environ, "HTTP_PORT": str(port)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr or "failed"


def health(port: int) -> Any:
    """The page of the plan, `/health`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def problem(fleet: Fleet) -> str:
    record = fleet.ledger.worker("w1")
    return record.problem if record else ""


@pytest.mark.parametrize(
    ("number", "thread"), [(signal.SIGUSR1, "main"), (signal.SIGUSR2, "broker")]
)
def test_a_thread_that_hangs_fails_the_health_check_until_it_moves_again(
    fleet: Fleet, port: int, thaw: Path, number: signal.Signals, thread: str
) -> None:
    until(lambda: not check(port), "well")
    fleet.signal("w1", number)
    words = f"the {thread} thread has not moved"
    until(lambda: words in check(port), "the check fails")
    until(lambda: words in problem(fleet), "the ledger says so")
    assert health(port)["status"] == "unhealthy"
    thaw.touch()
    until(lambda: not check(port), "well again", explain=lambda: check(port))
    until(lambda: not problem(fleet), "well again in the ledger")
    job = fleet.submit("fast")
    until(lambda: fleet.status(job) == "done")


def test_while_its_job_comes_on_it_is_reported_and_not_stopped(
    fleet: Fleet, port: int, thaw: Path, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job = fleet.submit(f"await {go}")
    until(lambda: fleet.renders(job))
    fleet.signal("w1", signal.SIGUSR2)
    until(lambda: problem(fleet), "reported")
    assert health(port)["status"] == "unhealthy"
    assert not check(port)
    go.touch()
    thaw.touch()
    until(lambda: fleet.status(job) == "done")
    assert fleet.announced() == [job]


def test_sessions_that_end_one_after_the_other_are_told_and_come_more_slowly(fleet: Fleet) -> None:
    with FaultProxy(fleet.stack.amqp_port) as proxy:
        fleet.start(RABBIT_URL=f"amqp://guest:guest@127.0.0.1:{proxy.port}/")
        fleet.ready()

        def told() -> bool:
            if health(port_of(fleet))["broker_connected"]:  # a session, not only a connection
                proxy.cut()
            return "ended in vain" in problem(fleet)

        until(told, "the ledger says so")
        assert "ended in vain" in check(port_of(fleet))
        pauses = [
            float(e["retry_in_s"])
            for e in fleet.events("w1")
            if e["event"] == "no broker connection"
        ]
        assert pauses == sorted(pauses)
        assert pauses[-1] >= 8 * pauses[0]
        job = fleet.submit("fast")
        until(lambda: fleet.status(job) == "done")
        until(lambda: not check(port_of(fleet)), "well again")
