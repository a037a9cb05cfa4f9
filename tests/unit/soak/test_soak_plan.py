"""What a soak sends and breaks: the same for the same seed, and of everything something."""

from __future__ import annotations

import re
import struct
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.evidence import Kind
from tests.soak.faults import Fault, draw_faults
from tests.soak.plan import JOB_ID, Message, plan
from tests.soak.poison import FAMILIES, RawHeaders
from tests.soak.readings import SESSION_ENDED, SETTLED
from worker.jobs import parse_job

WORKER = Path(__file__).parents[3] / "worker"


def sent(message: Message) -> tuple[str, bytes, bytes]:
    return message.order, message.body, b"".join(message.properties.encode())


def test_the_seed_decides_everything() -> None:
    assert list(map(sent, plan(300, 7))) == list(map(sent, plan(300, 7)))
    assert list(map(sent, plan(300, 7))) != list(map(sent, plan(300, 8)))
    assert draw_faults(300, 7) == draw_faults(300, 7)
    assert draw_faults(300, 7) != draw_faults(300, 8)


@pytest.mark.parametrize("jobs", [300, 3_000])
def test_there_is_something_of_everything(jobs: int) -> None:
    messages = plan(jobs, 1)
    good = [each for each in messages if each.kind is not Kind.POISON]
    assert {each.kind for each in messages} == set(Kind)
    assert len({each.job_id for each in good}) == jobs
    assert len(messages) - len(good) == max(len(FAMILIES), jobs // 100)
    faults = [each.fault for stream in draw_faults(jobs, 1) for each in stream]
    assert set(faults) == set(Fault)


def test_second_copies_are_of_three_kinds() -> None:
    copies: dict[str, list[Message]] = {}
    for message in plan(3_000, 1):
        copies.setdefault(message.job_id, []).append(message)
    twice = [pair for pair in copies.values() if len(pair) == 2]
    ids = Counter(
        "other" if one.order != two.order else "none" if one.order == one.job_id else "same"
        for one, two in twice
    )
    assert ids == {"other": 30, "none": 30, "same": 30}
    assert all(one.body == two.body for one, two in twice)


def test_jobs_are_whole_and_every_message_can_be_known_again() -> None:
    for message in plan(1_000, 3):
        if message.kind is not Kind.POISON:
            assert parse_job(message.body).job_id == message.job_id
        found = JOB_ID.search(message.body.decode("latin-1"))
        assert found is not None
        assert found.group() == message.job_id


def test_raw_headers_are_what_a_broker_reads() -> None:
    flags, size, table, mode = RawHeaders(b"\x01xV").encode()
    assert (struct.unpack(">H", flags), struct.unpack(">I", size)) == ((0x3000,), (3,))
    assert (table, mode) == (b"\x01xV", b"\x02")


def test_faults_of_a_stream_come_one_after_the_other_and_end() -> None:
    for stream in draw_faults(10_000, 1):
        assert [each.at for each in stream] == sorted(each.at for each in stream)
        assert all(0 <= each.at < 0.9 and each.seconds <= 20 for each in stream)


def test_the_workers_words_are_those_that_the_soak_reads() -> None:
    """Were an event renamed, a crash would no longer be seen, or a settled job as cut off."""
    said = set(
        re.findall(r'_log\.\w+\(\s*"([^"]+)"', "".join(map(Path.read_text, WORKER.glob("*.py"))))
    )
    assert said >= SESSION_ENDED | SETTLED
