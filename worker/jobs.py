"""The messages on the queues: what a job is, its limits, and its result."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, NoReturn

from pydantic import (
    BaseModel,
    BeforeValidator,
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
_MAX_DIGITS = 1_000
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ID_IN_SIGHT = re.compile(rb'"job_id"\s*:\s*"([A-Za-z0-9][A-Za-z0-9._-]{0,127})"')


class InvalidJobError(InvalidInputError):
    """A message that can never become a video: permanent, to be parked."""

    def __init__(self, field: str, value: object, allowed: str, job_id: str | None = None) -> None:
        super().__init__(field, value, allowed)
        self.job_id = job_id
        """The message's job_id where that much of it is sound, else None."""


def _writable(value: Any) -> Any:
    """Text that can be written to a file and given to another program; what is none passes."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text without the character U+0000")
        if any("\ud800" <= each <= "\udfff" for each in value):
            raise ValueError("text without halves of surrogate pairs (\\ud800 to \\udfff)")
    return value


# Before the others, which know nothing to say of such halves.
_WRITABLE = BeforeValidator(_writable)
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), _WRITABLE]


class Turn(BaseModel):
    """One line of the dialogue."""

    model_config = ConfigDict(frozen=True, strict=True)

    speaker: Name
    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TEXT_CHARACTERS),
        _WRITABLE,
    ]


class Job(BaseModel):
    """A dialogue to render. Fields that we do not know are ignored: producers may grow."""

    model_config = ConfigDict(frozen=True, strict=True)

    job_id: str
    title: Annotated[str, StringConstraints(max_length=300), _WRITABLE]
    character_theme: Name
    turns: Annotated[list[Turn], Field(min_length=1, max_length=MAX_TURNS)]

    @field_validator("job_id")
    @classmethod
    def _safe_as_file_name_and_key(cls, value: str) -> str:
        if not _is_id(value):
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
    """The job in a message body. Raises InvalidJobError naming field, value and what is allowed,
    and nothing else whatever the body is."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidJobError("(body)", f"{len(body)} bytes", f"at most {MAX_BODY_BYTES} bytes")
    content, twice = _read_json(body)
    if not isinstance(content, dict):
        raise InvalidJobError("(body)", content, "a JSON object")
    if twice is not None:
        job_id = None if twice == "job_id" else _sound_id(content)
        raise InvalidJobError(twice, "(given twice)", "each field of an object once", job_id)
    try:
        return Job.model_validate(content)
    except ValidationError as error:
        raise InvalidJobError(*first_problem(error), _sound_id(content)) from None


def _read_json(body: bytes) -> tuple[Any, str | None]:
    """What is in the body, and the first field that an object in it has twice."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in pairs:
            if name in made:
                twice.append(name)
            made[name] = value
        return made

    try:
        content = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=once,
            parse_int=_integer,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise InvalidJobError("(body)", body[:60], "JSON that is not nested so deep") from None
    except ValueError as error:
        allowed = f"a JSON object in UTF-8 ({error})"
        raise InvalidJobError("(body)", body[:60], allowed) from None
    return content, next(iter(twice), None)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits)} digits, at most {_MAX_DIGITS}")
    return int(digits)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _sound_id(content: dict[str, Any]) -> str | None:
    """The job_id, if it is one that a job may have."""
    job_id = content.get("job_id")
    return job_id if isinstance(job_id, str) and _is_id(job_id) else None


def _is_id(value: str) -> bool:
    # The job's status is stored under its id, which must not be a key of the ledger's own: all
    # of these but one have a colon.
    return bool(_JOB_ID.fullmatch(value)) and ".." not in value and value != WORKERS
