"""The metrics of every target, made when they are asked for: of what is gone nothing stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from scaler.loop.target_state import TargetState
from scaler.policy.decision import Action, Decision
from scaler.policy.observation import Fleet, Known, Obstacle

_POOL = ("running", "pending", "draining")
_FLEET = ("replicas", "running", "starting", "draining", "dead", "unhealthy")


class _Families:
    """One family of each metric, to be filled."""

    def __init__(self) -> None:
        self.all: list[Metric] = []
        gauge = self._gauge
        self.target = gauge(
            "autoscaler_target_replicas", "Workers wanted, as decided; absent while none is known."
        )
        self.low = gauge("autoscaler_target_min_replicas", "The minimum in force.")
        self.high = gauge("autoscaler_target_max_replicas", "The maximum in force.")
        self.fleet = gauge(
            "autoscaler_replicas",
            f"Workers by the orchestrator: {', '.join(_FLEET)}; unhealthy ones are also running.",
            "state",
        )
        self.obstacle = gauge(
            "autoscaler_fleet_obstacle",
            f"1 while that keeps workers that were asked for from running: {', '.join(Obstacle)}.",
            "kind",
        )
        self.pool = gauge(
            "autoscaler_pool_replicas",
            "Workers in a pool: running (counted on), pending (without a place), draining.",
            "pool",
            "state",
        )
        self.proposal = gauge(
            "autoscaler_proposal_replicas",
            "Numbers on the way to the decision, from what is usual to what is wanted.",
            "proposal",
        )
        self.known = gauge("autoscaler_signal_known", "1 while the signal is known.", "signal")
        self.age = gauge("autoscaler_signal_age_seconds", "Age of the signal's sample.", "signal")
        self.at_max = gauge("autoscaler_at_max", "1 while the maximum binds.")
        self.queue = gauge("autoscaler_target_info", "The queue that the target works on.", "queue")
        self.reason = gauge(
            "autoscaler_decision",
            "1 for what the last decision did and which limit bound it.",
            "action",
            "bound",
        )
        self.held = gauge("autoscaler_target_held", "1 while something keeps the target.")
        self.decisions = self._counter(
            "autoscaler_decisions",
            f"Decisions by what they do: {', '.join(Action)}.",
            "action",
        )
        self.errors = self._counter(
            "autoscaler_scale_errors", "Decisions that could not be made or applied."
        )
        self.drains = self._counter(
            "autoscaler_drain_requests",
            "Drain requests by what became of them: granted, withdrawn.",
            "result",
        )

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=("target", *labels))
        self.all.append(family)
        return family

    def _counter(self, name: str, text: str, *labels: str) -> CounterMetricFamily:
        family = CounterMetricFamily(name, text, labels=("target", *labels))
        self.all.append(family)
        return family


class TargetMetrics(Collector):
    """What `states` gives at each scrape."""

    def __init__(self, states: Callable[[], Sequence[TargetState]]) -> None:
        self._states = states

    def describe(self) -> list[Metric]:
        """Nothing is promised beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, with the targets that there are."""
        families = _Families()
        for state in self._states():
            _count(families, state)
            if state.latest is not None:
                _show(families, state.target.queue, state.latest.decision)
        yield from families.all


def _count(families: _Families, state: TargetState) -> None:
    name, counts = state.target.name, state.counts
    for action, number in counts.decisions.items():
        families.decisions.add_metric((name, action), number)
    families.errors.add_metric((name,), counts.errors)
    families.drains.add_metric((name, "granted"), counts.granted)
    families.drains.add_metric((name, "withdrawn"), counts.withdrawn)


def _show(families: _Families, queue: str, decision: Decision) -> None:
    name, limits = decision.target_name, decision.bounds
    one = (name,)
    families.queue.add_metric((name, queue), 1)
    families.reason.add_metric((name, decision.action, decision.bound), 1)
    families.low.add_metric(one, limits.low)
    families.high.add_metric(one, limits.high)
    families.held.add_metric(one, decision.action is Action.HOLD)
    if decision.replicas is not None:
        families.target.add_metric(one, decision.replicas)
        families.at_max.add_metric(one, decision.replicas >= limits.high)
    for proposal, number in decision.proposals:
        families.proposal.add_metric((name, proposal), number)
    for signal, value in decision.inputs:
        known = isinstance(value, Known)
        families.known.add_metric((name, signal), known)
        if isinstance(value, Known):
            families.age.add_metric((name, signal), value.age_s)
    if decision.observation.fleet is not None:
        _show_fleet(families, name, decision.observation.fleet)


def _show_fleet(families: _Families, name: str, fleet: Fleet) -> None:
    for state in _FLEET:
        families.fleet.add_metric((name, state), getattr(fleet, state))
    for kind in Obstacle:
        families.obstacle.add_metric((name, kind.value), fleet.obstacle_kind is kind)
    for pool in fleet.pools:
        for state in _POOL:
            families.pool.add_metric((name, pool.name, state), getattr(pool, state))
