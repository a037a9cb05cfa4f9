"""One running loop for all e2e tests; each begins and ends at rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loop import Loop


@pytest.fixture(scope="session")
def running_loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder: Path = tmp_path_factory.mktemp("loop") / "stack"
    loop = Loop(folder)
    with loop.stack:
        yield loop.start()


@pytest.fixture
def loop(running_loop: Loop) -> Loop:
    running_loop.rest()
    running_loop.announced()
    return running_loop
