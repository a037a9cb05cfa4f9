"""The loop: observe, decide, apply, record. A cycle never dies; it ends in a sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.ledger import LedgerError
from common.logs import get
from scaler.loop.drain import DrainLedger, Drains
from scaler.loop.history import History
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.order_sync import OrderBoard, OrderSync
from scaler.orchestrators.base import FleetHandle, Orchestrator, OrchestratorError
from scaler.policy import explain
from scaler.policy.decide import decide
from scaler.policy.decision import Applied, Decision
from scaler.policy.limits import Limit
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Observation, Obstacle, Worker, WorkerCondition
from scaler.policy.orders import Order
from scaler.policy.target import Target
from scaler.prometheus.signals import Signals

_log = get("controller")


@dataclass(frozen=True, slots=True)
class Cycle:
    """How one cycle ended for one target."""

    decision: Decision
    applied: Applied
    made_at: float = field(default_factory=time.monotonic)
    """Monotonic seconds, by which the decision's age is judged: the wall clock may be set."""

    @property
    def sentence(self) -> str:
        """What was decided and why, and what was done, for a person."""
        return explain.line(self.decision, explain.done(self.applied))


@dataclass(frozen=True, slots=True)
class Look:
    """What a cycle saw of a target."""

    observation: Observation
    workers: Sequence[Worker] = ()
    fleet: FleetHandle | None = None
    """The fleet of `observation`, with what may be done about it; None when it is unknown."""


@dataclass
class _State:
    """What the controller holds of one target between cycles."""

    target: Target
    orchestrator: Orchestrator
    drains: Drains
    memory: Memory
    look: Look | None = None
    latest: Cycle | None = None
    logged: str = ""
    """The kind of the cycle that was logged last."""
    obstacle: Obstacle | None = None
    """What was last logged to stand in the way."""
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
        self._orders = OrderSync(history, board)
        self.metrics = metrics
        self.progressed_at = time.monotonic()
        """Monotonic seconds at which the loop last ended a cycle."""
        self.ready: str | None = None
        """What it still waits for before it decides, None when it does not."""
        self.problems: Sequence[str] = ()
        """Sentences about its parts that fail now."""
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

    def target(self, name: str) -> Target | None:
        """The target of that name, None when there is none."""
        state = self._states.get(name)
        return state.target if state else None

    def latest(self, name: str) -> Cycle | None:
        """The newest cycle of a target; None before its first cycle or when there is none."""
        state = self._states.get(name)
        return state.latest if state else None

    def workers(self, name: str) -> Sequence[Worker]:
        """The workers of a target as last seen."""
        state = self._states.get(name)
        return state.look.workers if state and state.look else ()

    def memory(self, name: str) -> Memory | None:
        """What is remembered of a target."""
        state = self._states.get(name)
        return state.memory if state else None

    def order(self, name: str, order: Order) -> None:
        """Have a person's order hold, here and at other scalers. Raises KeyError for a target
        that there is not."""
        state, shown = self._states[name], self._orders.shown()
        with state.lock:
            self._take(state, self._orders.latest(name, order, shown))
        self._orders.share([name], shown)

    def _take(self, state: _State, order: Order) -> None:
        """Written down first: what is in force outlives a restart."""
        name, memory = state.target.name, apply_order(state.memory, order)
        self._orders.keep(name, order, memory.to_json())
        state.memory = memory
        _log.info("ordered", target=name, **order.model_dump(mode="json"))

    def _take_orders(self) -> None:
        try:
            shown = self._orders.shown()
            if shown is None:
                return
            for name, state in self._states.items():
                with state.lock:
                    theirs = self._orders.of_others(name, shown)
                    if theirs is not None:
                        self._take(state, theirs)
            self._orders.share(self._states.keys(), shown)
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
            state.latest = self._look_decide_apply(state)
            sentence = state.latest.sentence
        except Exception as error:
            # A fault of ours must not end the loop: the fleet stays, the next cycle tries again.
            _log.exception("cycle failed", target=state.target.name)
            self.metrics.failed(state.target.name)
            sentence = f"nothing was changed: {type(error).__name__}: {error}"
        if state.latest is not None and _kind(state.latest) != state.logged:
            state.logged = _kind(state.latest)
            _log.info("decided", target=state.target.name, reason=sentence)
        return sentence

    def _look_decide_apply(self, state: _State) -> Cycle:
        target, now = state.target, self._clock()
        look = state.look = self._look(state)
        with state.lock:
            decision, state.memory = decide(look.observation, state.memory, target, now)
        self._log_obstacle(state, look.observation.fleet)
        cycle = Cycle(decision, self._apply(state, look, decision, now))
        self.metrics.decided(decision, target.queue)
        with state.lock:
            self.history.record(
                target.name,
                now,
                _kind(cycle),
                explain.record(decision, cycle.applied),
                state.memory.to_json(),
            )
        return cycle

    def _look(self, state: _State) -> Look:
        seen = self._signals.look(state.target)
        # A moment of blindness does not make the workers that were seen unseen.
        before = state.look.workers if state.look else ()
        workers = before if seen.workers is None else seen.workers
        try:
            fleet = state.orchestrator.fleet(state.target, workers)
        except OrchestratorError as error:
            return Look(replace(seen.observation, fleet_error=str(error)), workers)
        return Look(replace(seen.observation, fleet=fleet.facts), workers, fleet)

    def _log_obstacle(self, state: _State, fleet: Fleet | None) -> None:
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

    def _apply(self, state: _State, look: Look, decision: Decision, now: float) -> Applied:
        fleet = look.fleet
        if fleet is None:
            return Applied()
        done = Applied(obstacle=fleet.facts.obstacle or "")
        held = fleet.facts.hold is not None and not decision.urgent
        if held or decision.limit is Limit.PAUSE:
            return done
        if not self._leads():
            return replace(done, standby=True)
        name = state.target.name
        try:
            taken_back = state.drains.review(look.workers, now)
            self.metrics.drains(name, taken_back=len(taken_back))
            done = replace(done, taken_back=tuple(taken_back))
            done = self._resize(state, fleet, look.workers, decision, done)
            reconciled = fleet.reconcile()
            if reconciled:
                done = replace(done, changes=(*done.changes, reconciled))
        except (OrchestratorError, LedgerError) as error:
            self.metrics.failed(name)
            done = replace(done, failure=str(error))
        return done

    def _resize(
        self,
        state: _State,
        fleet: FleetHandle,
        workers: Sequence[Worker],
        decision: Decision,
        done: Applied,
    ) -> Applied:
        name, running = state.target.name, fleet.facts.running
        leaving = sorted(state.drains.pending(workers))
        surplus = running - len(leaving) - decision.replicas
        if surplus < 0:
            wanted_again = leaving[:-surplus]
            state.drains.withdraw(wanted_again)
            self.metrics.drains(name, taken_back=len(wanted_again))
            if running < decision.replicas:
                said = fleet.scale_up(decision.replicas, urgent=decision.urgent)
                return replace(done, changes=(said,))
        elif surplus > 0 and decision.retire > 0:
            idle = [
                worker
                for worker in workers
                if worker.state is WorkerCondition.IDLE and worker.id not in leaving
            ]
            victims = fleet.victims(idle, min(surplus, decision.retire))
            asked = state.drains.ask(victims, explain.reason(decision), decision.at)
            self.metrics.drains(name, asked=len(asked))
            return replace(done, asked=tuple(asked))
        return done

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


def _kind(cycle: Cycle) -> str:
    """What makes a cycle worth a line of its own."""
    decision = cycle.decision
    return f"{decision.replicas} {decision.action} {decision.bound} {explain.done(cycle.applied)}"
