"""The messages on the queues: what a job is, its limits, and its result."""

from __future__ import annotations

import json
import re
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from common.errors import InvalidInputError, first_problem
from common.records import WORKERS

JOB_QUEUE = "video-queue"
RESULT_QUEUE = "publish-queue"

MAX_BODY_BYTES = 256 * 1024
MAX_TURNS = 100
MAX_TEXT_CHARACTERS = 2_000
# About 15 characters are spoken a second: 20,000 are some 22 minutes, inside the job timeout.
MAX_SPOKEN_CHARACTERS = 20_000
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ID_IN_SIGHT = re.compile(rb'"job_id"\s*:\s*"([A-Za-z0-9][A-Za-z0-9._-]{0,127})"')


class InvalidJobError(InvalidInputError):
    """A message that can never become a video: permanent, to be parked."""

    def __init__(self, field: str, value: object, allowed: str, job_id: str | None = None) -> None:
        super().__init__(field, value, allowed)
        self.job_id = job_id
        """The message's job_id where that much of it is sound, else None."""


Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Turn(BaseModel):
    """One line of the dialogue."""

    model_config = ConfigDict(frozen=True, strict=True)

    speaker: Name
    text: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT_CHARACTERS)
    ]


class Job(BaseModel):
    """A dialogue to render. Fields that we do not know are ignored: producers may grow."""

    model_config = ConfigDict(frozen=True, strict=True)

    job_id: str
    title: Annotated[str, StringConstraints(max_length=300)]
    character_theme: Name
    turns: Annotated[list[Turn], Field(min_length=1, max_length=MAX_TURNS)]

    @field_validator("job_id")
    @classmethod
    def _safe_as_file_name_and_key(cls, value: str) -> str:
        # The job's status is stored under its id, which must not be a key of the ledger's own: all
        # of these but one have a colon.
        if not _JOB_ID.fullmatch(value) or ".." in value or value == WORKERS:
            raise ValueError(
                "1 to 128 of A-Z a-z 0-9 . _ - starting with a letter or digit, without '..'"
            )
        return value

    @field_validator("turns")
    @classmethod
    def _speakable(cls, value: list[Turn]) -> list[Turn]:
        spoken = sum(len(turn.text) for turn in value)
        if spoken > MAX_SPOKEN_CHARACTERS:
            raise ValueError(f"at most {MAX_SPOKEN_CHARACTERS} characters of text in all turns")
        return value


class Result(BaseModel):
    """What is announced on `publish-queue` once the video is durable."""

    job_id: str
    title: str
    storage_path: str


def job_id_in(body: bytes) -> str | None:
    """The job id that a message seems to have, without reading the rest; None when not in sight."""
    found = _ID_IN_SIGHT.search(body[:MAX_BODY_BYTES])
    job_id = found.group(1).decode() if found else None
    return job_id if job_id and ".." not in job_id and job_id != WORKERS else None


def parse_job(body: bytes) -> Job:
    """The job in a message body. Raises InvalidJobError naming field, value and what is allowed."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidJobError("(body)", f"{len(body)} bytes", f"at most {MAX_BODY_BYTES} bytes")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidJobError("(body)", body[:60], f"a JSON object in UTF-8 ({error})") from error
    if not isinstance(content, dict):
        raise InvalidJobError("(body)", content, "a JSON object")
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        field, value, allowed = first_problem(error)
        job_id = content.get("job_id")
        sound = isinstance(job_id, str) and not _bad_id(error) and field != "job_id"
        raise InvalidJobError(field, value, allowed, str(job_id) if sound else None) from None


def _bad_id(error: ValidationError) -> bool:
    return any(problem["loc"][:1] == ("job_id",) for problem in error.errors())
