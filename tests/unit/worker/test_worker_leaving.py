"""Why and until when a worker leaves."""

from __future__ import annotations

from worker.leaving import Leaving


def test_leaving_keeps_the_first_reason_and_the_earliest_deadline() -> None:
    leaving = Leaving()
    leaving.ask("drain: idle")
    assert leaving.asked
    assert not leaving.out_of_time
    leaving.ask("SIGTERM", grace_s=0.0)
    leaving.ask("the host goes", grace_s=1000.0)
    assert leaving.reason == "drain: idle"
    assert leaving.out_of_time
