"""Comparisons of prose are found in every form, and comparisons of anything else are not."""

from __future__ import annotations

import pytest

from tests.house import prose
from tests.house.source import Source

IMPORTS = "from policy import decisions\nfrom policy.decisions import HOLD as STAY\n"
CONSTANTS = 'HOLD, UP = "hold", "up"\nMOST = 14\n'
OWN = '_LIMITS: dict = {"cooldown": "too soon"}\n_COLOURS = {State.BUSY: "red"}\n'


def words(code: str) -> set[str]:
    sources = [
        Source("policy/decisions.py", CONSTANTS),
        Source("web/colours.py", '_COLOURS = {"busy": "red"}\n'),
        Source("web/page.py", f"{IMPORTS}{OWN}{code}"),
    ]
    constants = {source.module: prose._constants(source) for source in sources}
    return {each.what for each in prose.comparisons(sources[-1], constants)}


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ('decision.bound == "pause"', "bound"),
        ('"up" != action', "action"),
        ('order["order"] == "resume"', "order"),
        ('event.get("reason") == "none"', "reason"),
        ('bound in ("pause", "unknown")', "bound"),
        ('bound not in frozenset({"pause"})', "bound"),
        ("decision.action == STAY", "action"),
        ("decision.action is decision.action == decisions.HOLD", "action"),
        ("bound in _LIMITS", "bound"),
        ("_LIMITS[decision.bound]", "bound"),
        ('{"pause": 1}.get(bound, 0)', "bound"),
        ('decision.bound.startswith("schedule")', "bound"),
        ('cycle.applied.partition("not applied")', "applied"),
        ('states.count("starting")', "state"),
        ('worker.state.lower() == "idle"', "state"),
        ('str(worker.state) == "idle"', "state"),
        ('note[:5] == "pause"', "note"),
        ('(note or "") == "pause"', "note"),
        ('"paused" in f_note', "note"),
        ('note.startswith(f"paused{x}")', "note"),
        ('re.search("paus", decision.note)', "note"),
        ("_PATTERN.fullmatch(reason)", "reason"),
        ('match decision.bound:\n    case "pause" | "hold":\n        pass', "bound"),
        ('def f(d):\n    by = d.bound\n    return by == "pause"', "bound"),
        ('def f(d):\n    n, by = 1, d.bound\n    return by == "pause"', "bound"),
        ('line == "not applied"', "not applied"),
        ('"jobs wait" in line', "jobs wait"),
        ('line.removeprefix("Held: ")', "Held: "),
        ('numbers["wanted lately"]', "wanted lately"),
        ('numbers.get("wanted lately")', "wanted lately"),
    ],
)
def test_a_comparison_of_prose_is_found(code: str, word: str) -> None:
    assert words(code) == {word}


@pytest.mark.parametrize(
    "code",
    [
        "decision.bound is Bound.PAUSE",
        "decision.action == Action.HOLD",
        "bound in (Bound.PAUSE, Bound.UNKNOWN)",
        "state in states",
        'bound == ""',
        "limit == decisions.MOST",
        "decision.action == HOLD",
        "_COLOURS[worker.state]",
        "limit < 3",
        'kind == "vector"',
        'header.partition(" ")',
        '" 200 " in answer',
        'line.startswith("  # ")',
        'print("jobs wait")',
        'settings["scheme"]',
        "f(reason)",
        'f"paused: {reason}"',
        'def f(bound):\n    return bound\ndef g(by):\n    return by == "pause"',
    ],
)
def test_any_other_comparison_is_not(code: str) -> None:
    assert words(code) == set()


def test_sentences_are_compared_where_they_are_made_and_where_a_reason_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = 'pass\nbound == "pause"\n'
    monkeypatch.setattr(prose, "ALLOWED", {})
    assert list(prose.check([Source(prose.WRITES_SENTENCES, text)])) == []
    (finding,) = prose.check([Source("a.py", text)])
    assert str(finding).startswith("a.py:2: compares prose ('bound')")
    monkeypatch.setattr(prose, "ALLOWED", {("a.py", "bound"): "because"})
    assert list(prose.check([Source("a.py", text)])) == []
    (stale,) = prose.check([Source("b.py", "")])
    assert "need not name 'bound' in a.py" in stale.message
