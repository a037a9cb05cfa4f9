"""Structured logs: one JSON object a line on stderr, or aligned text on a terminal."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

OURS = "autoscaler"
"""The logger that all of ours belong to."""
_CREDENTIALS = re.compile(r"(?<=://)[^\s'\"<>|]*@")
_INPUT = re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL)
_LEVEL_COLOURS = {"debug": 36, "info": 32, "warning": 33, "error": 31}
_bound: ContextVar[dict[str, Any] | None] = ContextVar("bound", default=None)


class Logger(logging.LoggerAdapter[logging.Logger]):
    """Takes an event and its fields by name: `info("serving", port=80)`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the fields, and those bound to this thread, where the formatters look for them."""
        exc_info = kwargs.pop("exc_info", None)
        fields = {**(_bound.get() or {}), **kwargs}
        return msg, {"exc_info": exc_info, "extra": {"fields": fields}}


class _JsonLines(logging.Formatter):
    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        return _harmless(json.dumps(self._line(record), default=repr))

    def _line(self, record: logging.LogRecord) -> dict[str, Any]:
        at = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None)
        line = {
            "component": record.name.removeprefix(f"{OURS}."),
            **getattr(record, "fields", {}),
            "event": record.getMessage(),
            "program": self._program,
            "level": record.levelname.lower(),
            "timestamp": f"{at.isoformat()}Z",
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return line


class _Aligned(_JsonLines):
    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record)
        at, level, event = (line.pop(name) for name in ("timestamp", "level", "event"))
        trace = f"\n{line.pop('exception')}" if "exception" in line else ""
        fields = " ".join(f"{name}={_shown(value)}" for name, value in sorted(line.items()))
        colour = f"\x1b[{_LEVEL_COLOURS.get(level, 31)}m"
        shown = f"{at} [{colour}{level:8}\x1b[0m] \x1b[1m{event:30}\x1b[0m {fields}{trace}"
        return _harmless(shown)


def configure(program: str, level: str = "info", *, terminal: bool | None = None) -> None:
    """Send all logs to stderr, each line naming `program`; of libraries only their errors."""
    pretty = sys.stderr.isatty() if terminal is None else terminal
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Aligned(program) if pretty else _JsonLines(program))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.getLogger(OURS).setLevel(level.upper())
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value, args.exc_traceback
    )


def get(name: str) -> Logger:
    """A logger whose lines carry `component=name`."""
    return Logger(logging.getLogger(f"{OURS}.{name}"), {})


def bind(**fields: Any) -> None:
    """What every later line of this thread carries, in place of what was bound before."""
    _bound.set(fields)


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """In place of the interpreter's own hook, which writes whatever an exception says."""
    if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    get("uncaught").critical("uncaught exception", exc_info=(kind, error, trace))


def _harmless(text: str) -> str:
    """`text` without user and password of URLs, and without the values that pydantic complains
    of, which exceptions of libraries may have in them."""
    return _INPUT.sub("input_value=(not shown)", _CREDENTIALS.sub("…@", text))


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else repr(value)
