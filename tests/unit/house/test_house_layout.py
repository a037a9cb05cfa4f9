"""The layout of a small house, drawn and judged."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

from tests.house import layout
from tests.house.layout import Layout

LAYERS = [frozenset({"run"}), frozenset({"web", "external"}), frozenset({"policy"})]
SOUND = {
    "scaler.run": ["scaler.web.app", "scaler.external", "scaler.policy.decide"],
    "scaler.web.app": ["scaler.policy.decide", "scaler.web.models"],
    "scaler.web.models": ["scaler.policy.decide"],
    "scaler.external": ["scaler.policy.decide"],
}


def house(*more: tuple[str, str]) -> Layout:
    graph = grimp.ImportGraph()
    imports = [(one, other) for one, others in SOUND.items() for other in others]
    for line, (one, other) in enumerate([*imports, *more], start=1):
        for module in ("scaler", one.rpartition(".")[0], other.rpartition(".")[0]):
            graph.add_module(module)
        graph.add_import(importer=one, imported=other, line_number=line, line_contents="import")
    return Layout(graph)


def problems(folder: Path, found: Layout, layers: layout.Layers = LAYERS) -> list[str]:
    for room in ("web", "policy"):
        front = folder / "scaler" / room / "__init__.py"
        front.parent.mkdir(parents=True, exist_ok=True)
        imports = ", ".join(to for above, to in found.arrows if above == room) or "no other room"
        front.write_text(f'"""What it is for.\n\nImports {imports}.\n"""\n')
    return list(layout.problems(found, layers, folder))


def test_rooms_stand_on_floors_with_the_imports_behind_each_arrow(tmp_path: Path) -> None:
    found = house()
    assert found.rooms == ("external", "policy", "run", "web")
    assert found.floors == {"policy": 0, "web": 1, "external": 1, "run": 2}
    assert len(found.arrows["web", "policy"]) == 2
    assert ("web", "web") not in found.arrows
    assert problems(tmp_path, found) == []
    assert list(layout.drawn(found)) == [
        "scaler/: 4 rooms, 14 at most",
        "  floor  2  run",
        "  floor  1  external  web",
        "  floor  0  policy",
        "5 arrows, 45 at most, and the imports behind each",
        "  run            → external 1  policy 1  web 1",
        "  external       → policy 1",
        "  web            → policy 2",
        "6 imports in all",
    ]


@pytest.mark.parametrize(
    ("importer", "imported", "first", "place"),
    [
        (
            "scaler.policy.decide",
            "scaler.web.models",
            "policy must not import web: move what it needs to a room below both",
            "scaler/policy/decide.py:8",
        ),
        (
            "scaler.external",
            "scaler.web.app",
            "external must not import web: move what it needs to a room below both",
            "scaler/external/__init__.py:8",
        ),
    ],
    ids=["upwards", "beside"],
)
def test_an_arrow_points_downwards(
    tmp_path: Path, importer: str, imported: str, first: str, place: str
) -> None:
    module = tmp_path / "scaler/policy/decide.py"
    module.parent.mkdir(parents=True)
    module.touch()
    found = problems(tmp_path, house((importer, imported)))
    assert found[:2] == [first, f"  {place}: {importer} imports {imported}"]


def test_a_circle_is_found_within_a_room(tmp_path: Path) -> None:
    found = problems(tmp_path, house(("scaler.web.models", "scaler.web.app")))
    assert found[0].startswith("these modules import each other in a circle")
    assert {line.split(": ")[1] for line in found[1:]} == {
        "scaler.web.app imports scaler.web.models",
        "scaler.web.models imports scaler.web.app",
    }


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("What it is for. Imports policy.", True),
        (
            "What it is for: run.\n\nIt may import `scaler.policy`, for the bounds, and\nno more.",
            True,
        ),
        ("What it is for.", False),
        ("What it is for: policy.", False),
        ("Imports no other room.", False),
        ("Imports policy, external.", False),
    ],
)
def test_a_room_says_what_it_imports(tmp_path: Path, text: str, right: bool) -> None:
    found = house()
    problems(tmp_path, found)
    (tmp_path / "scaler/web/__init__.py").write_text(f'"""{text}"""\n')
    said = "scaler/web/__init__.py:1: the docstring does not say what the room imports: policy"
    assert list(layout.problems(found, LAYERS, tmp_path)) == ([] if right else [said])


def test_a_new_room_needs_a_place(tmp_path: Path) -> None:
    found = problems(tmp_path, house(("scaler.run", "scaler.attic.box")))
    assert found[0].startswith("attic has no place")


def test_rooms_and_arrows_are_few(tmp_path: Path) -> None:
    rooms = [f"room{number}" for number in range(layout.MOST_ROOMS)]
    many = [(f"scaler.{one}.x", f"scaler.{two}.x") for one in rooms for two in rooms if one < two]
    layers = [*(frozenset({room}) for room in sorted(rooms)), *LAYERS]
    found = problems(tmp_path, house(*many), layers)
    assert found == ["18 rooms are too many: 14 at most", "96 arrows are too many: 45 at most"]


def test_the_order_of_the_rooms_is_read_from_the_contract(tmp_path: Path) -> None:
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(
        "[[tool.importlinter.contracts]]\nlayers = ['a']\n"
        "[[tool.importlinter.contracts]]\ncontainers = ['scaler']\n"
        "layers = ['run', 'web | external', 'policy']\n"
    )
    assert layout.declared(pyproject) == LAYERS
    assert {"policy"} == layout.declared()[-1]
