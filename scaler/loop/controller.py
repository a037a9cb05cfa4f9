"""The loop: observe, decide, apply, record. A cycle never dies; it ends in a sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from common.logs import get
from scaler.loop.applying import Applier
from scaler.loop.clock import LoopClock
from scaler.loop.containment import Containment, LoopPart, sentence
from scaler.loop.discovery import Discovery
from scaler.loop.drain import DrainLedger, Drains
from scaler.loop.history import History
from scaler.loop.lookout import Lookout, Sight
from scaler.loop.metrics import ScalerMetrics
from scaler.loop.order_sync import OrderBoard, OrderSync
from scaler.loop.recall import Recall, Restorer
from scaler.loop.target_state import Cycle, Look, TargetState, Unread
from scaler.orchestrators.base import Orchestrator
from scaler.policy import explain
from scaler.policy.decide import decide
from scaler.policy.memory import Memory, apply_order
from scaler.policy.observation import Fleet, Worker
from scaler.policy.orders import Order
from scaler.policy.target import Target

__all__ = ["Controller", "Cycle"]

_NAMED = 5
_log = get("controller")


class Controller:
    """Keeps every target's fleet at what the policy decides."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        signals: Sight,
        orchestrators: Mapping[str, Orchestrator],
        ledger: DrainLedger,
        history: History,
        metrics: ScalerMetrics,
        recall: Restorer,
        clock: LoopClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        leads: Callable[[], bool] = lambda: True,
        discovery: Discovery | None = None,
        board: OrderBoard | None = None,
    ) -> None:
        """`recall` completes the memories that the history last held. `leads` tells whether this
        of several scalers may act; `discovery` gives targets beside the configured ones, which
        may come and go. On `board` several scalers see what people ordered of any of them."""
        self.contained = Containment()
        self._lookout = Lookout(signals, self.contained)
        self._applier = Applier(leads, self.contained, monotonic)
        self._recall = Recall(recall, self.contained)
        self._discovery = discovery
        self._discovered: list[Target] = []
        self._ledger = ledger
        self.interval_s = 1.0
        """Seconds between cycles."""
        self.history = history
        self._orders = OrderSync(history, board)
        self.metrics = metrics
        self.progressed_at = time.monotonic()
        """Monotonic seconds at which the loop last ended a cycle."""
        self._clock = clock or LoopClock()
        self._listeners: list[tuple[str, Callable[[], None]]] = []
        self._states: Mapping[str, TargetState] = {}
        self.reconfigure(targets, orchestrators)
        metrics.show(self)

    def reconfigure(
        self, targets: Sequence[Target], orchestrators: Mapping[str, Orchestrator]
    ) -> None:
        """Scale these targets from now on; call it between cycles.

        A target of the same name, queue and fleet keeps what is remembered of it; the fleet of
        one that is gone stays as it is.
        """
        states = self._states_of((*self._discovered, *targets), orchestrators)
        self._configured, self._orchestrators = tuple(targets), orchestrators
        self._take_up(states)

    def _take_up(self, states: Mapping[str, TargetState]) -> None:
        """Replaces the states as a whole, since other threads read them."""
        self._lookout.watch(self._orchestrators)
        self._states = states
        for part in (LoopPart.TARGET, LoopPart.FLEET, LoopPart.ORDERS, LoopPart.HISTORY):
            self.contained.forget(part, states)

    def _states_of(
        self, targets: Sequence[Target], orchestrators: Mapping[str, Orchestrator]
    ) -> Mapping[str, TargetState]:
        return {
            target.name: self._state_of(target, orchestrators[target.orchestrator])
            for target in targets
        }

    def _look_for_targets(self) -> None:
        if self._discovery is None:
            return
        found = list(self._discovery())
        if found != self._discovered:
            targets = (*found, *self._configured)
            self._take_up(self._states_of(targets, self._orchestrators))
            self._discovered = found

    def _state_of(self, target: Target, orchestrator: Orchestrator) -> TargetState:
        state = self._states.get(target.name)
        if state is not None and state.target.identity == target.identity:
            state.target, state.orchestrator = target, orchestrator
            return state
        kept = self._last_memory(target)
        memory = kept or Memory()
        return TargetState(target, orchestrator, Drains(self._ledger), memory, Unread(kept))

    # For pages and for KEDA; called from other threads

    @property
    def targets(self) -> list[Target]:
        """All of them, configured or discovered."""
        return [state.target for state in self._states.values()]

    def target(self, name: str) -> Target | None:
        """The target of that name, None where there is none."""
        state = self._states.get(name)
        return state.target if state else None

    def states(self) -> Sequence[TargetState]:
        """All that is held of the targets, to be read only."""
        return list(self._states.values())

    def latest(self, name: str) -> Cycle | None:
        """The newest cycle of a target; None before its first cycle or when there is none."""
        state = self._states.get(name)
        return state.latest if state else None

    def workers(self, name: str) -> Sequence[Worker]:
        """The workers of a target as last seen."""
        state = self._states.get(name)
        return (state.look.workers or ()) if state and state.look else ()

    def memory(self, name: str) -> Memory | None:
        """What is remembered of a target."""
        state = self._states.get(name)
        return state.memory if state else None

    @property
    def ready(self) -> str | None:
        """What the first decisions still wait for, None once every target has had one."""
        waiting = [state for state in self._states.values() if state.latest is None]
        if not waiting:
            return None
        names = ", ".join(state.target.name for state in waiting[:_NAMED])
        more = f" and {len(waiting) - _NAMED} more" if len(waiting) > _NAMED else ""
        return f"no decision yet for {names}{more}"

    @property
    def problems(self) -> list[str]:
        """What fails now beside the deciding, a sentence each."""
        refused = () if self._discovery is None else self._discovery.problems
        return [*self.contained.sentences(), *refused]

    def order(self, name: str, order: Order) -> None:
        """Have a person's order hold, here and at other scalers.

        Raises KeyError for a target that there is not, HistoryError where the order can't be
        written down: it is not in force then.
        """
        state, shown = self._states[name], self._orders.shown()
        order = order.moved(self._clock.unseen_step_s(order.at))
        with state.lock:
            latest = self._orders.latest(name, order, shown)
            # Written down first: what is in force outlives a restart.
            self._orders.keep(name, latest, apply_order(state.memory, latest).to_json())
            self._take(state, latest)
        self._orders.share([name], shown)

    def _take(self, state: TargetState, order: Order) -> None:
        state.memory = apply_order(state.memory, order)
        _log.info("ordered", target=state.target.name, **order.model_dump(mode="json"))

    def _take_orders(self, now: float) -> None:
        shown = self._orders.shown()
        for name, state in self._states.items():
            with self.contained.of(LoopPart.ORDERS, name), state.lock:
                due = self._orders.due(name, state.memory, shown, now)
                if due is not None:
                    self._take(state, due)
        if shown is not None:
            self._orders.share(self._states.keys(), shown)

    def subscribe(self, listener: Callable[[], None], name: str = "") -> Callable[[], None]:
        """Call `listener` after every cycle, on the loop's thread; returns what ends that."""
        entry = name, listener
        self._listeners.append(entry)
        return lambda: self._listeners.remove(entry)

    # The loop

    def run(self, interval_s: float, stop: threading.Event) -> None:
        """Cycle every `interval_s`, later every `self.interval_s`, until `stop` is set."""
        self.interval_s = interval_s
        while not stop.is_set():
            began = time.monotonic()
            with self.contained.of(LoopPart.CYCLE):
                self._cycle()
            stop.wait(max(0.0, self.interval_s - (time.monotonic() - began)))

    def cycle(self) -> list[str]:
        """One cycle of all targets; the sentence in which each ended."""
        self._cycle()
        return [state.sentence for state in self._states.values()]

    def _cycle(self) -> None:
        began = time.monotonic()
        now = self._now()
        states = self._targets_of_cycle(now)
        looks = self._lookout.look(states)
        waiting = self._recall.complete(states, looks, now)
        for state in states:
            look = looks.get(state.target.name)
            if state.target.name in waiting or look is None:
                state.failure = "nothing is decided: the past is not read yet"
                continue
            self._cycle_of(state, look, now)
        took_s = time.monotonic() - began
        self.metrics.cycled(time.time(), took_s)
        _log.debug("cycle ended", seconds=round(took_s, 4), targets=len(states))
        self.progressed_at = time.monotonic()
        for name, listener in tuple(self._listeners):
            with self.contained.of(LoopPart.LISTENER, name):
                listener()
        self._watch_history()

    def _now(self) -> float:
        """The cycle's time; what is remembered moves along where the clock was set."""
        now, stepped_s = self._clock.moment()
        if stepped_s:
            _log.warning("the clock was set", by_seconds=round(stepped_s, 3))
            self._orders.shift(stepped_s)
            for state in self._states.values():
                with state.lock:
                    state.memory = state.memory.shifted(stepped_s)
                    if state.past is not None and state.past.kept is not None:
                        state.past.kept = state.past.kept.shifted(stepped_s)
        return now

    def _targets_of_cycle(self, now: float) -> list[TargetState]:
        if self.metrics.cycles == 0:
            # Who asks to be scaled is asked of backends that have been looked at.
            self._lookout.refresh(self.targets)
        with self.contained.of(LoopPart.DISCOVERY):
            self._look_for_targets()
        with self.contained.of(LoopPart.ORDERS):
            self._take_orders(now)
        return list(self._states.values())

    def _watch_history(self) -> None:
        problem = self.history.problem
        if problem is None:
            self.contained.works(LoopPart.HISTORY)
        else:
            self.contained.failed(LoopPart.HISTORY, "", problem)

    def _cycle_of(self, state: TargetState, look: Look, now: float) -> None:
        name = state.target.name
        state.look = look
        try:
            with state.lock:
                decision, state.memory = decide(look.observation, state.memory, state.target, now)
        except Exception as error:
            # A fault of ours must not end the loop: the fleet stays, the next cycle tries again.
            state.failure = f"nothing was changed: {sentence(error)}"
            state.counts.errors += 1
            self.contained.failed(LoopPart.TARGET, name, sentence(error), error)
            return
        state.failure = ""
        self._log_obstacle(state, look.observation.fleet)
        applied = self._applier.apply(state, look, decision)
        state.latest = cycle = Cycle(decision, applied)
        state.counts.decisions[decision.action] += 1
        try:
            self._keep(state, cycle, now)
            self.contained.works(LoopPart.HISTORY, name)
        except Exception as error:
            self.contained.failed(LoopPart.HISTORY, name, sentence(error), error)

    def _keep(self, state: TargetState, cycle: Cycle, now: float) -> None:
        kind = cycle.kind
        if kind != state.logged:
            state.logged = kind
            _log.info("decided", target=state.target.name, reason=cycle.sentence)
        self.history.record(
            state.target.name,
            now,
            kind,
            partial(explain.record, cycle.decision, cycle.applied),
            state.memory.to_json,
            identity=state.target.identity,
        )

    def _log_obstacle(self, state: TargetState, fleet: Fleet | None) -> None:
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

    def _last_memory(self, target: Target) -> Memory | None:
        """As the history last held it, as if the clock had never been ahead of now."""
        former = self._discovery.formerly.get(target.name) if self._discovery else None
        names = () if former is None else (former,)
        kept = self.history.memory(target.name, target.identity, names)
        if kept is None:
            return None

        def lost(field: str) -> None:
            _log.warning("part of a memory unreadable", target=target.name, field=field)

        try:
            memory = Memory.from_json(kept.content, lost=lost)
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("memory unreadable", target=target.name, error=repr(error))
            return None
        ahead_s = (memory.at or 0.0) - self._clock.now()
        return memory.shifted(-ahead_s) if ahead_s > 0 else memory
