"""A job's status where RabbitReels' API reads it, on a real Redis."""

from __future__ import annotations

import json

import pytest

from common.ledger import Ledger
from worker.job_status import JobStatus, Status, put_status, read_status

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
