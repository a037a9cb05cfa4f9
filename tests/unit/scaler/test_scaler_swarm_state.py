"""What the engine's JSON is taken to mean."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from scaler.orchestrators.swarm.engine import with_replicas
from scaler.orchestrators.swarm.removal_order import Task
from scaler.orchestrators.swarm.service_view import (
    ServiceView,
    bounds_of,
    from_json,
    obstacle,
    parse_task,
    view,
)
from scaler.policy.observation import Obstacle

NOW = 1_800_000_000.0
TEMPLATE: dict[str, Any] = {
    "ContainerSpec": {"Image": "worker", "StopGracePeriod": 600_000_000_000},
    "RestartPolicy": {"Condition": "on-failure"},
}


def service(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "ID": "s1",
        "Version": {"Index": 7},
        "UpdatedAt": "2020-01-01T00:00:00Z",
        "Spec": {
            "Name": "workers",
            "Labels": {"autoscaler.enable": "true"},
            "TaskTemplate": {**TEMPLATE, "Runtime": "container"},
            "Mode": {"Replicated": {"Replicas": 3}},
        },
    }
    content.update(changes)
    return content


def raw(slot: int, state: str, desired: str, **changes: Any) -> dict[str, Any]:
    return {
        "ID": f"t{slot}",
        "Slot": slot,
        "NodeID": "n1",
        "DesiredState": desired,
        "Status": {"State": state, "Timestamp": "2027-01-15T08:00:00.123456789Z"},
        "Spec": TEMPLATE,
        **changes,
    }


def look(content: dict[str, Any], tasks: list[dict[str, Any]], **options: Any) -> ServiceView:
    seen = view(content, tasks, **{"min_grace_s": 300, "now": NOW, **options})
    assert seen is not None
    return seen


def test_a_view_holds_what_matters_and_nothing_secret() -> None:
    tasks = [raw(1, "running", "running"), raw(2, "complete", "shutdown")]
    seen = look(service(), tasks)
    assert (seen.name, seen.version, seen.replicas, seen.dead) == ("workers", 7, 3, 1)
    assert seen.opted_in
    assert seen.hold is None
    assert from_json(asdict(seen)) == seen


def test_times_keep_their_nine_digits() -> None:
    assert parse_task(raw(1, "running", "running")).at == pytest.approx(1_800_000_000.123456789)
    assert parse_task({"ID": "x", "Status": {"State": "new"}}).at == 0.0


def test_other_modes_are_no_replicated_service() -> None:
    content = service()
    content["Spec"]["Mode"] = {"Global": {}}
    assert view(content, [], min_grace_s=1, now=NOW) is None


@pytest.mark.parametrize("state", ["updating", "rollback_started", "paused", "rollback_paused"])
def test_a_rollout_or_rollback_holds(state: str) -> None:
    assert state in (look(service(UpdateStatus={"State": state}), []).hold or "")


@pytest.mark.parametrize("state", ["completed", "rollback_completed", ""])
def test_one_that_is_over_does_not(state: str) -> None:
    assert look(service(UpdateStatus={"State": state}), []).hold is None


def test_a_template_changed_a_moment_ago_holds_and_an_old_difference_does_not() -> None:
    tasks = [raw(1, "running", "running", Spec={**TEMPLATE, "ForceUpdate": 1})]
    fresh = service(UpdatedAt="2027-01-15T07:59:59Z")
    assert look(fresh, tasks).hold == "a roll-out is about to begin"
    assert look(fresh, [raw(1, "running", "running")]).hold is None
    assert look(service(), tasks).hold is None


def test_a_task_after_sigterm_holds_unless_its_node_is_lost() -> None:
    tasks = [raw(1, "running", "remove")]
    assert "after SIGTERM" in (look(service(), tasks).hold or "")
    assert look(service(), tasks, down=["n1"]).hold is None


def test_in_an_emergency_only_such_a_task_gives_way() -> None:
    tasks = [raw(1, "running", "remove")]
    assert look(service(), tasks).hold_yields
    assert not look(service(), []).hold_yields
    rolling = look(service(UpdateStatus={"State": "updating"}), tasks)
    assert "roll-out" in (rolling.hold or "")
    assert not rolling.hold_yields


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"RestartPolicy": {"Condition": "none"}}, "'none'; it must be 'on-failure'"),
        ({"RestartPolicy": {}}, "'any'; it must be 'on-failure'"),
        ({"ContainerSpec": {}}, "stop_grace_period is 10 s; it must be at least 300 s"),
    ],
)
def test_a_service_unfit_for_it_is_refused(change: dict[str, Any], words: str) -> None:
    content = service()
    content["Spec"]["TaskTemplate"] = {**TEMPLATE, **change}
    assert words in (look(content, []).hold or "")


def test_the_posted_spec_differs_in_the_count_alone() -> None:
    spec = service()["Spec"]
    changed = with_replicas(spec, 9)
    assert changed["Mode"]["Replicated"]["Replicas"] == 9
    assert spec["Mode"]["Replicated"]["Replicas"] == 3
    changed["Mode"]["Replicated"]["Replicas"] = 3
    assert changed == spec


def ended(slot: int, state: str, error: str, *, at: float = NOW - 10) -> Task:
    return Task(f"{slot}-{at}", slot, "n", state, "shutdown", at, error)


def test_what_is_in_the_way_is_said_in_the_engines_words() -> None:
    pending = Task("t", 1, "", "pending", "running", NOW, "no suitable node (insufficient memory)")
    assert obstacle([pending], NOW) == (
        Obstacle.NO_NODE,
        "1 pending: no suitable node (insufficient memory)",
    )
    crashes = [ended(1, "failed", "task: non-zero exit (1)", at=NOW - n) for n in (9, 6, 3)]
    assert obstacle(crashes, NOW) == (
        Obstacle.CRASH_LOOP,
        "3 tasks failed in the last 120 s: task: non-zero exit (1)",
    )
    for words, kind in (
        ("No such image: x", Obstacle.NO_IMAGE),
        ("invalid mount config", Obstacle.REJECTED),
    ):
        rejected = [ended(n, "rejected", words) for n in (1, 2, 3)]
        assert obstacle(rejected, NOW) == (
            kind,
            f"3 tasks rejected in the last 120 s: {words}",
        )
    assert obstacle(crashes[:2], NOW) is None
    assert obstacle(crashes, NOW + 200) is None


def test_bounds_come_from_labels_over_defaults() -> None:
    defaults = {"min": 1, "max": 10}
    assert bounds_of({}, defaults) == (1, 10)
    assert bounds_of({"autoscaler.min": "0", "autoscaler.max": "4"}, defaults) == (0, 4)
    for text in ("-1", "ten", "1e3", "99999", "", "٣"):
        with pytest.raises(ValueError, match=r"autoscaler\.max"):
            bounds_of({"autoscaler.max": text}, defaults)
    with pytest.raises(ValueError, match="at most 2"):
        bounds_of({"autoscaler.min": "3", "autoscaler.max": "2"}, defaults)
