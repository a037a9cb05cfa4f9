"""Server-sent events: each section of the page whenever it has changed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from common.logs import get
from scaler.policy.target import Target
from scaler.web.status import StatusBoard

_log = get("events")
MAX_STREAMS = 64
_SHOWN_DECISIONS = 25


class Pulse:
    """Wakes streams after every cycle of the controller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.ended = False

    def end(self) -> None:
        """Have every stream end, and cleanly: the server stops."""
        self.ended = True
        self.beat()

    def beat(self) -> None:
        """A cycle has ended; callable on any thread."""
        with self._lock:
            waiting = list(self._waiting.items())
        for event, loop in waiting:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def join(self) -> asyncio.Event | None:
        """An event that every beat sets, or None when there are too many streams."""
        with self._lock:
            if len(self._waiting) >= MAX_STREAMS:
                return None
            event = asyncio.Event()
            self._waiting[event] = asyncio.get_running_loop()
            return event

    def leave(self, event: asyncio.Event) -> None:
        """Stop setting it."""
        with self._lock:
            self._waiting.pop(event, None)


async def stream(
    board: StatusBoard, pulse: Pulse, beat: asyncio.Event, target: Target, span: str
) -> AsyncIterator[str]:
    """Events as text until the server stops: what has changed, or a comment to keep it open."""
    sent: dict[str, str] = {}
    try:
        while not pulse.ended:
            beat.clear()
            quiet = True
            # One by one, so that what is quick to know is not kept back by what is not.
            for name, make in _sections(board, target, span).items():
                try:
                    text = await run_in_threadpool(_text, make)
                except Exception:
                    # A page with a part less still serves, one that breaks off does not.
                    _log.exception("section failed", section=name, target=target.name)
                    continue
                if sent.get(name) != text:
                    sent[name], quiet = text, False
                    # The clock lets the page tell ages though its own may be wrong.
                    yield f"event: {name}\nid: {board.clock():.3f}\ndata: {text}\n\n"
            if quiet:
                yield ": still here\n\n"
            try:
                await asyncio.wait_for(beat.wait(), board.watch.refresh_s)
            except TimeoutError:
                continue
    finally:
        pulse.leave(beat)


def _text(make: Callable[[], Any]) -> str:
    return json.dumps(make(), separators=(",", ":"), allow_nan=False)


def _sections(board: StatusBoard, target: Target, span: str) -> dict[str, Callable[[], Any]]:
    name = target.name
    # The target as it is configured now: a reload may have changed it since the page was opened.
    now = board.target(name) or target
    return {
        "status": lambda: [_slim(each.model_dump()) for each in board.statuses()],
        "system": lambda: board.system().model_dump(),
        "explanation": lambda: board.explanation(now),
        "fleet": lambda: [each.model_dump() for each in board.workers(now)],
        "decisions": lambda: [
            each.model_dump() for each in board.decisions(now, limit=_SHOWN_DECISIONS)
        ],
        "orders": lambda: board.controller.history.orders(name, limit=5),
        "alerts": lambda: [each.model_dump() for each in board.watch.alerts()],
        "chart": lambda: board.chart(now, span).model_dump(),
    }


def _slim(status: dict[str, Any]) -> dict[str, Any]:
    """Without what changes at every cycle though nothing has happened."""
    status.pop("timestamp")
    return status
