"""docs/metrics.md is as the code makes it, and says something of every metric."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import promql_parser
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("metrics_page", ROOT / "docs/metrics_page.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    sys.modules["metrics_page"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(maker: ModuleType) -> None:
    assert maker.PAGE.read_text() == maker.page(), "run python docs/metrics_page.py"


def test_every_metric_has_a_row_with_a_meaning_and_a_valid_query(maker: ModuleType) -> None:
    rows = re.findall(r"^\| `(.+?)` \| (\w+) \| (.+?) \| (.+?) \| `(.+)` \|$", maker.page(), re.M)
    assert len(rows) > 80
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names)
    for name, _, _, meaning, query in rows:
        assert len(meaning) > 5, name
        assert promql_parser.parse(query.replace("\\|", "|")), name
