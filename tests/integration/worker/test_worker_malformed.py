"""Whatever comes in, the worker stays, and says of each message why it was parked."""

from __future__ import annotations

import json
from typing import Any

import pika
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.support.waiting import until
from tests.support.worker_fleet import Fleet
from worker.jobs import InvalidJobError, parse_job
from worker.video.themes import Catalogue

pytestmark = pytest.mark.integration

CATALOGUE = Catalogue.load()
GOOD: dict[str, Any] = {
    "job_id": "job-1",
    "title": "A title",
    "character_theme": "meadow",
    "turns": [{"speaker": "ruby", "text": "Hello."}],
}
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good job with one field gone, replaced or grown."""
    job = json.loads(json.dumps(GOOD))
    field = draw(
        st.sampled_from(["job_id", "title", "character_theme", "turns", "speaker", "text"])
    )
    place = job["turns"][0] if field in ("speaker", "text") else job
    if draw(st.booleans()):
        del place[field]
    else:
        place[field] = draw(anything | st.just("x" * 5_000) | st.just([GOOD["turns"][0]] * 101))
    return json.dumps(job).encode()


bodies = st.binary(max_size=300) | anything.map(lambda x: json.dumps(x).encode()) | spoiled()


def is_refused(raw: bytes) -> bool:
    try:
        CATALOGUE.check(parse_job(raw))
    except InvalidJobError:
        return True
    return False


def malformed(count: int) -> list[bytes]:
    found: list[bytes] = []

    @seed(20)
    @settings(max_examples=count * 3, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies)
    def collect(raw: bytes) -> None:
        if len(found) < count and is_refused(raw):
            found.append(raw)

    collect()
    return found


def test_two_hundred_malformed_bodies(fleet: Fleet) -> None:
    big = b'{"job_id": "big", "x": "' + b"y" * 300_000 + b'"}'
    raws = [*malformed(198), b"[" * 100_000, big]
    assert len(raws) == 200
    fleet.start()
    fleet.ready()
    with fleet.channel() as channel:
        for raw in raws:
            channel.basic_publish("", fleet.job_queue, raw, pika.BasicProperties(delivery_mode=2))
    job = fleet.submit("fast")
    until(lambda: fleet.status(job) == "done")
    assert fleet.processes["w1"].poll() is None
    parked = fleet.take(f"{fleet.job_queue}.dead")
    assert sorted(raw for _, raw in parked) == sorted(raws)
    for properties, _ in parked:
        assert "is not allowed; allowed: " in properties.headers["x-error"]
