"""A knob is declared at its field, whole; all that needs to know of it finds it there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from common.errors import ConfigError
from scaler.__main__ import app
from scaler.config.load import load_config
from scaler.policy.target import KNOBS, Knob, Knobs
from scaler.simulate import peers
from scaler.simulate.arena import arena
from scaler.simulate.generators import generate
from scaler.simulate.loads import Generator
from scaler.simulate.world import WorldSettings
from tests.support.targets import SPECIAL, values_of

ROOT = Path(__file__).parents[3]
WHERE = "in scaler/policy/target.py; see CONTRIBUTING.md, To add a knob"
each_knob = pytest.mark.parametrize("name", KNOBS)


@each_knob
def test_it_says_what_it_means_and_who_else_may_set_it(name: str) -> None:
    field = Knobs.model_fields[name]
    assert field.description, f"say below {name} what it means and in what unit, {WHERE}"
    marked = [each for each in field.metadata if isinstance(each, Knob)]
    assert marked, f"put a Knob(…) into the Annotated of {name}, {WHERE}"


@each_knob
def test_a_page_tells_when_to_use_it(name: str) -> None:
    """Beside the reference, which is generated."""
    pages = [page for page in (ROOT / "docs").glob("*.md") if page.name != "configuration.md"]
    told = any(re.search(rf"\b{name}\b", page.read_text()) for page in pages)
    assert told, f"say in docs/policy.md, The knobs, what {name} is for"


@each_knob
def test_property_tests_draw_it(name: str) -> None:
    assert values_of(name) is not None
    usual = KNOBS[name].usual
    for value in usual or ():
        field: Any = {name: value, "max_workers": 10_000} | {name: value}
        Knobs(**field)  # a usual value is an allowed one


def test_nothing_is_drawn_in_a_special_way_that_is_no_knob() -> None:
    assert SPECIAL.keys() <= KNOBS.keys(), "take it out of SPECIAL in tests/support/targets.py"


@each_knob
def test_the_environment_sets_it_where_it_says_so(name: str) -> None:
    env = {name.upper(): "[]"}  # which no knob may be
    if KNOBS[name].variable:
        with pytest.raises(ConfigError, match=f"^{name.upper()}: "):
            load_config(None, env)
    else:
        assert load_config(None, env) == load_config(None, {})


@each_knob
def test_simulate_has_an_option_where_it_says_so(name: str) -> None:
    group: Any = typer.main.get_command(app)
    options = {option for each in group.commands["simulate"].params for option in each.opts}
    option = f"--{name.replace('_', '-')}"
    # `--policy` chooses among the peers too.
    assert (option in options) == (KNOBS[name].simulated is not None or name == "policy")


def test_simulate_keeps_its_options() -> None:
    simulated = {name for name, knob in KNOBS.items() if knob.simulated is not None}
    assert simulated >= {"priority", "wait_weight", "headroom", "forecast"}


@pytest.mark.parametrize(
    ("knobs", "label"),
    [
        ({}, "balanced"),
        ({"priority": "fast"}, "fast"),
        ({"priority": "fast", "headroom": 0}, "fast, z 0"),
        ({"priority": "fast", "wait_weight": 1.5, "forecast": True}, "w 1.5"),
    ],
)
def test_a_result_names_what_was_simulated(knobs: dict[str, Any], label: str) -> None:
    given = arena(
        generate(Generator.BURSTY, rate=3, hours=1.0, mean=60, seed=3), 2, 5, WorldSettings(20.0)
    )
    policy = peers.ours(given, **knobs)
    assert policy.label == label
    assert (policy.target.min_workers, policy.target.max_workers) == (2, 5)
    for name, value in knobs.items():
        assert getattr(policy.target, name) == value


def test_a_value_that_is_not_allowed_is_refused_by_name() -> None:
    given = arena(
        generate(Generator.BURSTY, rate=3, hours=1.0, mean=60, seed=3), 2, 5, WorldSettings(20.0)
    )
    with pytest.raises(ConfigError, match=r"^headroom: nan .*finite"):
        peers.ours(given, headroom=float("nan"))
