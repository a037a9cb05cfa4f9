"""What must not happen when parts of the loop fail, on real parts."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.loop import Loop, dialogue
from tests.support.waiting import until
from worker.job_status import Status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def jobs(prefix: str, count: int, **options: int) -> list[dict[str, object]]:
    return [dialogue(f"{prefix}-{number}", **options) for number in range(count)]


def test_burst_grows_the_fleet_and_leaves_one_video_and_one_message_a_job(loop: Loop) -> None:
    sent = jobs("burst", 6)
    ids = [str(job["job_id"]) for job in sent]
    loop.broker.publish(sent)
    until(lambda: loop.target() >= 4, "a higher target")
    peak = 0

    def finished() -> bool:
        nonlocal peak
        peak = max(peak, len(loop.workers()))
        return set(ids) <= set(loop.videos())

    until(finished, "six videos", timeout_s=150)
    loop.rest()
    assert peak >= 4
    assert sorted(loop.announced()) == sorted(ids)


def test_job_of_a_killed_worker_is_done_by_another_and_announced_once(loop: Loop) -> None:
    loop.broker.publish(jobs("killed", 1, turns=6))
    victim = loop.busy_worker()
    until(lambda: loop.status("killed-0"), "a status")
    loop.kill(victim)

    def another_has_it() -> bool:
        return any(w.job_id == "killed-0" and w.id != victim.id for w in loop.workers())

    until(another_has_it, "another worker with the job", every_s=0.05)
    loop.done(["killed-0"])
    time.sleep(2)
    assert loop.announced() == ["killed-0"]


def test_target_is_held_while_prometheus_is_away(loop: Loop) -> None:
    ids = [f"blind-{number}" for number in range(8)]
    loop.broker.publish(jobs("blind", 8, turns=3))
    until(lambda: loop.target() >= 6, "a higher target")
    before = loop.target()
    prometheus = loop.stack.parts["prometheus"]
    prometheus.stop()
    reasons = set()
    seen = []
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        status = loop.dashboard()
        seen.append(int(status["target_workers"]))
        reasons.add(status["reason"])
        time.sleep(0.5)
    prometheus.start()
    prometheus.wait_ready()
    assert min(seen) >= before
    assert any("unknown" in reason and "not reachable" in reason for reason in reasons), reasons
    loop.done(ids)
    assert sorted(loop.announced()) == sorted(ids)


@pytest.mark.parametrize(
    ("job_id", "body", "field"),
    [
        (None, b"{ this is no JSON", "(body)"),
        ("bad-speaker", {"turns": [{"speaker": "nobody", "text": "Hello."}]}, "turns.0.speaker"),
        ("bad-theme", {"character_theme": "no-such-theme"}, "character_theme"),
        (None, {"job_id": "../../etc/passwd"}, "job_id"),
    ],
    ids=["broken-json", "unknown-speaker", "unknown-theme", "path-in-job-id"],
)
def test_bad_job_is_parked_with_its_field_and_the_next_is_done(
    loop: Loop, job_id: str | None, body: bytes | dict[str, object], field: str
) -> None:
    good = f"after-{field}".replace("(", "").replace(")", "")
    raw = body if isinstance(body, bytes) else json.dumps(dialogue(job_id or "x") | body).encode()
    loop.broker.publish([raw, dialogue(good)])
    loop.done([good])
    until(lambda: loop.broker.depth("video-queue.dead") == 1, "one parked message")
    parked = loop.broker.drain("video-queue.dead")
    assert [message for _, message in parked] == [raw]
    headers = parked[0][0]
    assert field in str(headers["x-error"])
    if job_id is not None:
        status = loop.status(job_id)
        assert status is not None
        assert status.status == Status.ERROR
        assert status.error_msg is not None
        assert field in status.error_msg


def test_restarted_scaler_changes_nothing_else(loop: Loop) -> None:
    ids = [f"restart-{number}" for number in range(6)]
    loop.broker.publish(jobs("restart", 6, turns=8))
    until(
        lambda: sum(worker.has_job for worker in loop.workers()) == 6,
        "six busy workers",
    )
    before = {worker.id for worker in loop.workers() if worker.has_job}
    redelivered = loop.redelivered()
    loop.kill_scaler()
    loop.start_scaler()
    # How fast jobs arrive has become clearer meanwhile, so one may be started beside them.
    assert loop.target() >= 6
    assert {worker.id for worker in loop.workers()} >= before, "none was stopped"
    loop.done(ids)
    assert loop.redelivered() == redelivered
    loop.rest()
    assert sorted(loop.announced()) == sorted(ids)
