"""What can be added, and how each is taken out again: found in the code, nothing listed by hand.

A further place is one function that gives its probes, and its line in `PLACES`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial

from docs.queries import series_of
from exporter.thresholds import THRESHOLDS
from grafana.build import DASHBOARDS
from scaler.policy.limits import Limit
from scaler.policy.memory import Survival, marks
from scaler.policy.target import Knobs
from tests.house.source import ROOT, Source, first_party
from tests.probe.edits import replaced, without_item, without_statement
from tests.probe.engine import Probe

_DEFINES_METRIC = re.compile(r"(Metric|[Gg]auge|[Cc]ounter|[Hh]istogram|Summary|Info)(Metric\w*)?")
_NAME = re.compile(r"[a-z]+(_[a-z]+)+")


def limits() -> Iterator[Probe]:
    """What each limit says of itself: its word, its sentence, what the page makes of it, …"""
    path = "scaler/policy/limits.py"
    tests = ("tests/unit/scaler/test_policy_limits.py",)
    names = [each.name for each in fields(type(next(iter(Limit)).value))]
    known = {limit.name for limit in Limit}
    for name, call in _members(_source(path), "Limit"):
        known.remove(name)
        given = dict(zip(names, call.args, strict=False))
        given |= {keyword.arg or "": keyword.value for keyword in call.keywords}
        for attribute, value in given.items():
            change = partial(replaced, node=value, new=_otherwise(value))
            yield Probe("limit", f"{name}: {attribute}", path, change, tests)
    assert not known, known


def _members(source: Source, enum: str) -> Iterator[tuple[str, ast.Call]]:
    for statement in _class(source, enum).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                yield name, call


def _otherwise(value: ast.expr) -> str:
    """Another value of the same kind: nothing for a text, the other truth value."""
    match value:
        case ast.Constant(value=bool(given)):
            return str(not given)
        case ast.Constant(value=str()) | ast.JoinedStr():
            return '""'
    return "None"


def memory() -> Iterator[Probe]:
    """Each field of the memory, from what is kept and from what is rebuilt, and its mark."""
    path, tests = "scaler/policy/memory.py", ("tests/unit/scaler/test_policy_memory.py",)
    for name, mark in marks().items():
        forgotten = f"{{}}._replace({name}=Memory().{name})"
        kept = _FORGETS_WHEN_KEPT.format(forgotten.format("self"))
        yield Probe("memory, kept", name, path, partial(_with, more=kept), tests)
        if mark.of is not Survival.KEPT:
            rebuilt = _FORGETS_WHEN_REBUILT.format(forgotten.format("_whole(*args, **kwargs)"))
            change = partial(_with, more=rebuilt)
            yield Probe("memory, rebuilt", name, "scaler/policy/remember.py", change, tests)
    yield from _marks(path, tests)


_FORGETS_WHEN_KEPT = """
_whole = Memory.to_json
Memory.to_json = lambda self: _whole({})
"""
_FORGETS_WHEN_REBUILT = """
_whole = rebuild
def rebuild(*args, **kwargs):
    return {}
"""


def _with(text: str, more: str) -> str:
    return text + more


def _marks(path: str, tests: Sequence[str]) -> Iterator[Probe]:
    """What the mark of each field says: how it is had again, how far back, how it is read."""
    for field in _fields(path, "Memory"):
        name = ast.unparse(field.target)
        for call in _calls(field.annotation, "Remembered"):
            given: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
            of, *others = given
            kept = ast.unparse(of) == "Survival.KEPT"
            change = partial(replaced, node=of, new=f"Survival.{'SEEN' if kept else 'KEPT'}")
            yield Probe("memory, mark", f"{name}: {ast.unparse(of)}", path, change, tests)
            for each in others:
                change = partial(without_item, node=each)
                yield Probe("memory, mark", f"{name}: {ast.unparse(each)}", path, change, tests)


def metrics() -> Iterator[Probe]:
    """The line that defines each metric, wherever it stands."""
    for source in first_party():
        for statement in ast.walk(source.tree):
            if not isinstance(statement, ast.Assign | ast.Expr | ast.Return):
                continue
            for name in _metrics_of(statement):
                yield Probe(
                    "metric",
                    name,
                    source.path,
                    partial(without_statement, node=statement),
                    ("tests/unit/exporter/test_metric_names.py",),
                    generates=True,
                )


def _metrics_of(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        match node:
            case ast.Call(
                func=ast.Name(id=kind) | ast.Attribute(attr=kind),
                args=[ast.Constant(value=str(name)), *_],
            ) if _DEFINES_METRIC.fullmatch(kind) and _NAME.fullmatch(name):
                yield name


def alerts() -> Iterator[Probe]:
    """The default of each threshold of an alert, and the threshold itself."""
    path = "exporter/thresholds.py"
    tests = tuple(f"tests/unit/exporter/test_exporter_{of}.py" for of in ("thresholds", "rules"))
    known = {each.alert: each for each in THRESHOLDS}
    for node in _calls(_source(path).tree, "Threshold"):
        alert = ast.literal_eval(node.args[0])
        other = known.pop(alert).default + 1
        change = partial(replaced, node=node.args[1], new=f"{other:g}")
        yield Probe("alert default", alert, path, change, tests, generates=True)
        yield Probe("alert", alert, path, partial(without_item, node=node), tests, generates=True)
    assert not known, known


def panels() -> Iterator[Probe]:
    """Each series that a panel asks for, misspelt by a letter."""
    asked = {
        (panel.title, series)
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for query in panel.queries
        for series in series_of(query.expr.replace("$__rate_interval", "1m"))
    }
    found = set()
    for source in first_party():
        if not source.path.startswith("grafana/"):
            continue
        for node in _calls(source.tree, "Panel"):
            title = ast.literal_eval(node.args[0])
            for series in sorted(series for of, series in asked if of == title):
                for change in _misspelt(source.text, node, series):
                    found.add((title, series))
                    yield Probe(
                        "panel",
                        f"{title}: {series}",
                        source.path,
                        change,
                        ("tests/unit/exporter/test_exporter_series.py",),
                        generates=True,
                    )
    assert not asked - found, asked - found


def _misspelt(text: str, within: ast.Call, series: str) -> Iterator[Callable[[str], str]]:
    """One change for each place in a call at which the series is named."""
    lines = text.splitlines(keepends=True)
    assert within.end_lineno is not None
    start = sum(map(len, lines[: within.lineno - 1]))
    end = sum(map(len, lines[: within.end_lineno]))
    for match in re.finditer(rf"(?<=['\"]){re.escape(series)}(?=['\"{{])", text[start:end]):
        at = start + match.end()
        yield partial(_doubled, at=at)


def _doubled(text: str, at: int) -> str:
    """`text` with the letter before a place twice."""
    return f"{text[:at]}{text[at - 1]}{text[at:]}"


def knobs() -> Iterator[Probe]:
    """The line of each knob, what it does, and what its mark says."""
    path = "scaler/policy/target.py"
    names = set(Knobs.model_fields)
    asked = ("policy_knobs", "policy_config", "policy_decide", "scaler_signals")
    tests = tuple(f"tests/unit/scaler/test_{of}.py" for of in asked)
    for field in _fields(path, "Knobs"):
        name = ast.unparse(field.target)
        names.remove(name)
        yield Probe(
            "knob", name, path, partial(without_statement, node=field), tests, generates=True
        )
        ignored = _IGNORES_KNOB.format(name=name)
        yield Probe(
            "knob, without effect", name, path, partial(_with, more=ignored), tests, generates=True
        )
        for call in _calls(field.annotation, "Knob"):
            for each in call.keywords:
                # How far a test draws a value is a test's matter.
                if each.arg != "usual":
                    change = partial(without_item, node=each)
                    mark, also = ast.unparse(each), "tests/unit/cli/test_cli_check_config.py"
                    yield Probe(
                        "knob, mark",
                        f"{name}: {mark}",
                        path,
                        change,
                        (*tests, also),
                        generates=True,
                    )
    assert not names, names


_IGNORES_KNOB = """
_given = Knobs.__getattribute__
Knobs.__getattribute__ = lambda self, name: (
    Knobs.model_fields[name].get_default() if name == "{name}" else _given(self, name)
)
"""


PLACES: Mapping[str, Callable[[], Iterator[Probe]]] = {
    "limits": limits,
    "memory": memory,
    "knobs": knobs,
    "metrics": metrics,
    "alerts": alerts,
    "panels": panels,
}


def _source(path: str) -> Source:
    return Source(path, (ROOT / path).read_text())


def _calls(within: ast.AST, name: str) -> list[ast.Call]:
    """The calls of that name, in the order in which they stand."""
    found = (
        node
        for node in ast.walk(within)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name
    )
    return sorted(found, key=lambda node: node.lineno)


def _class(source: Source, name: str) -> ast.ClassDef:
    (found,) = (n for n in source.tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return found


def _fields(path: str, name: str) -> Iterator[ast.AnnAssign]:
    for statement in _class(_source(path), name).body:
        if isinstance(statement, ast.AnnAssign):
            yield statement
