"""What a probe takes out is found and gone, and a copy is sound again afterwards."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.house.source import ROOT
from tests.probe.edits import replaced, without_item, without_statement
from tests.probe.engine import Copy, Probe
from tests.probe.places import PLACES

TEXT = "# ü\nclass A:\n    b = ('ü', 1,  2)\n    c = 3\n"
_BODY = ast.parse(TEXT).body[0].body  # type: ignore[attr-defined]


def test_edits_take_out_what_a_node_stands_for() -> None:
    items = _BODY[0].value.elts
    assert replaced(TEXT, items[1], "4") == TEXT.replace("1", "4")
    assert ast.dump(ast.parse(without_item(TEXT, items[0]))) == ast.dump(
        ast.parse(TEXT.replace("'ü', ", ""))
    )
    assert without_item(TEXT, items[2]) == TEXT.replace("2", "")
    assert without_statement(TEXT, _BODY[1]) == TEXT.replace("c = 3", "pass")


@pytest.mark.parametrize("place", PLACES)
def test_each_place_has_members_and_each_can_be_missing(place: str) -> None:
    probes = list(PLACES[place]())
    assert probes
    changes: Counter[tuple[str, str]] = Counter()
    for probe in probes:
        text = (ROOT / probe.path).read_text()
        changed = probe.change(text)
        assert changed != text
        ast.parse(changed)
        changes[probe.path, changed] += 1
        assert all((ROOT / path).exists() for path in probe.tests)
    assert set(changes.values()) == {1}


def tree(folder: Path) -> Path:
    root = Path(folder) / "tree"
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\ntimeout = 60\n",
        "house.py": "DOOR = 1\nWINDOW = 1\n",
        "generated.txt": "as committed",
        "tests/unit/test_house.py": "import house\ndef test_door():\n    assert house.DOOR\n",
        "docs/generate.py": "from pathlib import Path\nimport house\n"
        "def files():\n    return {Path('generated.txt'): f'{house.WINDOW}'}\n",
    }
    files |= {"tests/probe/once.py": (ROOT / "tests/probe/once.py").read_text()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_thing_is_missed_by_the_test_that_fails_or_by_none(tmp_path: Path) -> None:
    copy = Copy(tree(tmp_path), tmp_path / "copy")
    door = Probe("house", "door", "house.py", lambda text: text.replace("DOOR = 1", "DOOR = 0"))
    window = Probe(
        "house", "window", "house.py", lambda text: text.replace("OW = 1", "OW = 0"), generates=True
    )
    assert copy.outcome(door).killed_by == "tests/unit/test_house.py::test_door"
    assert copy.outcome(window).killed_by is None
    assert (tmp_path / "copy/house.py").read_text() == "DOOR = 1\nWINDOW = 1\n"
    assert (tmp_path / "copy/generated.txt").read_text() == "as committed"
    assert copy.outcome(door).killed_by == "tests/unit/test_house.py::test_door"


def test_what_cannot_be_read_is_missed_too(tmp_path: Path) -> None:
    copy = Copy(tree(tmp_path), tmp_path / "copy")
    gone = Probe("house", "all", "house.py", lambda _: "import nothing_of_this_name\n")
    assert copy.outcome(gone).killed_by == "tests/unit/test_house.py"


def test_a_probe_changes_something_and_its_tests_are_there(tmp_path: Path) -> None:
    copy = Copy(tree(tmp_path), tmp_path / "copy")
    with pytest.raises(ValueError, match="nothing is changed"):
        copy.outcome(Probe("house", "door", "house.py", lambda text: text))
    with pytest.raises(FileNotFoundError, match="no such tests: tests/e2e"):
        copy.first_failure(["tests/e2e"])
