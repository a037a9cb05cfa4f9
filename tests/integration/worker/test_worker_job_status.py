"""A job's status where RabbitReels' API reads it, on a real Redis."""

from __future__ import annotations

import json

import pytest

from common.ledger import Ledger
from worker.job_status import JobStatus, Status, begin_status, put_status, read_status

pytestmark = pytest.mark.integration


def test_status_is_stored_under_the_job_id(ledger: Ledger) -> None:
    status = JobStatus(job_id="j1", status=Status.RENDERING, progress=0.5, stage="drawing")
    put_status(ledger, status, 600)
    assert read_status(ledger, "j1") == status
    assert read_status(ledger, "j2") is None
    assert 0 < ledger._redis.ttl("j1") <= 600
    ledger._redis.set("j3", "not ours")
    assert read_status(ledger, "j3") is None


def test_it_has_the_fields_that_the_api_knows(ledger: Ledger) -> None:
    put_status(ledger, JobStatus(job_id="j1", status=Status.QUEUED), 600)
    assert json.loads(ledger._redis.get("j1")) == {
        "job_id": "j1",
        "status": "queued",
        "progress": 0.0,
        "stage": "",
        "download_url": None,
        "error_msg": None,
    }


@pytest.mark.parametrize("end", [Status.DONE, Status.ERROR])
def test_what_has_ended_is_left_only_by_who_begins_with_it_again(
    ledger: Ledger, end: Status
) -> None:
    """A worker that was cut off tells late how far it was, or that it has to be tried again."""
    ended = JobStatus(job_id="j1", status=end, stage="\u20ac", error_msg="broken")
    put_status(ledger, ended, 600)
    for late in (Status.RENDERING, Status.QUEUED):
        put_status(ledger, JobStatus(job_id="j1", status=late), 600)
        assert read_status(ledger, "j1") == ended
    other = JobStatus(job_id="j1", status=Status.DONE, progress=1)
    put_status(ledger, other, 600)
    assert read_status(ledger, "j1") == other
    for now in (Status.RENDERING, Status.QUEUED):
        begin_status(ledger, JobStatus(job_id="j1", status=Status.RENDERING), 600)
        put_status(ledger, JobStatus(job_id="j1", status=now), 600)
        assert read_status(ledger, "j1") == JobStatus(job_id="j1", status=now)


@pytest.mark.parametrize("there", ["not ours", "[]", '{"status": 7}', '"done"', b"\xff"])
def test_what_is_no_status_is_written_over(ledger: Ledger, there: bytes | str) -> None:
    ledger._redis.set("j1", there)
    put_status(ledger, JobStatus(job_id="j1", status=Status.QUEUED), 600)
    assert read_status(ledger, "j1") == JobStatus(job_id="j1", status=Status.QUEUED)
    assert 0 < ledger._redis.ttl("j1") <= 600
