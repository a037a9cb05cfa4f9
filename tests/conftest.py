"""Of all tests: what runs beside what, and that a slow machine is no failure.

Tests that share parts (an engine, a running loop) run in one process, one after the other; such
groups run side by side, since most of their time is waiting. The longest begin first.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
_LONGEST_FIRST = ("swarm", "integration/worker", "e2e", "integration")

settings.register_profile(
    "noisy", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("noisy")


# First, since the scheduler reads the groups in a hook of the same name.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put every test into its group, and the long groups first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.path)))
    items.sort(key=lambda item: _rank(_group(item.path)))


def _group(path: Path) -> str:
    place = path.relative_to(TESTS)
    # The demo brings a stack of its own and shares nothing.
    alone = place.parts[0] == "unit" or place.stem == "test_demo"
    return str(place) if alone else str(place.parent)


def _rank(group: str) -> int:
    matches = (n for n, start in enumerate(_LONGEST_FIRST) if group.startswith(start))
    return next(matches, len(_LONGEST_FIRST))
