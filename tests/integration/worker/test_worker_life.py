"""How a worker takes, finishes, fails and leaves, on a real broker and a real Redis."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from common.records import Outcome, WorkerState
from tests.support.waiting import until
from tests.support.worker_fleet import ROOT, Fleet, body

pytestmark = pytest.mark.integration


def outcomes(fleet: Fleet) -> dict[Outcome, int]:
    for counters in fleet.ledger.counters():
        if counters.queue == fleet.job_queue:
            return {o: n for o, n in counters.outcomes.items() if n}
    return {}


def alive_in_group(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != "zombie":
                found.append(process.pid)
    return found


def test_a_job_becomes_a_video_a_message_a_status_and_a_count(fleet: Fleet) -> None:
    fleet.start()
    record = fleet.ready()
    assert record.status is WorkerState.IDLE
    job = fleet.submit("fast", timestamp=int(time.time()))
    until(lambda: fleet.status(job) == "done")
    ((properties, raw),) = until(lambda: fleet.take(fleet.result_queue))
    path = str(fleet.output / f"{job}.mp4")
    assert json.loads(raw) == {"job_id": job, "title": "fast", "storage_path": path}
    assert properties.message_id == job
    assert properties.delivery_mode == 2
    assert [p.name for p in fleet.output.iterdir()] == [f"{job}.mp4"]
    until(lambda: fleet.ledger.worker("w1").status is WorkerState.IDLE)  # type: ignore[union-attr]
    assert outcomes(fleet) == {Outcome.DONE: 1}
    (counters,) = [c for c in fleet.ledger.counters() if c.queue == fleet.job_queue]
    assert (counters.started, counters.redelivered) == (1, 0)
    assert (counters.duration.count, counters.wait.count, counters.startup.count) == (1, 1, 1)


def test_the_record_shows_progress_while_the_job_goes_on(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    job = fleet.submit("sleep 6")
    seen: dict[object, float] = {}
    until(lambda: fleet.ledger.worker("w1").has_job)  # type: ignore[union-attr]
    while (record := fleet.ledger.worker("w1")) and record.job_id == job:
        assert record.status is WorkerState.BUSY
        seen.setdefault(record.last_seen, time.monotonic())
        time.sleep(0.05)
    moments = sorted(seen.values())
    assert len(moments) >= 3  # at least every two seconds
    assert fleet.status(job) == "done"


def test_a_transient_failure_comes_back_and_succeeds(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(JOB_RETRY_DELAY="1")
    fleet.ready()
    job = fleet.submit(f"once {tmp_path / 'mark'}")
    until(lambda: fleet.status(job) == "done")
    assert fleet.announced() == [job]
    until(lambda: outcomes(fleet) == {Outcome.DONE: 1, Outcome.RETRIED: 1})
    assert fleet.depth(f"{fleet.job_queue}.dead") == 0


def test_after_the_last_retry_the_job_is_parked_with_its_history(fleet: Fleet) -> None:
    fleet.start(JOB_RETRY_DELAY="1", JOB_MAX_RETRIES="1")
    fleet.ready()
    job = fleet.submit("transient")
    until(lambda: fleet.status(job) == "error")
    ((properties, raw),) = until(lambda: fleet.take(f"{fleet.job_queue}.dead"))
    assert raw == body(job, "transient")
    assert properties.headers["x-error"] == "a transient problem"
    history = json.loads(properties.headers["x-history"])
    assert [entry["attempt"] for entry in history] == [1, 2]
    assert {entry["worker"] for entry in history} == {"w1"}
    assert fleet.announced() == []


def test_a_permanent_failure_is_parked_at_once(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    job = fleet.submit("permanent")
    until(lambda: fleet.depth(f"{fleet.job_queue}.dead") == 1)
    assert fleet.renders(job) == 1
    assert fleet.status(job) == "error"


def test_a_renderer_that_crashes_is_a_transient_failure(fleet: Fleet) -> None:
    fleet.start(JOB_MAX_RETRIES="0")
    fleet.ready()
    fleet.submit("crash")
    ((properties, _),) = until(lambda: fleet.take(f"{fleet.job_queue}.dead"))
    assert "SIGSEGV" in properties.headers["x-error"]
    assert "something terrible" in properties.headers["x-error"]


def test_the_timeout_stops_the_renderer_and_what_it_started(fleet: Fleet) -> None:
    fleet.start(JOB_MAX_RETRIES="0", JOB_TIMEOUT="2")
    fleet.ready()
    fleet.submit("hang")
    ((properties, _),) = until(lambda: fleet.take(f"{fleet.job_queue}.dead"))
    assert "JOB_TIMEOUT" in properties.headers["x-error"]
    (line,) = fleet.standin_log.read_text().splitlines()
    group = int(line.split()[1])
    until(lambda: not alive_in_group(group))


def test_a_killed_worker_takes_its_renderer_with_it(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    fleet.submit("sleep 60")
    until(fleet.standin_log.exists)
    fleet.signal("w1", signal.SIGKILL)
    fleet.exit_code("w1")
    pid = int(fleet.standin_log.read_text().split()[1])
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"{not json", "(body)"),
        (b'{"job_id": "../etc"}', "job_id"),
        (body("ok").replace(b"ruby", b"nobody"), "turns.0.speaker"),
        (body("ok").replace(b"meadow", b"nowhere"), "character_theme"),
    ],
)
def test_what_can_never_be_rendered_is_parked_with_a_reason(
    fleet: Fleet, raw: bytes, field: str
) -> None:
    fleet.start()
    fleet.ready()
    fleet.publish(raw)
    job = fleet.submit("fast")
    ((properties, parked),) = until(lambda: fleet.take(f"{fleet.job_queue}.dead"))
    assert parked == raw
    assert properties.headers["x-error"].startswith(field)
    until(lambda: fleet.status(job) == "done")


def test_an_idle_worker_leaves_on_a_drain_request(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    until(lambda: fleet.ledger.request_drain("w1", "too many"))
    assert fleet.exit_code("w1") == 0
    assert fleet.ledger.worker("w1") is None
    assert any(e["event"] == "leaving" and "too many" in e["reason"] for e in fleet.events("w1"))


@pytest.mark.parametrize("by", ["drain", "SIGTERM"])
def test_the_shipped_command_leaves_when_it_is_first_asked(fleet: Fleet, by: str) -> None:
    """The program as it is installed, not only what it is made of: it has one life."""
    fleet.start(real=True)
    fleet.ready()
    if by == "drain":
        until(lambda: fleet.ledger.request_drain("w1", "scale down"))
    else:
        fleet.signal("w1", signal.SIGTERM)
    assert fleet.exit_code("w1") == 0
    told = [entry["event"] for entry in fleet.events("w1")]
    assert [event for event in told if event in ("consuming", "leaving", "left")] == [
        "consuming",
        "leaving",
        "left",
    ]


def test_sigterm_lets_the_job_end_and_more_of_them_change_nothing(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    job = fleet.submit("sleep 3")
    other = fleet.submit("fast")
    until(lambda: fleet.renders(job))
    for _ in range(3):
        fleet.signal("w1", signal.SIGTERM)
        time.sleep(0.2)
    record = until(
        lambda: (r := fleet.ledger.worker("w1")) and r.status is WorkerState.DRAINING and r
    )
    assert record.job_id == job
    assert fleet.exit_code("w1") == 0
    assert fleet.announced() == [job]
    assert fleet.renders(other) == 0
    assert until(lambda: fleet.depth(fleet.job_queue)) == 1


def test_a_job_that_outlasts_the_grace_period_goes_back(fleet: Fleet) -> None:
    fleet.start(GRACEFUL_SHUTDOWN_TIMEOUT="3")
    fleet.ready()
    job = fleet.submit("sleep 60")
    until(lambda: fleet.renders(job))
    fleet.signal("w1", signal.SIGTERM)
    assert fleet.exit_code("w1") == 0
    assert until(lambda: fleet.depth(fleet.job_queue)) == 1
    assert fleet.status(job) == "queued"
    assert outcomes(fleet) == {Outcome.REQUEUED: 1}
    assert any("grace" in e.get("why", "") for e in fleet.events("w1"))


def test_a_notice_of_interruption_makes_the_worker_leave(fleet: Fleet, tmp_path: Path) -> None:
    notice = tmp_path / "notice"
    fleet.start(INTERRUPTION_NOTICE=str(notice))
    fleet.ready()
    job = fleet.submit("sleep 2")
    until(lambda: fleet.renders(job))
    notice.touch()
    assert fleet.exit_code("w1") == 0
    assert fleet.announced() == [job]


def test_the_pages_tell_how_it_is(fleet: Fleet) -> None:
    fleet.start(HTTP_BEARER_TOKEN="secret")
    address = until(lambda: (r := fleet.ready()).address and r).address
    job = fleet.submit("sleep 4")
    until(lambda: fleet.renders(job))

    def get(path: str, given: str = "secret") -> str:
        headers = {"Authorization": f"Bearer {given}"}
        request = urllib.request.Request(f"http://{address}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode())

    health = json.loads(get("/health"))
    assert health["status"] == "healthy"
    assert health["worker_id"] == "w1"
    assert health["current_job"] == job
    assert health["last_heartbeat"]
    assert get("/-/healthy", "none") == get("/-/ready", "none") == "ok\n"
    metrics = get("/metrics")
    assert 'autoscaler_worker_resident_memory_bytes{process="renderer"}' in metrics
    assert 'autoscaler_worker_connected{neighbour="broker"} 1.0' in metrics
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get("/health", "wrong")


def test_parked_jobs_are_worked_on_from_the_command_line(fleet: Fleet) -> None:
    fleet.start()
    fleet.ready()
    first, second = fleet.submit("permanent"), fleet.submit("permanent")
    until(lambda: fleet.depth(f"{fleet.job_queue}.dead") == 2)

    def cli(*arguments: str) -> str:
        command = [sys.executable, "-m", "worker", "dead", *arguments]
        done = subprocess.run(
            command, env=fleet.environment(), cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout

    listing = cli("list")
    assert listing.index(first) < listing.index(second)
    assert "a permanent problem" in cli("show", first)
    assert cli("requeue", first) == "1 handed back\n"
    until(lambda: fleet.renders(first) == 2)
    until(lambda: fleet.depth(f"{fleet.job_queue}.dead") == 2)
    assert cli("drop", "--all") == "2 dropped\n"
    assert cli("list") == "nothing is parked\n"


def test_settings_that_cannot_be_used_end_with_code_two(fleet: Fleet) -> None:
    command = [sys.executable, "-m", "worker", "run"]
    for name, value in (("HEARTBEAT_INTERVAL", "soon"), ("OUTPUT", "ftp://x"), ("THEMES", "/none")):
        done = subprocess.run(
            command,
            env=fleet.environment(**{name: value}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert name in done.stderr
        assert value in done.stderr


def test_submit_sends_all_or_nothing(fleet: Fleet, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(body("good"))
    bad.write_bytes(body("bad/../id"))

    def submit(*files: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "worker", "submit", *map(str, files)],
            env=fleet.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = submit(good, bad)
    assert refused.returncode == 2
    assert "job_id: 'bad/../id' is not allowed" in refused.stderr
    assert fleet.depth(fleet.job_queue) == 0
    assert submit(good).returncode == 0
    ((properties, raw),) = fleet.take(fleet.job_queue)
    assert raw == body("good")
    assert properties.delivery_mode == 2
    assert abs(properties.timestamp - time.time()) < 60
