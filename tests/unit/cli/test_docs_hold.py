"""What the documentation says there is, there is: links, commands, options, targets, variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer

from scaler.__main__ import app as scaler_app
from worker.cli import app as worker_app

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for p in ROOT.glob("docs/**/*.md") if "adr" not in p.parts)]
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
VARIABLE = re.compile(r"\b[A-Z]{2,}(?:_[A-Z0-9]+)+\b")
# From the top of the repository; a word alone is none.
_TOPS = "|".join(sorted(path.parent.name for path in ROOT.glob("[!.]*/*")))
PATH = re.compile(rf"(?<![\w/.:$~-])((?:{_TOPS})/[\w./*-]*[\w/*])")
# What only a shell or a tool has, or what stands for any name.
NOT_OURS = {"AWS_ENDPOINT_URL", "JOB_ID", *(code.name for code in grpc.StatusCode)}


def slug(heading: str) -> str:
    text = re.sub(r"[`*_]", "", heading.strip().lower())
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def headings(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in page.read_text().splitlines() if line[:1] == "#"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def lines_of_code(page: Path) -> Iterator[str]:
    """Code in blocks, lines that go on joined, and code within text."""
    text = page.read_text().replace("\\\n", " ")
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()
        else:
            yield from CODE.findall(line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text()):
        target = match[1] or match[2]
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{target} in {page.name}"
        if anchor:
            assert anchor in headings(found), f"{target} in {page.name}"


def commands_in(page: Path, program: str) -> Iterator[list[str]]:
    for line in lines_of_code(page):
        found = re.search(rf"{program} (.*)", line)
        if found:
            yield shlex.split(re.split(r"[|;&#>]|'$", found[1].replace("…", "X"))[0])


def check(app: typer.Typer, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0].startswith("--"):
            break
        assert words[0] in command.commands, f"no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for each in command.params for option in each.opts} | {"--help"}
    for word in words:
        option = word.strip("[]").partition("=")[0]
        if option.startswith("--"):
            assert option in known, f"no option {option} of {command.name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_exists_with_its_options(page: Path) -> None:
    for program in (r"^(?:\.venv/bin/)?autoscaler", "-m scaler"):
        for words in commands_in(page, program):
            check(scaler_app, words)
    for words in commands_in(page, "-m worker"):
        check(worker_app, words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in lines_of_code(page):
        for target in re.findall(r"\bmake ([a-z][a-z-]*)", line):
            known = re.search(rf"^{target}:", makefile, re.MULTILINE)
            assert known or target.startswith("bench-"), f"make {target} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_variable_exists(page: Path) -> None:
    sources = "\n".join(
        path.read_text()
        for pattern in ("docs/configuration.md", "docs/swarm.md", "deploy/**/*.yml", "Makefile")
        for path in ROOT.glob(pattern)
    )
    sources += (ROOT / "alertmanager/render.sh").read_text()
    for line in lines_of_code(page):
        for variable in VARIABLE.findall(line):
            name = variable.removesuffix("_FILE")
            known = name in sources or variable in NOT_OURS
            assert known, f"{variable} in {page.name}: no setting; if a tool's, add it to NOT_OURS"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_exists(page: Path) -> None:
    for line in lines_of_code(page):
        for path in () if line.startswith("kubectl") else PATH.findall(line):
            assert list(ROOT.glob(path.replace("NAME", "*"))), f"{path} in {page.name}"


def test_every_name_on_the_way_through_the_code_exists() -> None:
    tops = ("scaler", "common")
    sources = "\n".join(p.read_text() for top in tops for p in ROOT.glob(f"{top}/**/*.py"))
    names = set(re.findall(r"`([A-Za-z_]+)(?:\(\))?`", (ROOT / "docs/architecture.md").read_text()))
    assert len(names) > 10
    for name in names:
        assert re.search(rf"\b{name}\b", sources), name


def test_a_begun_fence_is_ended() -> None:
    for page in PAGES:
        assert page.read_text().count("```") % 2 == 0, page.name


def test_every_page_is_reached_from_the_index() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "docs/index.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for match in LINK.finditer(page.read_text()):
            target = (match[1] or match[2]).partition("#")[0]
            if target and not target.startswith("http"):
                waiting.append((page.parent / target).resolve())
    docs = {page for page in PAGES if "docs" in page.parts and "runbooks" not in page.parts}
    assert docs - seen == set()
