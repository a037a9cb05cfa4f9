"""A scaler that is restarted without its history decides as it would have, out of Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import pytest

from scaler.loop.restore import Due, Restore
from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.forecast import DAY, HOUR_S, Hours, forecast
from scaler.policy.memory import Memory
from scaler.policy.observation import Fleet, Known, Observation, Signal, Unknown
from scaler.policy.target import Fallback, Rule, Target
from scaler.prometheus.client import Prometheus, PrometheusError
from scaler.prometheus.recorded import Grid, Past
from scaler.prometheus.signals import ALL, FRESH_S, SLOW_S, questions
from tests.support.recorded_past import recorded_past, series_of

pytestmark = pytest.mark.integration

LENGTH_S = 1500
SCRAPED_BEFORE_S = 0.4
"""Decisions fall on whole seconds; every sample is a little older."""
# The hour is far enough back that nothing is in the future, and fixed within the test.
BEGIN = int(time.time() // HOUR_S - 3) * HOUR_S + 600
HOURS = 9 * DAY

Load = tuple[float, float] | None
"""(waiting, in progress), None where nothing was scraped."""


def waves(second: int) -> Load:
    """Up to ten jobs, now and then a burst, never steady."""
    busy = 3 + 3 * math.sin(second / 97)
    return float(12 if second % 400 < 15 else second % 3), float(round(busy))


def with_a_gap(second: int) -> Load:
    """Nothing is known for minutes in the middle of it."""
    return None if 500 <= second < 1100 else waves(second)


def then_nothing(second: int) -> Load:
    """Prometheus has lost the exporter for good."""
    return None if second >= 700 else waves(second)


def rare_bursts(second: int) -> Load:
    """More than the maximum for a moment, soon again, then next to nothing."""
    return (30.0, 4.0) if second in (*range(300, 310), *range(640, 650)) else (0.0, 1.0)


@dataclass(frozen=True)
class Story:
    """A target, what there was to do, and the moments of restarting."""

    name: str
    load: Callable[[int], Load]
    knobs: Mapping[str, object]
    restarts: tuple[int, ...] = (1, 333, 1023)

    @property
    def target(self) -> Target:
        return Target.model_validate(
            {"max_workers": 40, **self.knobs, "name": self.name, "queue": f"queue of {self.name}"}
        )

    def signals(self, second: int) -> dict[str, float]:
        """What the exporter and the rules gave in that second."""
        load = self.load(second)
        if load is None:
            return {}
        return {
            "waiting": load[0],
            "in_flight": load[1],
            "idle": float(second % 4),
            "arrival_rate": 0.05 + 0.04 * math.sin(second / 50),
            "recent_rate": 0.1 + 0.09 * math.sin(second / 20),
            "burstiness": 2.0 + second % 7,
            "mean_duration": 60.0 + second % 11,
            "startup": 90.0 + second % 5,
        }

    def observe(self, second: int, fleet: Fleet) -> Observation:
        """What the scaler saw: the newest sample, as long as it was fresh."""
        back = next((n for n in range(min(second, 300) + 1) if self.load(second - n)), None)
        found: dict[str, Signal] = {}
        queries = questions(self.target)
        for each in ALL:
            query = queries[each.signal]
            found[each.signal] = Unknown("", query)
            if back is not None:
                age = BEGIN + second - (BEGIN + second - back - SCRAPED_BEFORE_S)
                if age <= each.max_age_s:
                    value = self.signals(second - back)[each.signal]
                    found[each.signal] = Known(value, age, query)
        return Observation(
            waiting=found["waiting"],
            in_flight=found["in_flight"],
            idle=found["idle"],
            arrival_rate=found["arrival_rate"],
            recent_rate=found["recent_rate"],
            burstiness=found["burstiness"],
            mean_duration=found["mean_duration"],
            startup=found["startup"],
            fleet=fleet,
            extra=self._extra(found["waiting"]),
        )

    def _extra(self, waiting: Signal) -> tuple[tuple[str, Signal], ...]:
        query = self.target.query
        if query is None:
            return ()
        if isinstance(waiting, Known):
            return (("query", Known(3 * waiting.value, 0.0, query)),)
        return (("query", Unknown("", query)),)


STORIES = [
    Story("ours", waves, {}),
    Story("gap", with_a_gap, {"priority": "fast"}, (510, 700, 1101, 1150)),
    Story("capped", rare_bursts, {"max_workers": 8, "wait_weight": 10}, (320, 700, 1239)),
    Story("limited", waves, {"max_added_per_minute": 2, "max_removed_per_minute": 1}),
    Story("cooling", waves, {"cooldown_period": 450}),
    Story("plan", waves, {"policy": Rule.PLAN}),
    Story("raw", waves, {"policy": Rule.RAW, "query": 'own_load{of="raw"}', "per_worker": 2}),
    Story(
        "fallback",
        then_nothing,
        {"fallback": Fallback.HIGHER, "fallback_replicas": 25, "fallback_after": 200},
        (710, 899, 1400),
    ),
]


@dataclass
class Run:
    """A scaler that was never restarted: what it decided, and what it remembered before."""

    decisions: list[Decision]
    memories: list[Memory]
    seen: list[Observation]


@cache
def unbroken(name: str) -> Run:
    """Decides once a second; the fleet is at once what it should be."""
    story = next(story for story in STORIES if story.name == name)
    run, memory, running = Run([], [], []), Memory(), 1
    for second in range(LENGTH_S):
        seen = story.observe(second, Fleet(running, running))
        run.memories.append(memory)
        run.seen.append(seen)
        decision, memory = decide(seen, memory, story.target, float(BEGIN + second))
        run.decisions.append(decision)
        assert decision.replicas is not None
        running = decision.replicas
    return run


def recorded(story: Story) -> Iterator[str]:
    """The samples in OpenMetrics, one series after the other."""
    target = story.target
    where = f'queue="{target.queue}"'
    for signal, labelled in series_of(target.queue).items():
        for second in range(LENGTH_S):
            value = story.signals(second).get(signal)
            if value is not None:
                yield f"{labelled} {value!r} {BEGIN + second - SCRAPED_BEFORE_S:.3f}"
    # The slower of the rates must not matter.
    yield from (
        f"queue:job_arrivals:rate10m{{{where}}} 0.001 {BEGIN + second - SCRAPED_BEFORE_S:.3f}"
        for second in range(LENGTH_S)
        if story.signals(second)
    )
    run, where = unbroken(story.name), f'target="{target.name}"'
    for second, decision in enumerate(run.decisions):
        yield f"autoscaler_target_replicas{{{where}}} {decision.replicas} {BEGIN + second}"
    for second, seen in enumerate(run.seen):
        running = 0 if seen.fleet is None else seen.fleet.running
        yield f'autoscaler_replicas{{state="running",{where}}} {running} {BEGIN + second}'
    if target.query is not None:
        for second in range(LENGTH_S):
            yield f"{target.query} {3 * story.signals(second)['waiting']} {BEGIN + second}"


def hourly(hour: int) -> float:
    return 10 + 8 * math.sin(2 * math.pi * hour / DAY) + hour % 5


def demand_of_days() -> Iterator[str]:
    """Ten minutes of steps: two below the hour's mean, two above, two on it."""
    present = BEGIN // HOUR_S
    for hour in range(present - HOURS, present):
        for step, off in enumerate((-2, 2, 0, 0, -1, 1)):
            at = hour * HOUR_S + 600 * step
            yield f'queue:jobs_demand:sum{{queue="daily"}} {hourly(hour) + off!r} {at}'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real one, whose past is written into its store."""
    blocks = {
        "seconds": (line for story in STORIES for line in recorded(story)),
        "hours": demand_of_days(),
    }
    with recorded_past(tmp_path_factory.mktemp("recall"), blocks) as client:
        yield client


def recalled(
    prometheus: Prometheus,
    target: Target,
    last: Memory | None,
    second: int,
    seen: Observation | None = None,
) -> Memory:
    """What a scaler that starts in that second remembers of one target."""
    seen = seen or STORIES[0].observe(second, Fleet(0, 0))
    return Restore(prometheus)([Due(target, last, seen)], float(BEGIN + second))[target.name]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_restart_without_history_changes_no_decision(
    prometheus: Prometheus, story: Story
) -> None:
    run = unbroken(story.name)
    for restart in story.restarts:
        memory = recalled(prometheus, story.target, None, restart, run.seen[restart])
        for second in range(restart, min(restart + 150, LENGTH_S)):
            now = float(BEGIN + second)
            decision, memory = decide(run.seen[second], memory, story.target, now)
            assert decision == run.decisions[second], f"restarted at {restart}, second {second}"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_kept_memory_is_completed(prometheus: Prometheus, story: Story) -> None:
    """The scaler stood still; what came to pass since is in Prometheus alone."""
    run = unbroken(story.name)
    for kept, restart in ((200, 203), (300, 900)):
        last, seen = run.memories[kept], run.seen[restart]
        memory = recalled(prometheus, story.target, last, restart, seen)
        decision, _ = decide(run.seen[restart], memory, story.target, float(BEGIN + restart))
        assert decision == run.decisions[restart], f"kept at {kept}, restarted at {restart}"


def test_the_past_is_seen_as_it_was_then(prometheus: Prometheus) -> None:
    story = STORIES[1]
    times = [float(BEGIN + second) for second in range(480, 1120)]
    grid = Grid(times[0], times[-1], 1.0)
    assert list(grid.times()) == times
    for at, seen in Past(prometheus).seen([story.target], grid)[story.name]:
        wanted = story.observe(int(at) - BEGIN, Fleet(0, 0))
        for (name, signal), (_, expected) in zip(seen.inputs(), wanted.inputs(), strict=True):
            if isinstance(expected, Known):
                assert signal == expected, (name, at)
            else:
                assert isinstance(signal, Unknown), (name, at)
    assert FRESH_S < SLOW_S, "the gap has a part in which only the slow signals are known"


def test_the_hours_of_the_forecast_are_there_again(prometheus: Prometheus) -> None:
    target = Target(name="daily", queue="daily", forecast=True)
    present = BEGIN // HOUR_S
    hours = Hours()
    for hour in range(present - HOURS, present):
        hours = hours.add(float(hour * HOUR_S), hourly(hour))
    hours = hours.add(float(present * HOUR_S), 0.0)
    expected = forecast(hours, present)
    assert expected.trusted

    memory = recalled(prometheus, target, None, 0)
    assert memory.outlook is not None
    assert memory.outlook.trusted
    assert memory.outlook.expected == pytest.approx(expected.expected)
    assert memory.outlook.error == pytest.approx(expected.error)
    assert memory.outlook.naive_error == pytest.approx(expected.naive_error)


def test_hours_that_prometheus_has_forgotten_come_from_what_was_kept(
    prometheus: Prometheus,
) -> None:
    target = Target(name="daily", queue="daily", forecast=True)
    present = BEGIN // HOUR_S
    means = tuple(float(hour) for hour in range(present - HOURS - 3, present - HOURS + 5))
    kept = Memory(at=float(BEGIN - 9 * 86_400), hours=Hours(present - HOURS + 4, means))
    hours = recalled(prometheus, target, kept, 0).hours
    assert hours.last == present - 1
    assert hours.mean(present - HOURS) == pytest.approx(hourly(present - HOURS))


def test_a_prometheus_that_is_away_is_no_empty_past() -> None:
    kept = Memory(at=float(BEGIN), target=7)
    nowhere = Prometheus("http://127.0.0.1:9")
    for target, last in ((Target(), kept), (Target(forecast=True), None)):
        with pytest.raises(PrometheusError, match="not reachable"):
            recalled(nowhere, target, last, 5)


def test_a_queue_that_was_never_seen_has_no_past(prometheus: Prometheus) -> None:
    assert recalled(prometheus, Target(queue="another"), None, 900) == Memory()


def test_many_targets_are_recalled_together_each_its_own_past(prometheus: Prometheus) -> None:
    """Of many, fewer moments are looked at: what was decided is known all the same, and what is
    decided next hardly differs."""
    stories = {story.name: story for story in STORIES}
    others = [Target(name=f"t{n}", service=f"s{n}", queue=f"q{n}") for n in range(300)]
    restart = 1023
    due = [
        *(Due(story.target, None, unbroken(name).seen[restart]) for name, story in stories.items()),
        *(Due(target, None, STORIES[0].observe(restart, Fleet(0, 0))) for target in others),
    ]
    memories = Restore(prometheus)(due, float(BEGIN + restart))
    assert all(memories[target.name] == Memory() for target in others)
    for name in ("ours", "capped", "plan", "raw"):
        run = unbroken(name)
        memory, kept = memories[name], run.memories[restart]
        assert memory.target == kept.target
        assert memory.at is not None
        assert float(BEGIN + restart) - memory.at <= 2.0
        decision, _ = decide(run.seen[restart], memory, stories[name].target, BEGIN + restart)
        wanted = run.decisions[restart].replicas or 0
        assert abs((decision.replicas or 0) - wanted) <= 2, name
