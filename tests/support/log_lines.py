"""What is logged while a test looks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from common import logs


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """The lines logged inside, of every level: their fields, `event` and `log_level`."""
    lines: list[dict[str, Any]] = []
    handler = _Keeper(lines)
    ours = logging.getLogger(logs.OURS)
    before = ours.level
    ours.setLevel(logging.DEBUG)
    ours.addHandler(handler)
    try:
        yield lines
    finally:
        ours.removeHandler(handler)
        ours.setLevel(before)


class _Keeper(logging.Handler):
    def __init__(self, lines: list[dict[str, Any]]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = getattr(record, "fields", {})
        known = {"event": record.getMessage(), "log_level": record.levelname.lower()}
        self._lines.append({**fields, **known})
