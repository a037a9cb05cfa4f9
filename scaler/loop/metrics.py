"""The scaler's metrics. docs/metrics.md is made from them."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from scaler.policy.decision import Action, Decision
from scaler.policy.observation import Fleet, Known, Obstacle

_POOL = ("running", "pending", "draining")
_FLEET = ("replicas", "running", "starting", "draining", "dead", "unhealthy")


class ScalerMetrics:
    """Gauges and counters of the control loop, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("autoscaler_scaler_build", "Version of the scaler.", registry=registry).info(
            {"version": version}
        )

        def gauge(name: str, text: str, labels: Sequence[str] = ("target",)) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self._target = gauge("autoscaler_target_replicas", "Workers wanted, as decided.")
        self._low = gauge("autoscaler_target_min_replicas", "The minimum in force.")
        self._high = gauge("autoscaler_target_max_replicas", "The maximum in force.")
        self._fleet = gauge(
            "autoscaler_replicas",
            f"Workers by the orchestrator: {', '.join(_FLEET)}; unhealthy ones are also running.",
            ("target", "state"),
        )
        self._obstacle = gauge(
            "autoscaler_fleet_obstacle",
            f"1 while that keeps workers that were asked for from running: {', '.join(Obstacle)}.",
            ("target", "kind"),
        )
        self._pool = gauge(
            "autoscaler_pool_replicas",
            "Workers in a pool: running (counted on), pending (without a place), draining.",
            ("target", "pool", "state"),
        )
        self._proposal = gauge(
            "autoscaler_proposal_replicas",
            "Numbers on the way to the decision, such as raw and stabilised.",
            ("target", "proposal"),
        )
        self._known = gauge(
            "autoscaler_signal_known", "1 while the signal is known.", ("target", "signal")
        )
        self._age = gauge(
            "autoscaler_signal_age_seconds", "Age of the signal's sample.", ("target", "signal")
        )
        self._at_max = gauge("autoscaler_at_max", "1 while the maximum binds.")
        self._queue = gauge(
            "autoscaler_target_info", "The queue that the target works on.", ("target", "queue")
        )
        self._reason = gauge(
            "autoscaler_decision",
            "1 for what the last decision did and which limit bound it.",
            ("target", "action", "bound"),
        )
        self._pools: dict[str, set[str]] = {}
        self._reasons: dict[str, tuple[str, str, str]] = {}
        self._held = gauge("autoscaler_target_held", "1 while something keeps the target.")
        self._cycle_at = gauge(
            "autoscaler_last_cycle_timestamp_seconds", "When the loop last ended a cycle.", ()
        )
        self._reload = gauge(
            "autoscaler_config_last_reload_successful",
            "1 while the newest configuration is in force, 0 while it is refused.",
            (),
        )
        self._cycle_s = gauge("autoscaler_cycle_duration_seconds", "Time that a cycle took.", ())
        self._decisions = Counter(
            "autoscaler_decisions",
            f"Decisions by what they do: {', '.join(Action)}.",
            ("target", "action"),
            registry=registry,
        )
        self._errors = Counter(
            "autoscaler_scale_errors",
            "Decisions that could not be applied.",
            ("target",),
            registry=registry,
        )
        self._drains = Counter(
            "autoscaler_drain_requests",
            "Drain requests by what became of them: granted, withdrawn.",
            ("target", "result"),
            registry=registry,
        )

    def decided(self, decision: Decision, queue: str) -> None:
        """Show a decision about the target that works on `queue`."""
        name, limits = decision.target_name, decision.bounds
        self._queue.labels(name, queue).set(1)
        reason = (name, decision.action, decision.bound)
        if self._reasons.get(name, reason) != reason:
            self._reason.remove(*self._reasons[name])
        self._reasons[name] = reason
        self._reason.labels(*reason).set(1)
        if decision.replicas is not None:
            self._target.labels(name).set(decision.replicas)
        self._low.labels(name).set(limits.low)
        self._high.labels(name).set(limits.high)
        self._decisions.labels(name, decision.action).inc()
        self._at_max.labels(name).set(
            decision.replicas is not None and decision.replicas >= limits.high
        )
        self._held.labels(name).set(decision.action is Action.HOLD)
        for proposal, number in decision.proposals:
            self._proposal.labels(name, proposal).set(number)
        for signal, value in decision.inputs:
            self._known.labels(name, signal).set(isinstance(value, Known))
            if isinstance(value, Known):
                self._age.labels(name, signal).set(value.age_s)
        fleet = decision.observation.fleet
        if fleet is not None:
            for state in _FLEET:
                self._fleet.labels(name, state).set(getattr(fleet, state))
            for kind in Obstacle:
                self._obstacle.labels(name, kind.value).set(fleet.obstacle_kind is kind)
            self._show_pools(name, fleet)

    def _show_pools(self, name: str, fleet: Fleet) -> None:
        present = {pool.name for pool in fleet.pools}
        for gone in self._pools.get(name, set()) - present:
            self._pool.remove_by_labels({"target": name, "pool": gone})
        self._pools[name] = present
        for pool in fleet.pools:
            for state in _POOL:
                self._pool.labels(name, pool.name, state).set(getattr(pool, state))

    def failed(self, target: str) -> None:
        """A decision could not be applied."""
        self._errors.labels(target).inc()

    def drains(self, target: str, *, asked: int = 0, taken_back: int = 0) -> None:
        """Drain requests were granted or taken back."""
        self._drains.labels(target, "granted").inc(asked)
        self._drains.labels(target, "withdrawn").inc(taken_back)

    def reloaded(self, *, ok: bool) -> None:
        """A configuration was taken into force, or refused."""
        self._reload.set(ok)

    def cycled(self, now: float, took_s: float) -> None:
        """The loop has ended a cycle at `now` (epoch seconds)."""
        self._cycle_at.set(now)
        self._cycle_s.set(took_s)
