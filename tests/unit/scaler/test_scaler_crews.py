"""Of thousands of workers a part is read at each look, and each of them every few looks."""

from __future__ import annotations

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.observation import Worker, WorkerCondition
from scaler.policy.target import Target
from scaler.prometheus.client import Prometheus, Sample
from scaler.prometheus.crews import AT_ONCE, Crews
from scaler.prometheus.look import Signals


@cache
def crew(size: int) -> tuple[Worker, ...]:
    return tuple(Worker(f"w{n}", WorkerCondition.IDLE, 0.0) for n in range(size))


def told(crews: Crews, sizes: dict[str, int]) -> list[str]:
    due = list(crews.due(sizes))
    crews.told(due, {queue: crew(sizes[queue]) for queue in due if sizes[queue]})
    return due


def test_a_few_are_read_at_every_look() -> None:
    crews, sizes = Crews(), {f"q{n}": 10 for n in range(100)}
    for _ in range(3):
        assert sorted(told(crews, sizes)) == sorted(sizes)
    assert not crews.many


def test_thousands_are_read_in_turns_and_none_is_left_out() -> None:
    crews, sizes = Crews(), {f"q{n}": 10 for n in range(1000)}
    assert len(told(crews, sizes)) == 1000, "all of them at first"
    assert crews.many
    turns = [told(crews, sizes) for _ in range(5)]
    assert max(map(len, turns)) <= AT_ONCE / 10
    assert sorted(queue for turn in turns for queue in turn) == sorted(sizes)


def test_who_was_never_read_comes_first() -> None:
    crews, sizes = Crews(), {f"q{n}": 1000 for n in range(10)}
    told(crews, sizes)
    sizes["new"] = 5
    assert told(crews, sizes)[0] == "new"


def test_what_is_gone_is_forgotten() -> None:
    crews = Crews()
    told(crews, {"a": 3000, "b": 1})
    told(crews, {"b": 1})
    assert crews.of("a") is None
    assert crews.of("b") == crew(1)
    assert not crews.many


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 4000), min_size=1, max_size=30))
def test_each_has_its_turn_within_six_looks(sizes: dict[str, int]) -> None:
    crews = Crews()
    told(crews, sizes)
    seen = {queue for _ in range(6) for queue in told(crews, sizes)}
    assert seen == set(sizes)


def test_workers_that_are_not_asked_for_this_time_are_as_they_were() -> None:
    targets = [Target(name=f"t{n}", service=f"t{n}", queue=f"q{n}") for n in range(10)]
    asked: list[str] = []

    class Big(Prometheus):
        """With 500 workers on each of the queues that a query names."""

        def vector(self, query: str, timeout_s: float | None = None) -> list[Sample]:
            asked.append(query)
            queues = [t.queue for t in targets if t.queue in query]
            labels = [
                {"queue": queue, "worker": f"{queue}-{n}"} for queue in queues for n in range(500)
            ]
            found: list[Sample] = []
            if "autoscaler_worker_state_since" in query:
                name, kind = "autoscaler_worker_state_since_seconds", "worker:since"
                found += [
                    Sample({**each, "__name__": name, "signal": kind}, 7.0) for each in labels
                ]
            if "autoscaler_worker_state{" in query:
                name, kind = "autoscaler_worker_state", "worker"
                of = {"__name__": name, "signal": kind, "state": "idle"}
                found += [Sample({**each, **of}, 1.0) for each in labels]
            return found

    signals = Signals(Big("http://127.0.0.1:9"))
    for look in range(4):
        seen = signals.look(targets)
        assert all(len(seen[target.name].workers or ()) == 500 for target in targets), look
    (last,) = [query for query in asked[-3:] if query.startswith("autoscaler_worker_state{")]
    assert 3 <= sum(target.queue in last for target in targets) <= 5
