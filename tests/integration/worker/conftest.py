"""A real broker and a real Redis, once for all tests here; queues are each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.stack import Stack
from tests.support.worker_fleet import Fleet, make_video


@pytest.fixture(scope="session")
def worker_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack") / "run") as stack:
        yield stack.start("redis", "rabbitmq")


@pytest.fixture(scope="session")
def small_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "small.mp4")


@pytest.fixture
def fleet(worker_stack: Stack, small_video: Path, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(worker_stack, tmp_path, small_video)
    yield fleet
    fleet.stop()
