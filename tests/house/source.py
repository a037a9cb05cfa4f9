"""The first-party code as the checks read it: files with their syntax trees, and findings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "_pb2"
_NOT_FIRST_PARTY = {"build", "protos", "tests"}


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """What is wrong at one place, and what to do about it."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the repository, with slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """Its dotted name."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def stem(self) -> str:
        """The module's base name."""
        return Path(self.path).stem


def first_party(root: Path = ROOT) -> list[Source]:
    """Every module of the programs, their tooling and the docs; no tests, nothing generated."""
    return [each for each in everything(root) if each.path.split("/")[0] not in _NOT_FIRST_PARTY]


def everything(root: Path = ROOT) -> list[Source]:
    """Every module of the repository that a person wrote."""
    return [Source(path.relative_to(root).as_posix(), path.read_text()) for path in _files(root)]


def _files(root: Path) -> Iterator[Path]:
    # Not .venv, .run or caches.
    for top in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if top.is_dir():
            yield from sorted(path for path in top.rglob("*.py") if GENERATED not in path.stem)
