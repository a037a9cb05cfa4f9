"""Every PromQL query of this repository, and who asks it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from common.errors import ConfigError
from grafana import build
from scaler.external.metadata import Trigger
from scaler.loop.restore import Due, Restore
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, Sample
from scaler.prometheus.look import Signals
from scaler.simulate.past import trace_from
from scaler.web.page_data import RANGES, PageData

ROOT = Path(__file__).resolve().parent.parent
OTHERS = (
    "up",
    "ALERTS",
    "prometheus_rule_group_last_duration_seconds",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_alarms_free_disk_space_watermark",
    r"rabbitmq_alarms_\.\+",
)
"""Patterns of series that others give and that are asked for: Prometheus itself and RabbitMQ's
plugin, of which an alert asks for all alarms by a pattern."""
# The names that only we use, as they stand in a text.
_NAME = re.compile(r"\b(?:autoscaler|rabbitmq_queue)_[a-z0-9_]+|\bqueue:\w+:\w+")


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """One query."""

    by: str
    """The program that asks, or what has it asked: rules, dashboards."""
    where: str
    expr: str


def all_queries() -> Iterator[AskedQuery]:
    """Every query that is asked, as Prometheus gets it."""
    for by, queries in (
        ("scaler", _scaler()),
        ("status page", _status_page()),
        ("external scaler", Trigger(queue="q").value_queries),
        ("simulator", _simulator()),
    ):
        for expr in queries:
            yield AskedQuery(by, expr, expr)
    for path in sorted(ROOT.glob("demo/*.py")):
        for literal in literals(path):
            if names_in(literal):
                yield AskedQuery("demo", str(path.relative_to(ROOT)), literal)
    yield from _rules()
    yield from _dashboards()


def series_of(expr: str) -> set[str]:
    """The series that a query selects, by name or by the pattern of their names.

    Raises ValueError where it is no PromQL.
    """
    try:
        tree = promql_parser.parse(expr)
    except ValueError as error:
        raise ValueError(f"{expr} is no PromQL: {error}") from error
    # Several that are taken together are named as alternatives.
    return {name for selector in selectors(tree) for name in _name(selector).split("|")}


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector below a node of promql_parser's tree."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
        below = getattr(node, name, None)
        if below is not None:
            yield from selectors(below)
    args = getattr(node, "args", None)
    for below in args if isinstance(args, list) else []:
        yield from selectors(below)


def _name(selector: Any) -> str:
    named = [m.value for m in selector.matchers.matchers if m.name == "__name__"]
    return str(selector.name or "".join(named))


def names_in(text: str) -> set[str]:
    """The names of our series that a text has, in PromQL or not."""
    return set(_NAME.findall(text))


def literals(path: Path) -> Iterator[str]:
    """The strings of a Python module but its docstrings; {} stands for what is filled in."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr):
            parts = (str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            waiting += ast.iter_child_nodes(node)


class _Recorder(Prometheus):
    """Knows nothing and keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__("http://prometheus")
        self.asked: list[str] = []

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:  # noqa: ARG002 - inherited
        self.asked.append(query)
        return []

    def matrix(self, query: str, *_: float | None) -> list[Any]:
        self.asked.append(query)
        return []


def _scaler() -> list[str]:
    prometheus, target = _Recorder(), Target(forecast=True)
    seen = Signals(prometheus).look([target])[target.name].observation
    Restore(prometheus)([Due(target, None, seen)], 0.0)
    return prometheus.asked


def _status_page() -> list[str]:
    prometheus = _Recorder()
    page = PageData(prometheus, 1.0, lambda: 0.0)
    page.extras()
    page.alerts()
    page.series(Target(), next(iter(RANGES)))
    return prometheus.asked


def _simulator() -> list[str]:
    prometheus = _Recorder()
    with suppress(ConfigError):  # no job is known to it
        trace_from(prometheus, "q", 60.0, 0.0)
    return prometheus.asked


def _rules() -> Iterator[AskedQuery]:
    for path in sorted(ROOT.glob("prometheus/rules/*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                where = rule.get("alert") or rule["record"]
                yield AskedQuery("rules", where, rule["expr"])
                for text in rule.get("annotations", {}).values():
                    for expr in re.findall(r'query "([^"]+)"', text):
                        yield AskedQuery("rules", where, expr)


def _dashboards() -> Iterator[AskedQuery]:
    """Those of panels, annotations and variables."""
    for query in build.panel_queries():
        yield AskedQuery("dashboards", f"{query.dashboard}/{query.panel}", query.expr)
    for path, content in build.files().items():
        board = json.loads(content)
        for note in board["annotations"]["list"]:
            expr = note["expr"].replace("$__rate_interval", "1m")
            yield AskedQuery("dashboards", f"{path.stem}/{note['name']}", expr)
        for variable in board["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.+), \w+\)", str(variable["query"]))
            if found:
                yield AskedQuery("dashboards", f"{path.stem}/{variable['name']}", found[1])
