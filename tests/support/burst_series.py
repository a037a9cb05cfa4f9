"""A series of bursts, as a scaler sees it: what is usual of it is worth remembering."""

from __future__ import annotations

from scaler.policy.decide import decide
from scaler.policy.decision import Decision
from scaler.policy.memory import Memory
from scaler.policy.observation import Fleet, Known, Observation
from scaler.policy.target import Target

GAP_S = 180
STARTUP_S, JOB_S = 45.0, 40.0
AGE_S = 0.4


def jobs(second: int) -> tuple[float, float]:
    """(waiting, in progress): some twenty for a minute out of three, two in between."""
    burst, at = divmod(second, GAP_S)
    size = 16 + 5 * burst % 9
    return (float(size - 8), 8.0) if at < 30 else (0.0, 8.0) if at < 60 else (0.0, 2.0)


def signals(second: int) -> dict[str, float]:
    """What the exporter and the rules gave in that second."""
    waiting, in_flight = jobs(second)
    return {
        "waiting": waiting,
        "in_flight": in_flight,
        "idle": 1.0,
        "arrival_rate": 0.1 + second // 15 % 7 * 0.01,
        "recent_rate": 0.1 + second // 5 % 9 * 0.05,
        "burstiness": 4.0,
        "mean_duration": JOB_S,
        "startup": STARTUP_S,
    }


def observed(second: int, running: int) -> Observation:
    """What a look gave, with that many workers running."""
    known = {name: Known(value, AGE_S, "q") for name, value in signals(second).items()}
    return Observation(
        waiting=known["waiting"],
        in_flight=known["in_flight"],
        idle=known["idle"],
        arrival_rate=known["arrival_rate"],
        recent_rate=known["recent_rate"],
        burstiness=known["burstiness"],
        mean_duration=known["mean_duration"],
        startup=known["startup"],
        fleet=Fleet(running, running),
    )


def decided(
    memory: Memory, target: Target, begin: float, seconds: range, running: int = 1
) -> tuple[list[Decision], list[Memory]]:
    """Deciding once in each of these seconds after `begin`, the fleet being at once as it is to
    be: every decision, and the memory that it left."""
    decisions, memories = [], []
    for second in seconds:
        decision, memory = decide(observed(second, running), memory, target, begin + second)
        decisions.append(decision)
        memories.append(memory)
        assert decision.replicas is not None
        running = decision.replicas
    return decisions, memories
