"""Server-sent events: each section of the page whenever it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from scaler.policy.target import Target
from scaler.web.feed import Feed, Section, set_within
from scaler.web.page_data import RANGES, Series
from scaler.web.status import StatusBoard

_SHOWN_DECISIONS = 25


async def stream(board: StatusBoard, feed: Feed, target: Target, span: str) -> AsyncGenerator[str]:
    """Events as text until the server stops: what has changed, or a comment to keep it open."""
    if feed.full:  # others came first since it was asked for
        return
    event = asyncio.Event()
    with feed.looking(event, _topics(board, target, span)) as topics:
        told = [0] * len(topics)
        while not feed.pulse.ended:
            event.clear()
            quiet = True
            for number, topic in enumerate(topics):
                news, told[number] = topic.news(told[number]), topic.version
                for part, text in news:
                    quiet = False
                    # The clock lets the page tell ages though its own may be wrong.
                    yield f"event: {part}\nid: {board.clock():.3f}\ndata: {text}\n\n"
            if quiet:
                yield ": still here\n\n"
            await set_within(event, feed.refresh_s())


def _topics(board: StatusBoard, target: Target, span: str) -> Mapping[Any, Sequence[Section]]:
    """What a page shows, by who else shows the same: all pages, those of the target, and those of
    the same span too."""
    return {
        "all": _of_all(board),
        target.name: _of_target(board, target),
        (target.name, span): _of_chart(board, target, span),
    }


def _of_all(board: StatusBoard) -> Sequence[Section]:
    controller = board.controller
    return (
        Section("system", board.system, _plain),
        Section("names", lambda: [each.name for each in controller.targets]),
        Section("targets", board.summaries, _plain, listed=True),
        Section("alerts", board.watch.alerts, _all_plain),
    )


def _of_target(board: StatusBoard, target: Target) -> Sequence[Section]:
    name, history = target.name, board.controller.history

    def now() -> Target:
        # As it is configured now: a reload may have changed it since the page was opened.
        return board.target(name) or target

    return (
        Section("status", lambda: board.status(now()), _slim),
        Section("explanation", lambda: board.explanation(now())),
        Section(
            "fleet",
            lambda: (tuple(board.controller.workers(name)), now().queue, board.watch.extras()),
            lambda _: _all_plain(board.workers(now())),
        ),
        Section(
            "decisions",
            lambda: history.decisions(name, limit=1),
            lambda _: _all_plain(board.decisions(now(), limit=_SHOWN_DECISIONS)),
        ),
        Section("orders", lambda: history.orders(name, limit=5)),
    )


def _of_chart(board: StatusBoard, target: Target, span: str) -> Sequence[Section]:
    name = target.name
    return (
        Section("chart", lambda: board.watch.series(board.target(name) or target, span), _chart),
        Section("events", lambda: board.scale_events.of(name, RANGES[span]), _all_plain),
    )


def _plain(model: Any) -> dict[str, Any]:
    plain: dict[str, Any] = model.model_dump()
    return plain


def _all_plain(models: Sequence[Any]) -> list[dict[str, Any]]:
    return [_plain(model) for model in models]


def _slim(status: Any) -> dict[str, Any]:
    """Without what changes at every cycle though nothing has happened."""
    plain = _plain(status)
    plain.pop("timestamp")
    return plain


def _chart(series: Series) -> dict[str, Any]:
    return {"start": series.start, "step": series.step_s, "series": series.values}
