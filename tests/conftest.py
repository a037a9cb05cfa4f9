"""Of all tests: what runs beside what, and that a slow machine is no failure.

Tests that share parts (an engine, a running loop) run in one process, one after the other; such
groups run side by side, since most of their time is waiting. The longest begin first.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

_LONGEST_FIRST = ("tests/swarm", "tests/integration/worker", "tests/e2e", "tests/integration")

settings.register_profile(
    "noisy", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("noisy")


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist is not typed
    """One process for each group of tests that share parts."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Used when tests run in several processes (`-n`)."""
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long groups first."""
    items.sort(key=lambda item: _rank(_group(item.nodeid)))


def _group(nodeid: str) -> str:
    path = PurePosixPath(nodeid.partition("::")[0])
    # The demo brings a stack of its own and shares nothing.
    alone = "unit" in path.parts or path.stem == "test_demo"
    return str(path if alone else path.parent)


def _rank(group: str) -> int:
    matches = (n for n, start in enumerate(_LONGEST_FIRST) if group.startswith(start))
    return next(matches, len(_LONGEST_FIRST))
