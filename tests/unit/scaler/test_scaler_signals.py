"""PromQL answers become known or unknown, never a silent 0."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import pytest
from promql_parser import parse

from exporter.members import STATES
from scaler.policy.observation import Known, Signal, Unknown, Worker, WorkerCondition
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, Sample
from scaler.prometheus.crew_query import crew_queries, crew_query, stuck_query
from scaler.prometheus.look import Seen, Signals
from scaler.prometheus.signals import (
    ALL,
    NAMED_QUEUES,
    SLOW,
    matcher,
    one_number,
    questions,
    signals_query,
)

TARGET = Target(queue='odd "queue"\\')
QUEUE = TARGET.queue
OF_VHOST = ("waiting", "waiting:age")


class Canned(Prometheus):
    """Answers with what a function of the query gives."""

    def __init__(self, answer: Callable[[str], list[Sample]]) -> None:
        super().__init__("http://127.0.0.1:9")
        self._answer = answer
        self.asked: list[str] = []

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
        self.asked.append(query)
        return self._answer(query)


def named(queue: str = QUEUE, vhost: str = "/", **values: float) -> list[Sample]:
    """Elements of an answer about a queue."""
    samples = []
    for name, value in values.items():
        signal = name.replace("__", ":")
        labels = {"signal": signal, "queue": queue}
        if signal in OF_VHOST:
            labels["vhost"] = vhost
        samples.append(Sample(labels, value))
    return samples


def look(answer: Callable[[str], list[Sample]], target: Target = TARGET) -> Seen:
    return Signals(Canned(answer)).look([target])[target.name]


def observe(samples: list[Sample]) -> Signal:
    return look(lambda _: samples).observation.waiting


def told(labels: dict[str, str], since: float) -> list[Sample]:
    """One exporter's two samples of a worker."""
    labels = {"queue": QUEUE, **labels}
    known = {name: value for name, value in labels.items() if name != "state"}
    return [
        Sample({**labels, "signal": "worker"}, 1.0),
        Sample({**known, "signal": "worker:since"}, since),
    ]


def looked(answer: list[Sample]) -> Sequence[Worker]:
    return look(lambda _: answer).workers or ()


def many(count: int) -> list[Target]:
    return [Target(name=f"t{n}", service=f"s{n}", queue=f"q.{n}+(x)") for n in range(count)]


@pytest.mark.parametrize("targets", [[TARGET], many(3), many(NAMED_QUEUES + 1)])
def test_every_query_is_sound_promql(targets: list[Target]) -> None:
    for query in questions(TARGET).values():
        parse(query)
    queues = matcher(target.queue for target in targets)
    parse(signals_query(ALL, queues))
    parse(crew_query(queues))
    for query in crew_queries(queues):
        parse(query)
    parse(stuck_query(queues))


def test_a_thousand_targets_take_as_many_queries_as_a_hundred_and_one() -> None:
    asked = []
    for count in (1, NAMED_QUEUES, NAMED_QUEUES + 1, 1000):
        prometheus = Canned(lambda _: [])
        Signals(prometheus).look(many(count))
        asked.append(len(prometheus.asked))
    assert asked[:2] == [1, 1]
    assert asked[2] == asked[3] <= 19


def test_what_is_lacking_for_one_target_is_unknown_for_that_one_alone() -> None:
    targets = many(NAMED_QUEUES + 3)
    lacking, late, other = targets[0], targets[1], targets[2]

    def answer(query: str) -> list[Sample]:
        if "rabbitmq_queue_messages_ready" not in query:
            return []
        age = query.startswith("time()")
        late_ones = named(late.queue, waiting=300 if age else 1)
        elsewhere = named(other.queue, vhost="elsewhere", waiting=0)
        samples = [each for t in targets[3:] for each in named(t.queue, waiting=1)]
        return [*late_ones, *elsewhere, *samples]

    seen = Signals(Canned(answer)).look(targets)
    for each, reason in ((lacking, "no sample"), (late, "300 s old"), (other, "no sample")):
        waiting = seen[each.name].observation.waiting
        assert isinstance(waiting, Unknown)
        assert reason in waiting.reason
    assert all(isinstance(seen[each.name].observation.waiting, Known) for each in targets[3:])


def test_a_part_that_fails_leaves_the_others_known() -> None:
    targets = many(NAMED_QUEUES + 1)

    def answer(query: str) -> list[Sample]:
        if "mean1h" in query or "offset" in query:
            raise PrometheusError("too heavy")
        labels = {"queue": targets[0].queue, "worker": "w", "state": "unhealthy"}
        state, since = told(labels, 5.0)
        if query.startswith("autoscaler_worker_state_since"):
            return [since]
        if query.startswith("autoscaler_worker_state{"):
            return [state]
        return named(targets[0].queue, waiting=2)

    seen = Signals(Canned(answer)).look(targets)[targets[0].name]
    assert isinstance(seen.observation.waiting, Known)
    assert seen.observation.startup == Unknown("too heavy", questions(targets[0])["startup"])
    assert [worker.id for worker in seen.workers or ()] == ["w"]


def test_of_many_queues_the_slow_signals_take_turns_and_grow_older_meanwhile() -> None:
    targets, now, asked = many(NAMED_QUEUES + 1), [100.0], []

    def answer(query: str) -> list[Sample]:
        asked.append(query)
        where = {"vhost": "/"} if "vhost" in query else {}
        one = Sample({"queue": targets[0].queue, **where}, 2.0)
        return [] if "worker_state" in query else [one]

    signals = Signals(Canned(answer), clock=lambda: now[0])
    ages: dict[str, list[float]] = {}
    for _ in range(9):
        seen = signals.look(targets)[targets[0].name].observation
        for name, signal in seen.inputs():
            assert isinstance(signal, Known)
            ages.setdefault(name, []).append(signal.age_s)
        now[0] += 1
    assert ages["waiting"] == [2.0] * 9
    assert [max(ages[each.signal]) for each in SLOW] == [6.0] * len(SLOW)
    assert len(asked) == 18 + 8 * 10


def test_own_queries_hold_up_nobody_and_are_not_asked_twice_at_once() -> None:
    release, began = threading.Event(), []
    targets = [
        Target(name=name, service=name, queue=name, policy="raw", query=f"load_of_{name}")  # type: ignore[arg-type]
        for name in ("slow", "quick")
    ]

    def answer(query: str) -> list[Sample]:
        if query == "load_of_slow":
            began.append(query)
            release.wait(30)
        return [Sample({}, 3.0)] if query.startswith("load_of") else []

    signals = Signals(Canned(answer), patience_s=0.2)
    for _ in range(3):
        seen = signals.look(targets)
        (slow,), (quick,) = (seen[target.name].observation.extra for target in targets)
        assert isinstance(slow[1], Unknown)
        assert "in time" in slow[1].reason
        assert quick[1] == Known(3.0, 0.0, "load_of_quick")
    release.set()
    assert began == ["load_of_slow"]


def test_a_prometheus_whose_clock_was_set_back_shows_the_past_once_more() -> None:
    now = [5000.0]
    signals = Signals(
        Canned(lambda _: [each._replace(at=now[0]) for each in named(waiting=3, waiting__age=1)])
    )

    def waiting() -> Signal:
        return signals.look([TARGET])[TARGET.name].observation.waiting

    assert isinstance(waiting(), Known)
    now[0] -= 120
    back = waiting()
    assert isinstance(back, Unknown)
    assert "set back by 120 s" in back.reason
    now[0] += 115
    assert isinstance(waiting(), Known)


def test_a_fresh_number_is_known_with_its_age_and_query() -> None:
    signal = observe(named(waiting=7, waiting__age=1.5))
    assert isinstance(signal, Known)
    assert (signal.value, signal.age_s) == (7, 1.5)
    parse(signal.query)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "no sample"),
        (named(waiting=math.nan, waiting__age=1), "nan"),
        (named(waiting=math.inf, waiting__age=1), "inf"),
        (named(waiting=3, waiting__age=500), "500 s old"),
        (named(waiting=3), "inf s old"),
    ],
)
def test_anything_else_is_unknown_with_the_reason(samples: list[Sample], reason: str) -> None:
    signal = observe(samples)
    assert isinstance(signal, Unknown)
    assert reason in signal.reason


def test_a_prometheus_that_is_away_makes_all_unknown_and_forgets_no_worker() -> None:
    def refuse(_: str) -> list[Sample]:
        raise PrometheusError("Prometheus at http://p is not reachable")

    observation, workers = look(refuse)
    assert isinstance(observation.waiting, Unknown)
    assert "not reachable" in observation.waiting.reason
    assert workers is None


def test_workers_told_of_by_two_exporters_count_once() -> None:
    labels = {"worker": "w1", "state": "idle", "node": "n1", "task": "t1", "slot": "3"}
    answer = [each for name in ("a", "b") for each in told({**labels, "instance": name}, 123.0)]
    (worker,) = looked(answer)
    assert (worker.id, worker.state, worker.since, worker.slot) == ("w1", "idle", 123.0, "3")


def test_of_two_exporters_the_newer_state_holds() -> None:
    busy = {"worker": "w1", "state": "busy", "instance": "a"}
    idle = {"worker": "w1", "state": "idle", "instance": "b"}
    for answer in (told(busy, 20.0) + told(idle, 10.0), told(idle, 10.0) + told(busy, 20.0)):
        (worker,) = looked(answer)
        assert worker.state is WorkerCondition.BUSY


def shown(*states: str) -> Sequence[Worker]:
    pairs = [told({"worker": f"w{n}", "state": one}, 1.0) for n, one in enumerate(states)]
    return looked([sample for pair in pairs for sample in pair])


def test_every_state_that_the_exporter_shows_is_read_as_itself() -> None:
    assert [worker.state for worker in shown(*STATES)] == list(STATES)


@pytest.mark.parametrize("state", ["napping", "", "IDLE"])
def test_a_state_that_is_not_known_is_never_idle(state: str) -> None:
    (worker,) = shown(state)
    assert worker.state is WorkerCondition.BUSY
    assert not worker.stuck


def test_an_operators_own_query_is_asked_as_it_is() -> None:
    target = Target(policy="raw", query="sum(my_load)")  # type: ignore[arg-type]
    answers = {"sum(my_load)": [Sample({}, 12.0)]}
    observation = look(lambda query: answers.get(query, []), target).observation
    assert dict(observation.extra)["query"] == Known(12.0, 0.0, "sum(my_load)")


def test_one_number_wants_exactly_one() -> None:
    assert one_number([Sample({}, 2.0)], "q") == Known(2.0, 0.0, "q")
    assert isinstance(one_number([], "q"), Unknown)


def test_only_an_unhealthy_worker_is_stuck_and_only_if_prometheus_says_so() -> None:
    def workers(*stuck: str) -> dict[str, bool]:
        states = {"a": "unhealthy", "b": "unhealthy", "c": "idle"}
        pairs = [told({"worker": w, "state": state}, 1.0) for w, state in states.items()]
        answer = [sample for pair in pairs for sample in pair]
        stuck_ones = ({"queue": QUEUE, "worker": n, "signal": "worker:stuck"} for n in stuck)
        answer += [Sample(labels, 1.0) for labels in stuck_ones]
        return {worker.id: worker.stuck for worker in looked(answer)}

    assert workers("a", "c", "gone") == {"a": True, "b": False, "c": False}
    assert workers() == {"a": False, "b": False, "c": False}
