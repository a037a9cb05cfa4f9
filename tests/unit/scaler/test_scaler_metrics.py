"""Metrics tell of what there is: of what is gone nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from scaler.loop.containment import LoopPart
from scaler.loop.controller import Controller
from scaler.policy.target import Rule, Target
from tests.support.crew import Crew, controller_of


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
def controller(crew: Crew, tmp_path: Path) -> Iterator[Controller]:
    targets = [Target(name="a", service="a", queue="qa"), Target(name="b", service="b", queue="qb")]
    controller = controller_of(crew, targets, tmp_path)
    yield controller
    controller.history.close()


def shown(controller: Controller) -> list[str]:
    lines = generate_latest(controller.metrics.registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def about(controller: Controller, target: str) -> list[str]:
    return [line for line in shown(controller) if f'target="{target}"' in line]


def test_a_target_that_is_gone_is_in_no_series(crew: Crew, controller: Controller) -> None:
    assert about(controller, "a")
    assert about(controller, "b")
    controller.reconfigure([Target(name="b", service="b", queue="qb")], {"process": crew})
    assert not about(controller, "a")
    assert about(controller, "b")


def test_a_queue_that_was_renamed_is_named_once(crew: Crew, controller: Controller) -> None:
    targets = [Target(name="a", service="a", queue="other"), controller.targets[1]]
    controller.reconfigure(targets, {"process": crew})
    crew.now += 1
    controller.cycle()
    (info,) = [line for line in about(controller, "a") if line.startswith("autoscaler_target_info")]
    assert 'queue="other"' in info


def test_proposals_of_another_rule_go(crew: Crew, controller: Controller) -> None:
    def proposals() -> int:
        return sum("autoscaler_proposal_replicas" in line for line in about(controller, "a"))

    before = proposals()
    plan = Target(name="a", service="a", queue="qa", policy=Rule.PLAN)
    controller.reconfigure([plan, controller.targets[1]], {"process": crew})
    crew.now += 1
    controller.cycle()
    assert (before, proposals()) == (2, 1)


def test_a_number_that_was_never_known_is_absent(crew: Crew, tmp_path: Path) -> None:
    crew.blind, crew.unseen = True, "the engine is away"
    controller = controller_of(crew, [Target(name="a", service="a")], tmp_path)
    names = {line.split("{")[0] for line in about(controller, "a")}
    assert "autoscaler_target_replicas" not in names
    assert "autoscaler_at_max" not in names
    assert "autoscaler_signal_known" in names
    controller.history.close()


def test_what_fails_is_counted_by_part(controller: Controller) -> None:
    with controller.contained.of(LoopPart.HISTORY):
        raise OSError("disk full")
    lines = shown(controller)
    assert 'autoscaler_part_failures_total{part="history"} 1.0' in lines
    assert 'autoscaler_part_failing{part="history"} 1.0' in lines
    assert 'autoscaler_part_failing{part="discovery"} 0.0' in lines
