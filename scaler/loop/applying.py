"""What was decided is done, step by step: each says what it did, whatever fails after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from common.ledger import LedgerError
from scaler.loop.containment import Containment, LoopPart, sentence
from scaler.loop.target_state import Look, TargetState
from scaler.orchestrators.base import FleetHandle, OrchestratorError
from scaler.policy import explain
from scaler.policy.decision import Applied, Decision
from scaler.policy.limits import Limit
from scaler.policy.observation import Worker, WorkerCondition


class Applier:
    """Changes fleets, while this scaler leads."""

    def __init__(
        self,
        leads: Callable[[], bool],
        contained: Containment,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leads = leads
        self._contained = contained
        self._clock = clock

    def apply(self, state: TargetState, look: Look, decision: Decision) -> Applied:
        """What was done about `decision`. Never raises."""
        fleet = look.fleet
        if fleet is None or decision.replicas is None:
            return Applied()
        done = Applied(obstacle=fleet.facts.obstacle or "")
        held = fleet.facts.hold is not None and not decision.urgent
        if held or decision.limit is Limit.PAUSE:
            return done
        steps = _Steps(state, fleet, look.workers or (), decision, done, now=self._clock())
        return steps.take(self._leads, self._contained)


class _Steps:
    """One target's, in their order."""

    def __init__(
        self,
        state: TargetState,
        fleet: FleetHandle,
        workers: Sequence[Worker],
        decision: Decision,
        done: Applied,
        *,
        now: float,
    ) -> None:
        self._state = state
        self._fleet = fleet
        self._workers = workers
        self._decision = decision
        self._done = done
        self._now = now
        """Monotonic seconds."""

    def take(self, leads: Callable[[], bool], contained: Containment) -> Applied:
        """Each step, whatever became of the one before, as long as this scaler leads."""
        name, failures, faults = self._state.target.name, [], False
        for step in (self._review, self._want_again, self._resize, self._reconcile):
            try:
                if not leads():
                    self._done = replace(self._done, standby=True)
                    break
                step()
            except (OrchestratorError, LedgerError) as error:
                failures.append(str(error))
            except Exception as error:
                faults = True
                failures.append(sentence(error))
                contained.failed(LoopPart.TARGET, name, sentence(error), error)
        if not faults:
            contained.works(LoopPart.TARGET, name)
        if failures:
            self._state.counts.errors += 1
            # One that is away says the same at each step.
            self._done = replace(self._done, failure="; ".join(dict.fromkeys(failures)))
        return self._done

    def _review(self) -> None:
        taken_back = self._state.drains.review(self._workers, self._now)
        self._state.counts.withdrawn += len(taken_back)
        self._done = replace(self._done, taken_back=tuple(taken_back))

    def _surplus(self) -> tuple[int, list[str]]:
        """How many more run than are wanted, those apart that were asked to leave; and these."""
        leaving = sorted(self._state.drains.pending(self._workers))
        running, wanted = self._fleet.facts.running, self._decision.replicas or 0
        return running - len(leaving) - wanted, leaving

    def _want_again(self) -> None:
        surplus, leaving = self._surplus()
        if surplus < 0:
            wanted_again = leaving[:-surplus]
            self._state.drains.withdraw(wanted_again)
            self._state.counts.withdrawn += len(wanted_again)

    def _resize(self) -> None:
        surplus, leaving = self._surplus()
        wanted = self._decision.replicas or 0
        if self._fleet.facts.running < wanted:
            said = self._fleet.scale_up(wanted, urgent=self._decision.urgent)
            self._done = replace(self._done, changes=(*self._done.changes, said))
        elif surplus > 0 and self._decision.retire > 0:
            self._ask(min(surplus, self._decision.retire), leaving)

    def _ask(self, count: int, leaving: Sequence[str]) -> None:
        idle = [
            worker
            for worker in self._workers
            if worker.state is WorkerCondition.IDLE and worker.id not in leaving
        ]
        victims = self._fleet.victims(idle, count)
        why = explain.reason(self._decision)
        for worker in victims:
            # One by one, so that those who were asked are said to be where the next can't be.
            if self._state.drains.ask([worker], why, self._now):
                self._state.counts.granted += 1
                self._done = replace(self._done, asked=(*self._done.asked, worker.id))

    def _reconcile(self) -> None:
        reconciled = self._fleet.reconcile()
        if reconciled:
            self._done = replace(self._done, changes=(*self._done.changes, reconciled))
