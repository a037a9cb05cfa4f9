"""Job messages: what is accepted, and how the rest is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.jobs import MAX_BODY_BYTES, MAX_SPOKEN_CHARACTERS, InvalidJobError, parse_job

GOOD: dict[str, Any] = {
    "job_id": "job-1",
    "title": "A talk",
    "character_theme": "garden",
    "turns": [{"speaker": "ada", "text": "Hello."}],
}


def body(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_a_sound_job_is_read_and_unknown_fields_pass() -> None:
    job = parse_job(body(priority=3))
    assert job.job_id == "job-1"
    assert job.turns[0].text == "Hello."


@pytest.mark.parametrize(
    ("raw", "field", "job_id"),
    [
        (b"{", "(body)", None),
        (b"\xff\xfe", "(body)", None),
        (b"[]", "(body)", None),
        (b"x" * (MAX_BODY_BYTES + 1), "(body)", None),
        (body(job_id="../up"), "job_id", None),
        (body(job_id="a..b"), "job_id", None),
        (body(job_id="video_workers"), "job_id", None),
        (body(job_id=7), "job_id", None),
        (body(title=None), "title", "job-1"),
        (body(turns=[]), "turns", "job-1"),
        (body(turns=[{"speaker": "ada"}]), "turns.0.text", "job-1"),
        (body(turns=[{"speaker": "ada", "text": "  "}]), "turns.0.text", "job-1"),
        (
            body(
                turns=[{"speaker": "a", "text": "x" * 1999}] * (MAX_SPOKEN_CHARACTERS // 1999 + 1)
            ),
            "turns",
            "job-1",
        ),
    ],
)
def test_an_unsound_job_is_refused_by_field(raw: bytes, field: str, job_id: str | None) -> None:
    with pytest.raises(InvalidJobError) as caught:
        parse_job(raw)
    assert caught.value.field == field
    assert caught.value.job_id == job_id
    assert len(str(caught.value)) < 400


@given(st.binary(max_size=300) | st.from_type(dict).map(lambda d: repr(d).encode()))
def test_no_body_does_anything_but_parse_or_be_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidJobError):
        parse_job(raw)
