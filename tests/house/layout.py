"""The rooms of scaler/, their floors and the arrows between them: `make layout`.

A room is a direct child of scaler/, and an arrow is drawn where one room imports another. The
order of the rooms stands once, as the layers contract of import-linter in pyproject.toml, and each
room that is a folder says in its `__init__` which others it imports. Exits with 1 on an arrow that
does not point downwards or is not said, on modules that import each other in a circle, and where
rooms or arrows are more than a person keeps in the head.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import grimp

from tests.house.source import ROOT

HOUSE = "scaler"
MOST_ROOMS = 14
MOST_ARROWS = 45

Layers = Sequence[frozenset[str]]


class Import(NamedTuple):
    """One module's import of another, with the first line at which it stands."""

    importer: str
    imported: str
    line: int


class Layout:
    """What `graph` says about the rooms of one package."""

    def __init__(self, graph: grimp.ImportGraph, house: str = HOUSE) -> None:
        self._graph, self._house = graph, house

    @cached_property
    def rooms(self) -> tuple[str, ...]:
        """The direct children, by name."""
        return tuple(sorted(map(self._room_of, self._graph.find_children(self._house))))

    @cached_property
    def arrows(self) -> Mapping[tuple[str, str], Sequence[Import]]:
        """The imports behind each arrow (from, to)."""
        found: dict[tuple[str, str], list[Import]] = {}
        for each in self._imports():
            ends = self._room_of(each.importer), self._room_of(each.imported)
            if ends[0] != ends[1]:
                found.setdefault(ends, []).append(each)
        return dict(sorted(found.items()))

    @cached_property
    def circle(self) -> Sequence[Import]:
        """The imports by which some modules import each other in a circle; none is good."""
        below: dict[str, set[str]] = {}
        for each in self._imports():
            below.setdefault(each.importer, set()).add(each.imported)
        try:
            TopologicalSorter(below).prepare()
        except CycleError as error:
            # Each of these modules is imported by the next.
            path = error.args[1]
            return [self._import(b, a) for a, b in itertools.pairwise(path)]
        return ()

    @cached_property
    def floors(self) -> Mapping[str, int]:
        """How many arrows each room stands above the ground, by the longest way down."""
        below: dict[str, set[str]] = {room: set() for room in self.rooms}
        for above, under in self.arrows:
            below[above].add(under)
        floors: dict[str, int] = {}
        try:
            for room in TopologicalSorter(below).static_order():
                floors[room] = 1 + max((floors[under] for under in below[room]), default=-1)
        except CycleError:
            return {}
        return floors

    def _imports(self) -> Iterator[Import]:
        inside = self._graph.find_descendants(self._house)
        for importer in sorted(inside):
            for imported in sorted(self._graph.find_modules_directly_imported_by(importer)):
                if imported in inside:
                    yield self._import(importer, imported)

    def _import(self, importer: str, imported: str) -> Import:
        details = self._graph.get_import_details(importer=importer, imported=imported)
        return Import(importer, imported, min(each["line_number"] for each in details))

    def _room_of(self, module: str) -> str:
        return module.split(".")[1]


def declared(pyproject: Path = ROOT / "pyproject.toml") -> Layers:
    """The layers of the house from the top down, as import-linter's contract has them."""
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each.get("containers") == [HOUSE])
    return [frozenset(re.split(r"[ |]+", layer)) for layer in contract["layers"]]


def problems(layout: Layout, layers: Layers, root: Path = ROOT) -> Iterator[str]:
    """What is wrong with the layout, each with the places and what to do."""
    depth = {room: number for number, layer in enumerate(layers) for room in layer}
    for room in layout.rooms:
        if room not in depth:
            yield f"{room} has no place: add it to the layers in pyproject.toml"
    for (above, under), imports in layout.arrows.items():
        if depth.get(above, -1) >= depth.get(under, len(depth)):
            yield f"{above} must not import {under}: move what it needs to a room below both"
            yield from _places(imports, root)
    yield from _unsaid(layout, root)
    if layout.circle:
        yield "these modules import each other in a circle: move what they share below them"
        yield from _places(layout.circle, root)
    if len(layout.rooms) > MOST_ROOMS:
        yield f"{len(layout.rooms)} rooms are too many: {MOST_ROOMS} at most"
    if len(layout.arrows) > MOST_ARROWS:
        yield f"{len(layout.arrows)} arrows are too many: {MOST_ARROWS} at most"


def _unsaid(layout: Layout, root: Path) -> Iterator[str]:
    """The rooms whose docstring does not say which others they import."""
    for room in layout.rooms:
        front = root / HOUSE / room / "__init__.py"
        if not front.is_file():
            continue
        imported = {under for above, under in layout.arrows if above == room}
        text = ast.get_docstring(ast.parse(front.read_text())) or ""
        about = [
            one for one in re.split(r"(?<=[.;])\s", text) if re.search(r"\bimports?\b", one, re.I)
        ]
        said = {word for one in about for word in re.findall(r"\w+", one)} & set(layout.rooms)
        if not about or said - {room} != imported:
            path, names = front.relative_to(root), ", ".join(sorted(imported)) or "no other room"
            yield f"{path}:1: the docstring does not say what the room imports: {names}"


def _places(imports: Sequence[Import], root: Path) -> Iterator[str]:
    for each in imports:
        path = each.importer.replace(".", "/")
        file = f"{path}.py" if (root / f"{path}.py").is_file() else f"{path}/__init__.py"
        yield f"  {file}:{each.line}: {each.importer} imports {each.imported}"


def drawn(layout: Layout) -> Iterator[str]:
    """The rooms by floors and the arrows, from the top down."""
    floors = layout.floors or dict.fromkeys(layout.rooms, 0)
    rooms = sorted(layout.rooms, key=lambda room: -floors[room])
    yield f"{HOUSE}/: {len(rooms)} rooms, {MOST_ROOMS} at most"
    for floor, here in itertools.groupby(rooms, key=lambda room: floors[room]):
        yield f"  floor {floor:2}  {'  '.join(here)}"
    yield f"{len(layout.arrows)} arrows, {MOST_ARROWS} at most, and the imports behind each"
    for room in rooms:
        ends = [(to, len(each)) for (above, to), each in layout.arrows.items() if above == room]
        if ends:
            yield f"  {room:14} → {'  '.join(f'{to} {count}' for to, count in ends)}"
    yield f"{sum(map(len, layout.arrows.values()))} imports in all"


def read() -> Layout:
    """The layout of the code in the working directory."""
    return Layout(grimp.build_graph(HOUSE, cache_dir=None))


def main() -> int:
    """Print the layout, and what is wrong with it."""
    layout = read()
    sys.stdout.writelines(f"{line}\n" for line in drawn(layout))
    found = list(problems(layout, declared()))
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
