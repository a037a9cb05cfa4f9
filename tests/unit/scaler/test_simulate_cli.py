"""The commands as a person or a program calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from common.errors import ConfigError
from scaler.__main__ import app
from scaler.config.load import load_config
from scaler.simulate.loads import Generator
from scaler.simulate.tune import wish_of

KEYS = {"paid_c0", "wait_mean_s", "wait_p95_s", "j1_c0", "j4_c0", "j10_c0", "killed"}
POISSON = ["--generate", "poisson", "--rate", "3", "--hours", "1"]


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def written(folder: Path, jobs: list[str]) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join(["arrival_s,duration_s", *jobs]) + "\n")
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return written(tmp_path, [f"{30 * n},{40 + n % 60}" for n in range(200)])


@pytest.fixture
def rush(tmp_path: Path) -> Path:
    """Work for thirty workers from the first minute on, for ten minutes."""
    return written(tmp_path, [f"{2 * n},60" for n in range(300)])


@pytest.mark.parametrize("policy", ["ours", "plan", "keda"])
def test_one_policy_one_object(trace: Path, policy: str) -> None:
    said = call(
        "simulate", "--trace", str(trace), "--policy", policy, "--startup", "45",
        "--min", "1", "--max", "1000", "--json",
    )  # fmt: skip
    (line,) = said.splitlines()
    found = json.loads(line)
    assert found.keys() >= KEYS
    assert (found["policy"], found["startup_s"], found["max"]) == (policy, 45.0, 1000)


def test_all_side_by_side_with_pictures(tmp_path: Path) -> None:
    said = call("simulate", *POISSON, "--json", "--plot", str(tmp_path / "plots"))
    assert [json.loads(line)["policy"] for line in said.splitlines()] == [
        "ours", "keda", "plan", "fixed",
    ]  # fmt: skip
    for name in ("timeline.png", "frontier.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_the_table_is_for_people() -> None:
    said = call("simulate", *POISSON, "--policy", "ours")
    assert "paid/C₀" in said
    assert "balanced" in said


def test_priorities_trade_cost_for_waiting(trace: Path) -> None:
    found = [
        json.loads(call("simulate", "--trace", str(trace), "--policy", "ours", "--json",
                        "--startup", "45", "--priority", priority))
        for priority in ("cheap", "balanced", "fast")
    ]  # fmt: skip
    costs = [one["paid_s"] for one in found]
    waits = [one["wait_mean_s"] for one in found]
    assert costs == sorted(costs)
    assert waits == sorted(waits, reverse=True)


def test_every_knob_at_its_best(trace: Path) -> None:
    said = call("simulate", "--trace", str(trace), "--sweep", "--policy", "ours", "--json")
    asked, *best = [json.loads(line) for line in said.splitlines()]
    assert asked["settings"] == "balanced"
    assert 1 <= len(best) <= 3
    for cost in ("j1_c0", "j4_c0", "j10_c0"):
        assert min(one[cost] for one in best) <= asked[cost]


def test_a_series_of_bursts_beside_keda_as_usual_and_at_its_best(tmp_path: Path) -> None:
    said = call(
        "simulate", "--generate", "series", "--burst", "4", "--gap", "90", "--hours", "0.5",
        "--startup", "45", "--sweep", "--json", "--plot", str(tmp_path),
    )  # fmt: skip
    found = [json.loads(line) for line in said.splitlines()]
    assert {one["trace"] for one in found} == {"series"}
    keda = [one["settings"] for one in found if one["policy"] == "keda"]
    assert keda[0] == "value 1, window 300 s"
    assert len(keda) > 1
    assert {path.name for path in tmp_path.iterdir()} == {"timeline.png", "frontier.png"}


@pytest.mark.parametrize("kind", Generator)
def test_every_generator_has_an_option(kind: Generator) -> None:
    said = call("simulate", "--generate", kind, "--hours", "1", "--policy", "ours", "--json")
    assert json.loads(said)["trace"] == kind


def test_settings_are_proposed_for_generated_bursts() -> None:
    wish = ("--wish", "p95 <= 60", "--startup", "20", "--json")
    said = call("tune", "--generate", "series", "--burst", "3", "--hours", "0.5", *wish)
    assert json.loads(said)["chosen"]["trace"] == "series"


def test_higher_minimums_are_among_the_settings(rush: Path) -> None:
    arguments = ("--policy", "ours", "--startup", "45", "--max", "40", "--json")
    found = [
        json.loads(line)
        for line in call("simulate", "--trace", str(rush), "--sweep", *arguments).splitlines()
    ]
    chosen = min(found, key=lambda one: float(one["j10_c0"]))
    low = int(chosen["settings"].rsplit("min ", maxsplit=1)[-1])
    one_setting = call("simulate", "--trace", str(rush), *arguments, "--priority", "fast")
    assert 1 < low <= 40
    assert chosen["j10_c0"] < json.loads(one_setting)["j10_c0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "one of --trace, --generate and --prometheus"),
        ([*POISSON, "--trace", "x.csv"], "one of --trace"),
        (["--trace", "/nowhere.csv"], "a readable CSV"),
        ([*POISSON, "--min", "5", "--max", "2"], "--max: 2 is not allowed; allowed: at least"),
        (
            [*POISSON, "--gap", "5"],
            "--gap: 5.0 is not allowed; allowed: only with --generate series",
        ),
        (["--generate", "series", "--rate", "5"], "--rate: 5.0 is not allowed; allowed: only with"),
        (["--generate", "ramp", "--trough", "9"], "--trough: 9.0 is not allowed; allowed: at most"),
        (
            ["--trace", "x.csv", "--hours", "3"],
            "--hours: 3.0 is not allowed; allowed: only with --g",
        ),
        ([*POISSON, "--outage", "noon"], "BEGIN:LENGTH in seconds"),
        (["--prometheus", "http://127.0.0.1:9", "--since", "week"], "a number and a unit"),
    ],
)
def test_bad_input_is_refused_with_2(arguments: list[str], words: str) -> None:
    assert words in call("simulate", *arguments, code=2)


def test_a_silent_prometheus_is_1() -> None:
    assert "not reachable" in call("simulate", "--prometheus", "http://127.0.0.1:9", code=1)


@pytest.mark.parametrize("wish", ["p95 <= 20", "hours/day <= 200"])
def test_a_wish_is_fulfilled_by_a_block_that_loads(trace: Path, tmp_path: Path, wish: str) -> None:
    said = call("tune", "--trace", str(trace), "--wish", wish, "--startup", "20", "--json")
    found = json.loads(said)
    assert found["fulfilled"]
    assert found["measured"] <= float(wish.rsplit(maxsplit=1)[-1])
    path = tmp_path / "scaling-config.yml"
    path.write_text(yaml.safe_dump(found["config"]))
    (target,) = load_config(path, {}).targets
    assert target.wait_weight == found["config"]["scaling"]["wait_weight"]


def test_a_minimum_at_the_load_is_tried_too(rush: Path) -> None:
    wish = ("--wish", "p95 <= 10", "--startup", "120", "--max", "100", "--json")
    found = json.loads(call("tune", "--trace", str(rush), *wish))
    assert found["fulfilled"]
    assert found["config"]["scaling"]["min_workers"] > 20


def test_a_wish_too_far_says_so(tmp_path: Path) -> None:
    rare = written(tmp_path, [f"{600 * n},40" for n in range(40)])
    said = call("tune", "--trace", str(rare), "--wish", "hours/day <= 1")
    assert "comes nearest; nothing tried does it" in said
    assert yaml.safe_load(said[said.index("scaling:") :])["scaling"]["min_workers"] == 1


@pytest.mark.parametrize("text", ["", "p42 <= 3", "p95 >= 3", "hours <= 5", "p95 <= fast"])
def test_other_wishes_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="wish"):
        wish_of(text)
