"""PromQL answers become known or unknown, never a silent 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from promql_parser import parse

from exporter.members import STATES
from scaler.policy.observation import Known, Signal, Unknown, Worker, WorkerCondition
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, PrometheusError, Sample
from scaler.prometheus.signals import (
    Signals,
    _combined,
    one_number,
    questions,
    stuck_query,
    workers_query,
)

TARGET = Target(queue='odd "queue"\\')


class Canned(Prometheus):
    """Answers with what a function of the query gives."""

    def __init__(self, answer: Callable[[str], list[Sample]]) -> None:
        super().__init__("http://127.0.0.1:9")
        self._answer = answer

    def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
        return self._answer(query)


def named(**values: float) -> list[Sample]:
    return [Sample({"signal": name.replace("__", ":")}, value) for name, value in values.items()]


def observe(samples: list[Sample]) -> Signal:
    return Signals(Canned(lambda _: samples)).look(TARGET).observation.waiting


def told(labels: dict[str, str], since: float) -> list[Sample]:
    """One exporter's two samples of a worker."""
    known = {name: value for name, value in labels.items() if name in ("worker", "instance")}
    return [
        Sample({**labels, "signal": "worker"}, 1.0),
        Sample({**known, "signal": "worker:since"}, since),
    ]


def looked(answer: list[Sample]) -> Sequence[Worker]:
    return Signals(Canned(lambda _: answer)).look(TARGET).workers or ()


def test_every_query_is_sound_promql() -> None:
    asked = questions(TARGET)
    for question in asked:
        parse(question.query)
    parse(_combined(asked))
    parse(stuck_query(TARGET))
    parse(workers_query(TARGET))


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
        (named(waiting=3, waiting__age=1) + named(waiting=4), "2 series"),
    ],
)
def test_anything_else_is_unknown_with_the_reason(samples: list[Sample], reason: str) -> None:
    signal = observe(samples)
    assert isinstance(signal, Unknown)
    assert reason in signal.reason


def test_a_prometheus_that_is_away_makes_all_unknown_and_forgets_no_worker() -> None:
    def refuse(_: str) -> list[Sample]:
        raise PrometheusError("Prometheus at http://p is not reachable")

    signals = Signals(Canned(refuse))
    observation, workers = signals.look(TARGET)
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
    observation = Signals(Canned(lambda query: answers.get(query, []))).look(target).observation
    assert dict(observation.extra)["query"] == Known(12.0, 0.0, "sum(my_load)")


def test_one_number_wants_exactly_one() -> None:
    assert one_number([Sample({}, 2.0)], "q") == Known(2.0, 0.0, "q")
    assert isinstance(one_number([], "q"), Unknown)


def test_only_an_unhealthy_worker_is_stuck_and_only_if_prometheus_says_so() -> None:
    def workers(*stuck: str) -> dict[str, bool]:
        states = {"a": "unhealthy", "b": "unhealthy", "c": "idle"}
        pairs = [told({"worker": w, "state": state}, 1.0) for w, state in states.items()]
        answer = [sample for pair in pairs for sample in pair]
        answer += [Sample({"worker": name, "signal": "worker:stuck"}, 1.0) for name in stuck]
        return {worker.id: worker.stuck for worker in looked(answer)}

    assert workers("a", "c", "gone") == {"a": True, "b": False, "c": False}
    assert workers() == {"a": False, "b": False, "c": False}
