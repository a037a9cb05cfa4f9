"""The loop: observe, decide, apply, record. A cycle never dies; it ends in a sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from common.ledger import LedgerError
from common.logs import get
from scaler.loop.drain import DrainLedger, Drains
from scaler.loop.history import History
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.order_sync import OrderBoard, SharedOrders
from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.policy import orders
from scaler.policy.decide import decide
from scaler.policy.decision import Decision, Memory, Override, Pause
from scaler.policy.observation import Fleet, Obstacle, Worker, WorkerCondition
from scaler.policy.schedule import bounds
from scaler.policy.target import Target
from scaler.prometheus.signals import Signals

_log = get("controller")


@dataclass(frozen=True, slots=True)
class Cycle:
    """How one cycle ended for one target."""

    decision: Decision
    applied: str
    """What was done about it."""

    @property
    def sentence(self) -> str:
        """What was decided and why, and what was done, for a person."""
        return f"{self.decision.reason}" + (f" — {self.applied}" if self.applied else "")


@dataclass
class _State:
    """What the controller holds of one target between cycles."""

    target: Target
    orchestrator: Orchestrator
    drains: Drains
    memory: Memory
    workers: Sequence[Worker] = ()
    latest: Cycle | None = None
    said: str = field(default="")
    obstacle: Obstacle | None = None
    """What was last told to stand in the way."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Of `memory`, which the loop and people's orders change."""


class Controller:
    """Keeps every target's fleet at what the policy decides."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        signals: Signals,
        orchestrators: Mapping[str, Orchestrator],
        ledger: DrainLedger,
        history: History,
        metrics: ScalerMetrics,
        recall: Callable[[Target, Memory | None, float], Memory],
        clock: Callable[[], float] = time.time,
        leads: Callable[[], bool] = lambda: True,
        discover: Callable[[], Sequence[Target]] = tuple,
        board: OrderBoard | None = None,
    ) -> None:
        """`recall` gives a target's memory at the start, from what the history last held and
        the time. `leads` tells whether this of several scalers may act; `discover` gives
        targets beside the configured ones, which may come and go. On `board` several scalers
        see what people ordered of any of them."""
        self._leads = leads
        self._discover = discover
        self._discovered: list[Target] = []
        self._signals = signals
        self._ledger = ledger
        self._recall = recall
        self.interval_s = 1.0
        """Seconds between cycles."""
        self.history = history
        self._shared = SharedOrders(history, board)
        self.metrics = metrics
        self.progressed_at = time.monotonic()
        """Monotonic seconds at which the loop last ended a cycle."""
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._states: Mapping[str, _State] = {}
        self.reconfigure(targets, orchestrators)

    def reconfigure(
        self, targets: Sequence[Target], orchestrators: Mapping[str, Orchestrator]
    ) -> None:
        """Scale these targets from now on; call it between cycles.

        A target of the same name, queue and orchestrator keeps what is remembered of it; the
        fleet of one that is gone stays as it is.
        """
        self._configured, self._orchestrators = tuple(targets), orchestrators
        self._take_up()

    def _take_up(self) -> None:
        """Replaces the states as a whole, since other threads read them."""
        self._states = {
            target.name: self._state_of(target, self._orchestrators[target.orchestrator])
            for target in (*self._discovered, *self._configured)
        }

    def _look_for_targets(self) -> None:
        found = list(self._discover())
        if found != self._discovered:
            self._discovered = found
            self._take_up()

    def _state_of(self, target: Target, orchestrator: Orchestrator) -> _State:
        state = self._states.get(target.name)
        if state is not None and _same_fleet(state.target, target):
            state.target, state.orchestrator = target, orchestrator
            return state
        memory = self._recall(target, self._last_memory(target), self._clock())
        return _State(target, orchestrator, Drains(self._ledger), memory)

    # For pages and for KEDA; called from other threads

    @property
    def targets(self) -> list[Target]:
        """All of them, configured or discovered."""
        return [state.target for state in self._states.values()]

    def latest(self, name: str) -> Cycle | None:
        """The newest cycle of a target; None before its first cycle or when there is none."""
        state = self._states.get(name)
        return state.latest if state else None

    def workers(self, name: str) -> Sequence[Worker]:
        """The workers of a target as last seen."""
        state = self._states.get(name)
        return state.workers if state else ()

    def has_known(self, name: str) -> bool:
        """Whether anything was ever decided on known signals."""
        state = self._states.get(name)
        return state is not None and state.memory.target is not None

    def memory(self, name: str) -> Memory | None:
        """What is remembered of a target."""
        state = self._states.get(name)
        return state.memory if state else None

    def pause(self, name: str, order: Pause, by: str) -> None:
        """Leave the fleet as it is. Raises KeyError for a target that there is not."""
        self._order(name, {"order": "pause", **asdict(order), "by": by})

    def override(self, name: str, order: Override, by: str) -> None:
        """Run so many workers. Raises KeyError for a target that there is not."""
        self._order(name, {"order": "override", **asdict(order), "by": by})

    def resume(self, name: str, reason: str, by: str) -> None:
        """End a pause or an override. Raises KeyError for a target that there is not."""
        self._order(name, {"order": "resume", "reason": reason, "by": by})

    def _order(self, name: str, content: dict[str, Any]) -> None:
        self._shared.give(self._states[name].target.name, self._clock(), content, self._obey)

    def _obey(self, name: str, order: orders.Order) -> None:
        state, content = self._states[name], order.model_dump()
        with state.lock:
            state.memory = orders.obey(state.memory, order)
            self.history.order(name, order.at, content, state.memory.to_json())
        _log.info("ordered", target=name, **content)

    def _take_orders(self) -> None:
        try:
            self._shared.sync(self._states.keys(), self._obey)
        except Exception:
            # As in a cycle: what can be done without goes on.
            _log.exception("orders of other scalers not taken")

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every cycle, on the loop's thread; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # The loop

    def run(self, interval_s: float, stop: threading.Event) -> None:
        """Cycle every `interval_s`, later every `self.interval_s`, until `stop` is set."""
        self.interval_s = interval_s
        while not stop.is_set():
            began = time.monotonic()
            self.cycle()
            stop.wait(max(0.0, self.interval_s - (time.monotonic() - began)))

    def cycle(self) -> list[str]:
        """One cycle of all targets; the sentence in which each ended."""
        began = time.monotonic()
        self._look_for_targets()
        self._take_orders()
        sentences = [self._cycle_of(state) for state in self._states.values()]
        self.metrics.cycled(self._clock(), time.monotonic() - began)
        self.progressed_at = time.monotonic()
        for listener in tuple(self._listeners):
            listener()
        return sentences

    def _cycle_of(self, state: _State) -> str:
        try:
            state.latest = self._observe_decide_apply(state)
            sentence = state.latest.sentence
        except Exception as error:
            # A fault of ours must not end the loop: the fleet stays, the next cycle tries again.
            _log.exception("cycle failed", target=state.target.name)
            self.metrics.failed(state.target.name)
            sentence = f"nothing was changed: {type(error).__name__}: {error}"
        if state.latest is not None and _gist(state.latest) != state.said:
            state.said = _gist(state.latest)
            _log.info("decided", target=state.target.name, reason=sentence)
        return sentence

    def _observe_decide_apply(self, state: _State) -> Cycle:
        target, now = state.target, self._clock()
        # A moment of blindness does not make the workers that were seen unseen.
        seen = self._signals.workers(target)
        state.workers = workers = state.workers if seen is None else seen
        observation = self._signals.observe(target)
        handle = None
        try:
            handle = state.orchestrator.fleet(target, workers)
            observation = replace(observation, fleet=handle.facts)
        except OrchestratorError as error:
            observation = replace(observation, fleet=None, fleet_error=str(error))
        with state.lock:
            order = orders.override_in_force(state.memory, now)
            target = target if order is None else orders.overridden(target, order)
            decision, state.memory = decide(observation, state.memory, target, now)
        if order is not None:
            decision = orders.attributed(decision, order)
        self._tell_obstacle(state, observation.fleet)
        applied = self._apply(state, decision, handle, now)
        self.metrics.decided(decision, bounds(target, now), target.queue)
        cycle = Cycle(decision, applied)
        with state.lock:
            self.history.record(
                target.name,
                now,
                _gist(cycle),
                {**decision.to_json(), "applied": applied},
                state.memory.to_json(),
            )
        return cycle

    def _tell_obstacle(self, state: _State, fleet: Fleet | None) -> None:
        """One line when something comes to stand in the way, and one when it has gone."""
        if fleet is None or fleet.obstacle_kind is state.obstacle:
            return
        kind, before = fleet.obstacle_kind, state.obstacle
        state.obstacle = kind
        name = state.target.name
        if kind is None:
            _log.info("fleet obstacle gone", target=name, kind=before)
        else:
            _log.warning("fleet obstacle", target=name, kind=kind, text=fleet.obstacle)

    def _apply(
        self, state: _State, decision: Decision, handle: FleetHandle | None, now: float
    ) -> str:
        if handle is None:
            return ""
        fleet = handle.facts
        steps = [f"in the way: {fleet.obstacle}"] if fleet.obstacle else []
        held = fleet.hold is not None and not decision.urgent
        if held or decision.bound == "pause":
            return "; ".join(steps)
        if not self._leads():
            return "; ".join([*steps, "another scaler acts"])
        try:
            taken_back = state.drains.review(state.workers, now)
            self.metrics.drains(state.target.name, taken_back=len(taken_back))
            if taken_back:
                steps.append(f"no longer asked to leave: {', '.join(taken_back)}")
            steps += self._resize(state, decision, handle, now)
            reconciled = handle.reconcile()
            if reconciled:
                steps.append(reconciled)
        except (OrchestratorError, LedgerError) as error:
            self.metrics.failed(state.target.name)
            steps.append(f"not applied: {error}")
        return "; ".join(steps)

    def _resize(
        self, state: _State, decision: Decision, handle: FleetHandle, now: float
    ) -> list[str]:
        target, fleet = state.target, handle.facts
        leaving = sorted(state.drains.pending(state.workers))
        surplus = fleet.running - len(leaving) - decision.replicas
        if surplus < 0:
            wanted_again = leaving[:-surplus]
            state.drains.withdraw(wanted_again)
            self.metrics.drains(target.name, taken_back=len(wanted_again))
            if fleet.running < decision.replicas:
                return [handle.scale_up(decision.replicas, urgent=decision.urgent)]
        elif surplus > 0 and decision.retire > 0:
            idle = [
                worker
                for worker in state.workers
                if worker.state is WorkerCondition.IDLE and worker.id not in leaving
            ]
            victims = handle.victims(idle, min(surplus, decision.retire))
            asked = state.drains.ask(victims, decision.reason, now)
            self.metrics.drains(target.name, asked=len(asked))
            if asked:
                return [f"asked to leave: {', '.join(asked)}"]
        return []

    def _last_memory(self, target: Target) -> Memory | None:
        kept = self.history.memory(target.name)
        if kept is None:
            return None
        try:
            return Memory.from_json(kept[1])
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("memory unreadable", target=target.name, error=repr(error))
            return None


def _same_fleet(one: Target, other: Target) -> bool:
    """Whether what is remembered of `one` is true of `other`."""
    keys = ("queue", "vhost", "service", "orchestrator")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _gist(cycle: Cycle) -> str:
    """What makes an cycle worth a line of its own."""
    decision = cycle.decision
    return f"{decision.replicas} {decision.action} {decision.bound} {cycle.applied}"
