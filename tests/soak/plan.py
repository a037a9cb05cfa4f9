"""What is sent in a soak, drawn from its seed: jobs, second copies of some, and poison."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pika

from tests.soak.evidence import Kind
from tests.soak.poison import FAMILIES

JOB_ID = re.compile(r"(?:job|poison)-\d{5}")
"""In whatever has to do with a job or a poison message."""
MESSAGE_ID = re.compile(r"m-[0-9a-f]{8}$")
_SHARES = {Kind.TRANSIENT: 0.03, Kind.PERMANENT: 0.005, Kind.DEADLY: 0.002}
_WITHOUT_ID = 0.3
_DUPLICATES = 0.01
"""Of each kind: under another message id, under the same one, without any."""
_LATER = 60.0
_POISON_EVERY = 100


@dataclass(frozen=True, slots=True)
class Message:
    """A message for the job queue; `order` is the key under which it is announced."""

    order: str
    job_id: str
    kind: Kind
    body: bytes
    properties: Any


def plan(jobs: int, seed: int) -> list[Message]:
    """All messages of a run in the order in which they are sent: the same for the same seed."""
    rng = random.Random(seed)
    placed = [*_jobs(jobs, rng), *_poison(jobs, rng)]
    return [message for _, message in sorted(placed, key=lambda pair: pair[0])]


def title(kind: Kind, rng: random.Random) -> str:
    """What the stand-in is to do: what, how many times before it succeeds, for how long."""
    times = rng.randint(1, 2) if kind is Kind.TRANSIENT else rng.randint(1, 3)
    return f"{kind} {times} {rng.uniform(0.02, 0.2):.3f}"


def job_body(job_id: str, words: str) -> bytes:
    """A whole job."""
    turns = [{"speaker": "ruby", "text": "Hello."}]
    job = {"job_id": job_id, "title": words, "character_theme": "meadow", "turns": turns}
    return json.dumps(job).encode()


def _jobs(jobs: int, rng: random.Random) -> Iterator[tuple[float, Message]]:
    kinds = [kind for kind, share in _SHARES.items() for _ in range(max(1, round(jobs * share)))]
    kinds += [Kind.GOOD] * (jobs - len(kinds))
    rng.shuffle(kinds)
    copied = rng.sample(range(jobs), 3 * max(1, round(jobs * _DUPLICATES)))
    for number, kind in enumerate(kinds):
        job_id = f"job-{number:05d}"
        body = job_body(job_id, title(kind, rng))
        first: str | None = None if rng.random() < _WITHOUT_ID else f"m-{rng.randrange(16**8):08x}"
        later = number + rng.uniform(0.5, _LATER)
        if number in copied:
            # One third of each: other ids, no ids, the same id.
            case = copied.index(number) % 3
            second = f"m-{rng.randrange(16**8):08x}" if case == 0 else None
            if case == 2:
                first = second = f"m-{rng.randrange(16**8):08x}"
            elif case == 1:
                first = None
            yield later, _message(job_id, kind, body, second)
        yield number, _message(job_id, kind, body, first)


def _message(job_id: str, kind: Kind, body: bytes, message_id: str | None) -> Message:
    order = f"{job_id}.{message_id}" if message_id else job_id
    properties = pika.BasicProperties(delivery_mode=2, message_id=message_id)
    return Message(order, job_id, kind, body, properties)


def _poison(jobs: int, rng: random.Random) -> Iterator[tuple[float, Message]]:
    families = list(FAMILIES)
    rng.shuffle(families)
    for number in range(max(len(families), jobs // _POISON_EVERY)):
        name = families[number % len(families)]
        job_id = f"poison-{number:05d}"
        good = job_body(job_id, title(Kind.GOOD, rng))
        body, properties = FAMILIES[name](good, job_id, rng)
        yield rng.uniform(0, jobs), Message(job_id, job_id, Kind.POISON, body, properties)
