"""The policies that are compared, each over all its knobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from common.settings import validated
from scaler.policy.target import KNOBS, Rule, Target
from scaler.simulate.arena import Arena, Policy
from scaler.simulate.score import WEIGHTS
from scaler.simulate.strategies import KedaSettings
from scaler.simulate.sweep import Entry, best

TICK_S = 5.0
HPA_SYNC_S = 15.0
PLAN_INTERVAL_S = 15.0
DOCKER_GRACE_S = 10.0
"""What Docker gives a container unless the stack file says otherwise."""

WAIT_WEIGHTS = (0.5, 1.0, 1.4, 2.0, 4.0, 7.0, 10.0, 20.0, 50.0)
# Cheap settings with headroom all the same, dear ones with less than is due, and much of it.
_PAIRS = ((1.0, 0.25), (1.0, 0.5), (2.0, 3.0), (2.0, 8.0), (20.0, 0.25), (20.0, 0.5), (50.0, 1.0))
_KEDA_VALUES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
_PLAN_GATES = ((0.0, 1e9), (1.0, 0.5), (2.0, 0.5))
_PLAN_COOLDOWNS = (0.0, 30.0, 60.0)
_PLAN_GRACES = (DOCKER_GRACE_S, 300.0)
_MINIMUMS = (0.25, 0.5, 1.0)
"""Minimums that are tried, in shares of the best fixed fleet."""


def ours(arena: Arena, *, tick_s: float = TICK_S, **knobs: Any) -> Policy:
    """Our policy with these knobs. Raises ConfigError naming one that is not allowed."""
    bounds = {"min_workers": arena.minimum, "max_workers": arena.maximum}
    target = validated(Target, {**bounds, **knobs})
    return Policy("ours", _label(target), tick_s, target=target)


def _label(target: Target) -> str:
    """What the knobs are that `simulate` sets, without a priority that does not count."""
    shown = {
        name: knob.simulated.format(getattr(target, name))
        for name, knob in KNOBS.items()
        if knob.simulated and getattr(target, name) is not None
    }
    if target.wait_weight is not None:
        del shown["priority"]
    return ", ".join(shown.values())


def keda(arena: Arena, value: float, window_s: float, *, idle_first: bool = True) -> Policy:
    """KEDA and the HPA with one target value and stabilisation window."""
    settings = KedaSettings(arena.minimum, arena.maximum, value, window_s, idle_first=idle_first)
    return Policy("keda", f"value {value:g}, window {window_s:g} s", HPA_SYNC_S, keda=settings)


def plan(
    arena: Arena,
    *,
    up: float | None = None,
    down: float | None = None,
    cooldown_s: float | None = None,
    grace_s: float = DOCKER_GRACE_S,
) -> Policy:
    """The threshold rule (`policy: plan`); None leaves a knob at that rule's default."""
    target = Target(
        min_workers=arena.minimum,
        max_workers=arena.maximum,
        policy=Rule.PLAN,
        scale_up_threshold=up,
        scale_down_threshold=down,
        cooldown_period=cooldown_s,
    )
    gates = target.gates
    gated = "no thresholds" if gates.up == 0 else f"thresholds {gates.up:g}/{gates.down:g}"
    label = f"{gated}, cooldown {gates.cooldown_s:g} s, grace {grace_s:g} s"
    return Policy("plan", label, PLAN_INTERVAL_S, target=target, grace_s=grace_s)


def fixed(size: int) -> Policy:
    """A fleet that is never scaled."""
    return Policy("fixed", f"{size} workers", TICK_S, size=size)


def all_ours(arena: Arena) -> list[Policy]:
    """Our policy over what waiting is worth, and some headrooms that do not follow from it."""
    followed = [ours(arena, wait_weight=weight) for weight in WAIT_WEIGHTS]
    return followed + [ours(arena, wait_weight=w, headroom=z) for w, z in _PAIRS]


def all_keda(arena: Arena, *more_windows_s: float) -> list[Policy]:
    """KEDA from half a job per replica to two, over windows from none to the default, and more."""
    startup = arena.world.startup_s
    windows = sorted({0.0, HPA_SYNC_S, startup, 2 * startup, 4 * startup, 300.0, *more_windows_s})
    return [keda(arena, value, window) for value, window in product(_KEDA_VALUES, windows)]


def all_plan(arena: Arena) -> list[Policy]:
    """The threshold rule over its thresholds, cooldown and grace period."""
    return [
        plan(arena, up=up, down=down, cooldown_s=cooldown, grace_s=grace)
        for (up, down), cooldown, grace in product(_PLAN_GATES, _PLAN_COOLDOWNS, _PLAN_GRACES)
    ]


def all_fixed(arena: Arena) -> list[Policy]:
    """Fleets from the mean of the load to its peak."""
    sizes = {
        max(arena.minimum, 1, min(arena.maximum, round(arena.pool.mean_load * f)))
        for f in (1.1, 1.3, 1.6, 2, 3, 5, 8)
    }
    return [fixed(size) for size in sorted(sizes)]


def families(arena: Arena) -> dict[str, list[Policy]]:
    """Every policy with every setting that is tried, by kind."""
    return {
        "ours": all_ours(arena),
        "keda": all_keda(arena),
        "plan": all_plan(arena),
        "fixed": all_fixed(arena),
    }


def with_minimums(arena: Arena, entries: Mapping[str, Sequence[Entry]]) -> dict[str, list[Policy]]:
    """The best settings among `entries`, by kind, with higher minimums up to the best fixed fleet.

    A minimum is a knob of everyone's, and whoever knows the load sets it: with the best fixed
    fleet's size as its minimum, a policy is that fleet, and grows beyond it.
    """
    found: dict[str, dict[str, Policy]] = {kind: {} for kind in entries if kind != "fixed"}
    for weight, (kind, policies) in product(WEIGHTS, found.items()):
        size = best(entries["fixed"], weight).policy.size
        policy = best(entries[kind], weight).policy
        for low in {round(size * share) for share in _MINIMUMS}:
            if low > arena.minimum:
                higher = _with_minimum(policy, low)
                policies[higher.label] = higher
    return {kind: list(policies.values()) for kind, policies in found.items()}


def _with_minimum(policy: Policy, low: int) -> Policy:
    label = f"{policy.label}, min {low}"
    if policy.keda is not None:
        return replace(policy, label=label, keda=replace(policy.keda, minimum=low))
    target = policy.target.model_copy(update={"min_workers": low})
    return replace(policy, label=label, target=target)
