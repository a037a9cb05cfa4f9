"""What must hold of every decision, whatever happens in whatever order."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from scaler.policy.ceiling import ceiling
from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.explain import reason
from scaler.policy.memory import Memory
from scaler.policy.observation import Fleet, Known, Observation, Signal, Unknown
from scaler.policy.remember import rebuild, remember
from scaler.policy.schedule import Bounds
from scaler.policy.target import Fallback, Rule, Target
from tests.support.targets import targets

COUNTS = st.integers(0, 40)
SECONDS = st.floats(0.5, 90.0)
UNKNOWN = Unknown("no sample", "q")


def known(value: float) -> Known:
    return Known(float(value), 1.0, "q")


@st.composite
def observations(draw: st.DrawFn, blind: bool | None = None, troubled: bool = False) -> Observation:
    busy, idle, starting = draw(COUNTS), draw(COUNTS), draw(st.integers(0, 10))
    unhealthy = draw(st.integers(0, 3)) if troubled else 0
    running = busy + idle + starting + unhealthy
    hold = draw(st.sampled_from([None, None, None, "a drain", "a roll-out"])) if troubled else None
    fleet = Fleet(
        running,
        running,
        starting,
        unhealthy=unhealthy,
        hold=hold,
        hold_yields=hold == "a drain",
    )
    optional = st.one_of(st.just(UNKNOWN), st.floats(0.0, 50.0).map(known))
    waiting: Signal = known(draw(st.integers(0, 200)))
    in_flight: Signal = known(busy)
    unseen = draw(st.sampled_from(["waiting", "in_flight", "both"]))
    if blind or (blind is None and draw(st.integers(0, 4)) == 0):
        waiting = UNKNOWN if unseen != "in_flight" else waiting
        in_flight = UNKNOWN if unseen != "waiting" else in_flight
    return Observation(
        waiting=waiting,
        in_flight=in_flight,
        idle=known(idle) if in_flight is not UNKNOWN else UNKNOWN,
        arrival_rate=draw(optional),
        burstiness=draw(optional),
        mean_duration=draw(optional),
        startup=draw(optional),
        fleet=fleet,
    )


def through_json(memory: Memory) -> Memory:
    return Memory.from_json(json.loads(json.dumps(memory.to_json())))


class Decisions(RuleBasedStateMachine):
    """A scaler that sees anything at all, and one beside it that is restarted at will."""

    @initialize(chosen=targets())
    def begin(self, chosen: Target) -> None:
        self.target = chosen
        self.now = 1_700_000_000.0
        self.memory = self.before = Memory()
        self.restarted = Memory()
        self.previous: int | None = None
        self.busy = 0

    @rule(seen=observations(troubled=True), after=SECONDS)
    def tick(self, seen: Observation, after: float) -> None:
        self.now += after
        self.before = self.memory
        decision, self.memory = decide(seen, self.memory, self.target, self.now)
        again, self.restarted = decide(seen, self.restarted, self.target, self.now)
        assert again == decision, "a restart changes no later decision"
        self.check(decision, seen)
        self.previous = decision.replicas

    @rule()
    def restart(self) -> None:
        self.restarted = through_json(self.restarted)

    def check(self, decision: Decision, seen: Observation) -> None:
        assert seen.fleet is not None
        if isinstance(seen.busy, Known):
            self.busy = int(seen.busy.value)
        assert decision.replicas is not None, "who sees a fleet knows a number"
        held = decision.limit is not None and decision.limit.row.holds
        most = ceiling(seen, self.before, decision.bounds, held=held)
        assert decision.replicas <= most, "never above the ceiling"
        standing = min(self.busy, seen.fleet.running - seen.fleet.unhealthy)
        assert decision.replicas >= standing, "never below busy"
        assert decision.replicas >= self.target.min_workers
        needed = [seen.waiting]
        if self.target.policy is Rule.OURS:
            needed.append(seen.in_flight)
        if UNKNOWN in needed:
            assert decision.retire == 0
            assert decision.action == "hold"
            if self.previous is not None and self.target.fallback is not Fallback.NUMBER:
                kept = min(self.previous, max(self.target.max_workers, seen.fleet.running))
                assert decision.replicas >= kept, "never down on unknown"
        elif seen.fleet.hold is not None and not decision.urgent:
            assert decision.retire == 0
            assert decision.action == "hold"
        else:
            assert decision.replicas <= max(self.target.max_workers, standing)
            if decision.urgent:
                assert seen.fleet.hold_yields, "a roll-out gives way to no emergency"
                assert self.target.emergency_after is not None
                assert decision.action == "up"
            if isinstance(seen.idle, Known):
                assert 0 <= decision.retire <= seen.idle.value
            if decision.retire:
                assert seen.fleet.running - decision.retire >= decision.replicas
        other = Bounds(0, 0, "", "")
        assert Decision.from_json(json.loads(json.dumps(decision.to_json())), other) == decision
        assert reason(decision)


Decisions.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDecisions = Decisions.TestCase

ENDLESS = settings(max_examples=200, deadline=None)


@ENDLESS
@given(targets(), st.lists(observations(), max_size=6), observations(blind=False), st.data())
def test_more_demand_never_means_fewer_workers(
    target: Target, past: list[Observation], seen: Observation, data: st.DataObject
) -> None:
    target = target.model_copy(update={"policy": Rule.OURS})
    memory, now = Memory(), 0.0
    for observation in past:
        now += 5.0
        _, memory = decide(observation, memory, target, now)
    assert isinstance(seen.waiting, Known)
    more = known(seen.waiting.value + data.draw(st.integers(1, 100)))
    few, _ = decide(seen, memory, target, now + 5.0)
    many, _ = decide(replace(seen, waiting=more), memory, target, now + 5.0)
    assert many.replicas is not None
    assert few.replicas is not None
    assert many.replicas >= few.replicas


@ENDLESS
@given(targets(), st.lists(observations(), max_size=6), observations(blind=False))
def test_a_constant_input_settles(
    target: Target, past: list[Observation], seen: Observation
) -> None:
    target = target.model_copy(update={"policy": Rule.OURS})
    memory, now = Memory(), 0.0
    for observation in past:
        now += 5.0
        _, memory = decide(observation, memory, target, now)
    numbers = []
    for _ in range(600):  # the slowest rate limit takes half an hour
        now += 5.0
        decision, memory = decide(seen, memory, target, now)
        assert decision.replicas is not None
        numbers.append(decision.replicas)
    # Up or down, but not both: a rate limit or a cooldown takes steps, and then it stays.
    steps = [b - a for a, b in pairwise(numbers) if a != b]
    turns = sum((a > 0) != (b > 0) for a, b in pairwise(steps))
    assert turns <= 1
    assert len(set(numbers[-100:])) == 1


@ENDLESS
@given(targets(), st.lists(observations(), min_size=1, max_size=30), observations(), st.data())
def test_a_memory_rebuilt_from_samples_decides_the_same(
    target: Target, past: list[Observation], seen: Observation, data: st.DataObject
) -> None:
    """From samples alone, or from what was kept at some time and the samples since."""
    target = target.model_copy(update={"policy": Rule.OURS})
    memory, kept = Memory(), None
    cut = data.draw(st.integers(0, len(past)))
    samples, decided = [], []
    for step, observation in enumerate(past):
        at = 1000.0 + 5.0 * step
        blind = replace(observation, fleet=None)
        first = memory.target is None or not memory.wanted
        decision, memory = decide(observation, memory, target, at)
        if step == 0 and observation.fleet is not None and decision.action != "hold":
            # Only in its first minute does a scaler measure changes by the fleet it found.
            decided.append((at, observation.fleet.running))
        samples.append((at, observation if first else blind))
        assert decision.replicas is not None
        decided.append((at, decision.replicas))
        if step + 1 == cut:
            kept = through_json(memory)
    rebuilt = rebuild(samples, target, last=kept, decided=decided)
    now = 1000.0 + 5.0 * len(past)
    wanted, _ = decide(seen, memory, target, now)
    found, _ = decide(seen, rebuilt, target, now)
    assert found == wanted


@ENDLESS
@given(targets(), st.lists(observations(), max_size=30))
def test_remembering_does_not_grow_without_bound(target: Target, past: list[Observation]) -> None:
    memory = Memory()
    for step, observation in enumerate(past * 20):
        now = 10.0 * step
        memory = remember(observation, memory, target, now)._replace(at=now)
    assert len(memory.wanted) <= 40
