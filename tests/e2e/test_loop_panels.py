"""Every panel of every dashboard, asked of the Prometheus of the running loop."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

import pytest

from grafana.build import PanelQuery, panel_queries
from tests.support.loop import Loop, dialogue
from tests.support.waiting import until

pytestmark = pytest.mark.e2e


def answer(loop: Loop, query: PanelQuery) -> list[Any]:
    """The series of one query; an error of Prometheus is raised."""
    asked = urllib.parse.urlencode({"query": query.expr})
    url = f"{loop.stack.prometheus_url}/api/v1/query?{asked}"
    with urllib.request.urlopen(url, timeout=10) as response:
        found: list[Any] = json.load(response)["data"]["result"]
    return found


def test_every_panel_shows_data(loop: Loop) -> None:
    loop.broker.publish([dialogue("panel-1"), dialogue("panel-2")])
    loop.done(["panel-1", "panel-2"])
    queries = list(panel_queries())
    empty: list[str] = []

    def all_answer() -> bool:
        # Scrapes are up to 15 s apart and a rate needs two of them.
        empty[:] = [
            f"{query.dashboard}/{query.panel}: {query.expr}"
            for query in queries
            if not query.may_be_empty and not answer(loop, query)
        ]
        return not empty

    try:
        until(all_answer, "every panel has data", timeout_s=90, every_s=3)
    except AssertionError as error:
        raise AssertionError(f"{error}; empty: {empty}") from None
    for query in queries:
        answer(loop, query)
