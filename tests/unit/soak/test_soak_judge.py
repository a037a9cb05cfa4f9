"""The soak's judge: each of its figures is made something else than 0, and left at 0."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest

from tests.soak.evidence import End, Evidence, Kind, Mark, Order, What
from tests.soak.judge import ZEROS, Verdict, judge
from tests.soak.readings import excused, journal, logged

Did = tuple[str, What, str | None]
J = "job-00001"
ONE = Order(f"{J}.m-00000001", J, Kind.GOOD)


def marks(*did: Did) -> list[Mark]:
    """One a second, from second 1 on: by which process, what, for which job."""
    return [Mark(at, *each) for at, each in enumerate(did, start=1)]


def found(
    *did: Did,
    orders: Sequence[Order] = (ONE,),
    announced: Sequence[str] = (ONE.key,),
    parked: Sequence[str] = (),
    killed: Sequence[tuple[float, str]] = (),
    crashes: Sequence[float] = (),
) -> Verdict:
    ends = [End(at, process, True, "was killed", -9) for at, process in killed]
    return judge(Evidence(orders, announced, parked, marks(*did), ends, crashes))


def wrong(verdict: Verdict) -> dict[str, int]:
    """The figures that must be 0 and are not; each is explained."""
    counts = {name: verdict.figures[name] for name in ZEROS if verdict.figures[name]}
    assert verdict.good == (not counts)
    assert set(verdict.problems) == set(counts)
    return counts


def handled(process: str, job: str = J, *, last: What = What.SETTLED) -> list[Did]:
    """A whole handling of a job, up to its last step."""
    steps = [What.LOOK, What.RENDER, What.KEPT, What.SETTLED]
    return [(process, what, job) for what in steps[: steps.index(last) + 1]]


def announced_only(process: str, *, last: What = What.SETTLED) -> list[Did]:
    """A handling that found the result."""
    return [did for did in handled(process, last=last) if did[1] in (What.LOOK, last)]


# lost


def test_a_job_that_is_announced_is_not_lost() -> None:
    verdict = found(*handled("a"))
    assert wrong(verdict) == {}
    assert verdict.figures["jobs"] == 1


def test_a_job_without_an_outcome_is_lost_and_its_story_is_told() -> None:
    verdict = found(*handled("a"), announced=[])
    assert wrong(verdict) == {"lost": 1}
    (problem,) = verdict.problems["lost"]
    assert J in problem
    assert "4.000 a" in problem


def test_one_of_two_orders_for_a_job_is_lost() -> None:
    other = Order(f"{J}.m-00000002", J, Kind.GOOD)
    assert wrong(found(orders=[ONE, other])) == {"lost": 1}
    assert wrong(found(orders=[ONE, other], announced=[ONE.key, other.key])) == {}


def test_two_copies_of_one_order_may_be_answered_once_or_twice() -> None:
    order = Order(J, J, Kind.GOOD, copies=2)
    for times in (1, 2):
        assert wrong(found(orders=[order], announced=[J] * times)) == {}
    assert wrong(found(orders=[order], announced=[J] * 3)) == {"without_crash": 1}


def test_an_announcement_of_an_order_that_nobody_gave_answers_none() -> None:
    assert wrong(found(announced=[f"{J}.m-99999999"])) == {"lost": 1}


def test_a_good_job_that_is_parked_is_lost() -> None:
    assert wrong(found(*handled("a"), announced=[], parked=[J])) == {"lost": 1}


def test_a_job_that_ended_two_workers_may_be_parked() -> None:
    did = [*handled("a", last=What.RENDER), *handled("b", last=What.LOOK)]
    verdict = found(*did, announced=[], parked=[J], killed=[(2.5, "a"), (3.5, "b")])
    assert wrong(verdict) == {}
    assert verdict.figures["quarantined"] == 1
    verdict = found(*did, announced=[], parked=[J], killed=[(2.5, "a")])
    assert wrong(verdict) == {"lost": 1}


def test_a_kill_between_two_jobs_is_none_in_the_job_before() -> None:
    did = [*handled("a"), *announced_only("b")]
    verdict = found(*did, announced=[], parked=[J], killed=[(4.5, "a"), (8.5, "b")])
    assert wrong(verdict) == {"lost": 1}


def test_a_permanent_failure_is_to_be_parked() -> None:
    order = Order(J, J, Kind.PERMANENT)
    verdict = found(orders=[order], announced=[], parked=[J])
    assert wrong(verdict) == {}
    assert verdict.figures["failed"] == 1
    assert wrong(found(orders=[order], announced=[])) == {"lost": 1}


def test_poison_may_be_parked_or_announced_but_not_lost() -> None:
    order = Order("poison-00001", "poison-00001", Kind.POISON)
    verdict = found(orders=[order], announced=[], parked=[order.key])
    assert wrong(verdict) == {}
    assert verdict.figures["parked_poison"] == 1
    assert verdict.figures["jobs"] == 0
    assert wrong(found(orders=[order], announced=[order.key])) == {}
    assert wrong(found(orders=[order], announced=[])) == {"lost": 1}


# announced_twice, without_crash

TWICE = [ONE.key, ONE.key]


def test_announced_twice_without_a_reason() -> None:
    verdict = found(*handled("a"), *handled("a", "job-00002"), announced=TWICE)
    assert wrong(verdict) == {"without_crash": 1}
    assert verdict.figures["announced_twice"] == 1


@pytest.mark.parametrize("last", [What.KEPT, What.LOOK])
def test_a_worker_killed_before_it_settled_may_have_announced(last: What) -> None:
    did = [*handled("a", last=last), *announced_only("b")]
    verdict = found(*did, announced=TWICE, killed=[(9.0, "a")])
    assert wrong(verdict) == {}
    assert verdict.figures["announced_twice"] == 1


def test_a_worker_killed_at_the_rendering_has_announced_nothing() -> None:
    did = [*handled("a", last=What.RENDER), *handled("b")]
    assert wrong(found(*did, announced=TWICE, killed=[(9.0, "a")])) == {"without_crash": 1}


def test_a_worker_that_ended_by_itself_is_no_reason() -> None:
    evidence = Evidence(
        [ONE], TWICE, (), marks(*handled("a", last=What.KEPT)), [End(9.0, "a", False, "ended", 1)]
    )
    assert wrong(judge(evidence)) == {"without_crash": 1, "stopped_workers": 1}


def test_a_session_that_ended_before_it_settled_is_a_reason_and_one_after_it_is_none() -> None:
    lost: Did = ("a", What.SESSION_ENDED, None)
    assert wrong(found(*handled("a", last=What.KEPT), lost, announced=TWICE)) == {}
    assert wrong(found(*handled("a"), lost, announced=TWICE)) == {"without_crash": 1}


def test_the_next_job_proves_that_the_one_before_was_acknowledged() -> None:
    did = [*handled("a", last=What.KEPT), *handled("a", "job-00002", last=What.LOOK)]
    lost: Did = ("a", What.SESSION_ENDED, None)
    assert wrong(found(*did, lost, announced=TWICE)) == {"without_crash": 1}


def test_each_reason_excuses_one() -> None:
    did = [*handled("a", last=What.KEPT), *announced_only("b", last=What.LOOK)]
    did += announced_only("c")
    killed = [(9.0, "a"), (9.0, "b")]
    assert wrong(found(*did, announced=[ONE.key] * 3, killed=killed)) == {}
    assert wrong(found(*did, announced=[ONE.key] * 4, killed=killed)) == {"without_crash": 1}


def test_a_broker_that_was_killed_may_deliver_again_what_was_settled() -> None:
    did = [*handled("a"), *announced_only("b")]
    assert wrong(found(*did, announced=TWICE, crashes=[4.5])) == {}
    assert wrong(found(*did, announced=TWICE, crashes=[9.0])) == {"without_crash": 1}


def test_a_broker_that_was_killed_may_deliver_each_copy_again() -> None:
    order = Order(ONE.key, J, Kind.GOOD, copies=2)
    did = [*handled("a"), *announced_only("b"), *announced_only("c"), *announced_only("d")]

    def verdict(times: int, crash: float) -> Verdict:
        return found(*did, orders=[order], announced=[ONE.key] * times, crashes=[crash])

    assert wrong(verdict(4, crash=6.5)) == {}
    assert wrong(verdict(5, crash=6.5)) == {"without_crash": 1}
    assert wrong(verdict(4, crash=4.5)) == {"without_crash": 1}, "one was settled by then"


def test_announced_and_parked_is_one_too_many() -> None:
    order = Order(J, J, Kind.PERMANENT)
    verdict = found(orders=[order], announced=[J], parked=[J])
    assert wrong(verdict) == {"without_crash": 1}


# rendered_twice


def test_a_render_after_the_result_was_stored() -> None:
    verdict = found(*handled("a"), *handled("b"))
    assert wrong(verdict) == {"rendered_twice": 1}


def test_a_render_by_a_worker_that_never_looked() -> None:
    verdict = found(*handled("a"), ("b", What.RENDER, J))
    assert wrong(verdict) == {"rendered_twice": 1}


def test_a_render_that_began_before_the_result_was_stored() -> None:
    did: list[Did] = [("b", What.LOOK, J), *handled("a"), ("b", What.RENDER, J)]
    assert wrong(found(*did)) == {}


def test_a_look_counts_for_one_render_and_one_job() -> None:
    again: list[Did] = [*handled("a"), ("a", What.RENDER, J)]
    assert wrong(found(*again)) == {"rendered_twice": 1}
    other: list[Did] = [("b", What.LOOK, "job-00002"), *handled("a"), ("b", What.RENDER, J)]
    assert wrong(found(*other)) == {"rendered_twice": 1}


# stopped_workers, stuck


def test_a_worker_that_ended_by_itself_is_told_with_its_last_words() -> None:
    said = list(logged("a", ["Traceback", '{"timestamp": "2026-11-27T18:17:16Z", "event": "bye"}']))
    ends = [End(3.0, "a", False, "ended by itself", 1), End(4.0, "b", True, "was killed", -9)]
    verdict = judge(Evidence([ONE], [ONE.key], (), said, ends))
    assert wrong(verdict) == {"stopped_workers": 1}
    (problem,) = verdict.problems["stopped_workers"]
    assert "code 1" in problem
    assert "Traceback" in problem
    assert "bye" in problem


def test_what_is_left_in_queues_is_stuck() -> None:
    left = {"soak": 2, "soak.retry.2": 1, "soak.retry.1": 0}
    verdict = judge(Evidence([ONE], [ONE.key], left=left))
    assert wrong(verdict) == {"stuck": 3}
    assert len(verdict.problems["stuck"]) == 2


# What it reads


def test_the_journal_and_the_logs_make_marks() -> None:
    line = '{"component": "job", "job_id": "%s", "seconds": 1, "event": "%s", "timestamp": "%s"}'
    at = "1970-01-01T00:00:07.5Z"
    long_id = "poison-00003-" + "x" * 100
    (look,) = journal([f"5.25 look {long_id} p001"])
    assert look == Mark(5.25, "p001", What.LOOK, "poison-00003")
    done, lost = logged(
        "p001", [line % (J, "job done", at), line % ("", "no broker connection", at)]
    )
    assert done == Mark(7.5, "p001", What.SETTLED, J, "job done seconds=1")
    assert (lost.what, lost.job_id) == (What.SESSION_ENDED, None)


def test_a_worker_that_its_own_job_killed_is_excused_and_no_other() -> None:
    did = marks(("a", What.MURDER, J), ("b", What.LOOK, J), ("c", What.MURDER, J))
    ends = [
        End(9.0, "a", False, "ended by itself", -signal.SIGKILL),
        End(9.0, "b", False, "ended by itself", -signal.SIGKILL),
        End(9.0, "c", False, "ended by itself", 1),
    ]
    assert [end.by_test for end in excused(ends, did)] == [True, False, False]
