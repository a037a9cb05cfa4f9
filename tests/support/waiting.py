"""Waiting for what happens, at whatever speed the machine has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def until(
    check: Callable[[], Any],
    what: str = "",
    *,
    timeout_s: float = 120.0,
    every_s: float = 0.1,
    explain: Callable[[], object] | None = None,
) -> Any:
    """What `check()` gives once that is true; fails the test, with `explain()`, when it is not."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        if time.monotonic() > deadline:
            why = f": {explain()}" if explain else ""
            raise AssertionError(f"{what or check}: not within {timeout_s:.0f} s{why}")
        time.sleep(every_s)
    return found
