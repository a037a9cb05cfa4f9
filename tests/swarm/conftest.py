"""Fixtures of the Swarm tests: one private engine for the session, images on demand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.swarm import images
from tests.swarm.crew import Crew
from tests.swarm.engine import Engine, image_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Swarm of one node, with the Debian stand-in image."""
    with image_engine() as started:
        images.build_base(started)
        started.swarm_init()
        yield started


@pytest.fixture(scope="session")
def shipped(engine: Engine) -> Engine:
    """The engine with every image that the shipped stack file names."""
    images.build_standins(engine)
    images.build_programs(engine)
    return engine


@pytest.fixture
def crew(engine: Engine) -> Iterator[Crew]:
    """Services of stand-in workers on the engine; gone after the test."""
    with Crew([engine]) as made:
        yield made
