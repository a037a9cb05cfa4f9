"""Several addresses of the broker: the first that answers is taken, at every connect anew."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import until
from tests.support.worker_fleet import ROOT, Fleet

pytestmark = pytest.mark.integration


def address(port: int) -> str:
    return f"amqp://guest:guest@127.0.0.1:{port}/"


def test_a_worker_takes_the_first_that_answers(fleet: Fleet) -> None:
    broker = fleet.stack.amqp_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first_port = taken.getsockname()[1]
    with FaultProxy(broker) as second:
        unknown = "amqp://guest:guest@nobody.invalid/"
        addresses = f"{unknown},{address(first_port)},{address(second.port)}"
        fleet.start(RABBIT_URL=addresses)
        fleet.ready()
        assert second._pairs
        job = fleet.submit("fast")
        until(lambda: fleet.status(job) == "done")
        with FaultProxy(broker, socket.create_server(("127.0.0.1", first_port))) as first:
            while second.cut():
                pass
            until(lambda: first._pairs)
            job = fleet.submit("fast")
            until(lambda: fleet.status(job) == "done")
            assert not second._pairs
        # It has gone again.
        until(lambda: second._pairs)
        job = fleet.submit("fast")
        until(lambda: fleet.status(job) == "done")
    assert fleet.processes["w1"].poll() is None


def test_so_does_the_command_line(fleet: Fleet) -> None:
    command = [sys.executable, "-m", "worker", "dead", "list"]
    for dead in (address(9), "amqp://guest:guest@nobody.invalid"):
        given = fleet.environment(RABBIT_URL=f"{dead}, {fleet.stack.rabbit_url}")
        done = subprocess.run(
            command, env=given, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "nothing is parked\n", "")
