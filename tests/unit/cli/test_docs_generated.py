"""What is generated is as its sources make it: docs, schema, dashboards, rules, pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from docs.generate import ROOT, files
from docs.theme_pictures import pictures

FILES = {str(path.relative_to(ROOT)): (path, content) for path, content in files().items()}


@pytest.mark.parametrize("name", FILES)
def test_a_generated_file_is_as_its_source_makes_it(name: str) -> None:
    path, content = FILES[name]
    assert path.read_text() == content, f"{name} is not as generated: run `make generate`"


def test_everything_that_is_generated_is_among_them() -> None:
    made = {path for path, _ in FILES.values()}
    for pattern in ("protos/*_pb2*", "grafana/dashboards/*.json"):
        kept = set(ROOT.glob(pattern))
        assert kept, pattern
        assert kept <= made, f"nothing makes {kept - made}: remove it"
    says = [path for path in marked() if path not in made]
    assert says == [], "add its maker to docs/generate.files"


def test_the_themes_pictures_are_as_drawn() -> None:
    """By their pixels: how they are packed differs between libraries."""
    for path, drawn in pictures():
        with Image.open(path) as kept:
            assert kept.size == drawn.size, path
            assert kept.convert("RGBA").tobytes() == drawn.convert("RGBA").tobytes(), path


def marked() -> list[Path]:
    """The files whose head says that `make generate` makes them."""
    kept = (*ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.y*ml"), *ROOT.glob("prometheus/*.yml"))
    return [path for path in kept if "by `make generate`" in path.read_text()[:400]]
