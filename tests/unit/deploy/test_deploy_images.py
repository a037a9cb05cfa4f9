"""deploy/images/Dockerfile: each program's image has what the program needs, and runs it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deploy/images/Dockerfile"
PROGRAMS = ("exporter", "gateway", "scaler", "worker")
FIRST_PARTY = ("common", "exporter", "protos", "scaler", "worker")
Stage = list[tuple[str, str]]


def stages() -> dict[str, Stage]:
    """Instructions with their arguments, by the name of the stage; the last stage's is `image`."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    name = ""
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            _, _, name = rest.partition(" AS ")
            name = name or "image"
        found.setdefault(name, []).append((word, rest.strip()))
    return found


def of(stage: Stage, word: str) -> list[str]:
    return [rest for each, rest in stage if each == word]


def module(program: str) -> str:
    """What the image runs."""
    [entrypoint] = of(stages()[program], "ENTRYPOINT")
    *before, name = json.loads(entrypoint)
    assert before == ["tini", "--", "python3", "-m"]
    return str(name)


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*FIRST_PARTY)


def test_a_program_is_an_extra_and_two_stages() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(PROGRAMS) <= set(extras["optional-dependencies"])
    shared = {"", "dependencies", "runtime", "build", "image"}
    assert set(stages()) == {*shared, *PROGRAMS, *(f"{one}-source" for one in PROGRAMS)}
    for program in PROGRAMS:
        assert of(stages()[program], "FROM") == [f"runtime AS {program}"]
    assert of(stages()["build"], "FROM") == ["${PROGRAM}-source AS build"]
    assert of(stages()["image"], "FROM") == ["${PROGRAM}"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_has_the_packages_that_its_program_imports_and_no_others(
    program: str, imports: grimp.ImportGraph
) -> None:
    shared, own = (stages()[one] for one in ("dependencies", f"{program}-source"))
    copied = [rest.split() for rest in of(shared, "COPY")[1:] + of(own, "COPY")]
    assert all(source == target for source, target in copied)
    needed = imports.find_upstream_modules(module(program), as_package=True) | {module(program)}
    assert {source.rstrip("/") for source, _ in copied} == {one.split(".")[0] for one in needed}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_port_that_is_asked_for_health_is_the_one_exposed(program: str) -> None:
    stage = stages()[program]
    variables = dict(re.findall(r"(\w+)=(\S+)", " ".join(of(stage, "ENV"))))
    assert of(stage, "EXPOSE") == [variables["HTTP_PORT"]]
    [health] = of(stages()["runtime"], "HEALTHCHECK")
    assert "/usr/local/lib/healthcheck.py" in health


def test_no_image_runs_as_root() -> None:
    users = [rest for stage in stages().values() for rest in of(stage, "USER")]
    assert users == of(stages()["image"], "USER") == ["10001:10001"]


def test_compose_builds_programs_that_there_are() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    builds = [service["build"] for service in services.values() if "build" in service]
    assert [build["args"] for build in builds] == [
        {"PROGRAM": "exporter"},
        {"PROGRAM": "scaler"},
        {"PROGRAM": "worker"},
    ]
    assert all((ROOT / build["dockerfile"]).samefile(DOCKERFILE) for build in builds)


@pytest.mark.parametrize("page", ["docs/swarm.md", "docs/getting-started/swarm.md"])
def test_the_pages_build_every_program(page: str) -> None:
    text = (ROOT / page).read_text()
    [programs] = re.findall(r"for program in (.*); do", text)
    assert sorted(programs.split()) == sorted(PROGRAMS)
    assert f"docker build -f {DOCKERFILE.relative_to(ROOT)} --build-arg PROGRAM=$program" in text
