"""A job's status, in the ledger under the job's own id: RabbitReels' API reads it there."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from common.ledger import Ledger


class Status(StrEnum):
    """A job's status as RabbitReels' API reads it."""

    QUEUED = "queued"
    RENDERING = "rendering"
    DONE = "done"
    ERROR = "error"


class JobStatus(BaseModel):
    """What is stored, as JSON. `progress` is 0..1."""

    job_id: str
    status: Status
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0
    stage: str = ""
    download_url: str | None = None
    error_msg: str | None = None


_ENDED = (Status.DONE, Status.ERROR)


def begin_status(ledger: Ledger, status: JobStatus, ttl_s: int) -> None:
    """Write the status of a job that is begun with, whatever it was; kept for `ttl_s` seconds.

    Raises LedgerError.
    """
    ledger.put_text(status.job_id, status.model_dump_json(), ttl_s)


def put_status(ledger: Ledger, status: JobStatus, ttl_s: int) -> None:
    """Write a job's status, to be kept for `ttl_s` seconds.

    What has ended is left for another end only, or by who begins with it again: a worker that was
    cut off from the ledger tells late what was so before another one brought the job to its end.
    Raises LedgerError.
    """
    if status.status in _ENDED:
        ledger.put_text(status.job_id, status.model_dump_json(), ttl_s)
    else:
        ledger.put_text_unless(status.job_id, status.model_dump_json(), ttl_s, _ENDED)


def read_status(ledger: Ledger, job_id: str) -> JobStatus | None:
    """A job's status, or None when there is none that can be read. Raises LedgerError."""
    content = ledger.text(job_id)
    try:
        return None if content is None else JobStatus.model_validate_json(content)
    except ValidationError:
        return None
