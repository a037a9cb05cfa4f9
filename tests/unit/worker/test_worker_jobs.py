"""Job messages: what is accepted, and how the rest is refused."""

from __future__ import annotations

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


def nested(depth: int, of: str = "[") -> bytes:
    opening, closing = ("[", "]") if of == "[" else ('{"a":', "}")
    return f"{opening * depth}0{closing * depth}".encode()


def with_raw(field: str, raw: bytes) -> bytes:
    """A good job with `raw` as the text of one field's value."""
    marked = body(**{field: "(here)"})
    return marked.replace(b'"(here)"', raw)


@pytest.mark.parametrize(
    ("raw", "field", "allowed", "job_id"),
    [
        (body(title="\ud800"), "title", "surrogate", "job-1"),
        (with_raw("title", b'"\xed\xa0\x80"'), "(body)", "UTF-8", None),
        (body(turns=[{"speaker": "a", "text": "x\udfff"}]), "turns.0.text", "surrogate", "job-1"),
        (body(turns=[{"speaker": "a\0", "text": "x"}]), "turns.0.speaker", "U+0000", "job-1"),
        (body(title="a\0b"), "title", "U+0000", "job-1"),
        (body(character_theme="\0"), "character_theme", "U+0000", "job-1"),
        (body(score=float("nan")), "(body)", "NaN is no number", None),
        (body(score=float("-inf")), "(body)", "-Infinity is no number", None),
        (with_raw("score", b"9" * 5_000), "(body)", "an integer of 5000 digits", None),
        (with_raw("title", b"9" * 999), "title", "a valid string", "job-1"),
        (with_raw("title", b"1e999"), "title", "a valid string", "job-1"),
        (b'{"title": "a", "job_id": "job-1", "title": "b"}', "title", "once", "job-1"),
        (b'{"job_id": "job-1", "job_id": "job-2"}', "job_id", "once", None),
        (with_raw("x", b'{"\\u001b": 1, "\\u001b": 2}'), "\x1b", "once", "job-1"),
        (body().decode().encode("utf-16"), "(body)", "UTF-8", None),
        (nested(100_000), "(body)", "nested", None),
        (nested(40_000, "{"), "(body)", "nested", None),
    ],
)
def test_what_json_allows_and_no_video_can_be_made_of_is_refused(
    raw: bytes, field: str, allowed: str, job_id: str | None
) -> None:
    with pytest.raises(InvalidJobError) as caught:
        parse_job(raw)
    assert (caught.value.field, caught.value.job_id) == (field, job_id)
    assert allowed in caught.value.allowed
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("field", ["job_id", "title", "turns", "character_theme"])
@pytest.mark.parametrize("of", ["[", "{"])
def test_a_value_just_below_the_parsers_limit_is_refused_like_any_other(
    field: str, of: str
) -> None:
    low, high = 1, 60_000
    while high - low > 1:
        middle = (low + high) // 2
        try:
            json.loads(nested(middle, of))
            low = middle
        except RecursionError:
            high = middle
    # Somewhere about there, whatever else is on the stack.
    for depth in range(max(1, low - 120), low + 20, 7):
        with pytest.raises(InvalidJobError) as caught:
            parse_job(with_raw(field, nested(depth, of)))
        assert caught.value.field in (field, f"{field}.0", "(body)")
        assert len(str(caught.value)) < 400


def test_a_byte_order_mark_is_no_reason_to_refuse() -> None:
    assert parse_job(b"\xef\xbb\xbf" + body()).job_id == "job-1"


texts = st.text(st.characters(exclude_categories=[]), max_size=30)
numbers = st.floats() | st.integers() | st.integers(min_value=10**300, max_value=10**1_100)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda x: st.lists(x, max_size=4) | st.dictionaries(texts, x, max_size=4),
    max_leaves=10,
)
fields = st.sampled_from([*GOOD, "other", "speaker", "text"])


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good job with some fields replaced or given once more, cut or with bytes changed."""
    pairs = [*GOOD.items(), *draw(st.lists(st.tuples(fields, values), max_size=2))]
    turn = [*GOOD["turns"][0].items(), *draw(st.lists(st.tuples(fields, values), max_size=1))]
    as_text = "{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in turn) + "}"
    parts = (
        f"{json.dumps(k)}: " + (f"[{as_text}]" if k == "turns" else json.dumps(v, allow_nan=True))
        for k, v in pairs
    )
    raw = bytearray("{" + ", ".join(parts) + "}", "utf-8")
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)))):
        raw[at] = byte
    return bytes(raw)


@given(
    st.binary(max_size=300)
    | spoiled()
    | values.map(lambda x: json.dumps(x).encode())
    | st.builds(nested, st.integers(1, 30_000), st.sampled_from("[{"))
)
def test_no_body_does_anything_but_parse_or_be_refused(raw: bytes) -> None:
    refusal = ""
    try:
        job = parse_job(raw)
    except InvalidJobError as error:
        refusal = str(error)
    else:
        assert parse_job(job.model_dump_json().encode()) == job
    assert refusal.isprintable()
    assert len(refusal) < 400
