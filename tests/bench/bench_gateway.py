"""What the gateway adds to a reading and to a change, turn by turn with the bare socket."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from demo.ports import free_ports
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine, Engine
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from tests.support.waiting import until
from tests.swarm import images
from tests.swarm.crew import Crew
from tests.swarm.engine import image_engine

TOKEN = "a-token-for-benches-only"
BOUND_MS = 5.0


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with image_engine() as engine:
        images.build_base(engine)
        engine.swarm_init()
        with Crew([engine]) as crew:
            crew.create("workers", 5, "--label", "autoscaler.enable=true")
            (port,) = free_ports(1)
            environment = {**os.environ, "DOCKER_HOST": engine.host, "GATEWAY_TOKEN": TOKEN}
            environment |= {"HTTP_PORT": str(port), "HTTP_HOST": "127.0.0.1"}
            environment |= {"GRACEFUL_SHUTDOWN_TIMEOUT": "1"}
            gateway = subprocess.Popen([sys.executable, "-m", "scaler.gateway"], env=environment)
            try:
                through = GatewayEngine(f"http://127.0.0.1:{port}", TOKEN)
                until(lambda: answers(through), "the gateway")
                bare = DirectEngine(engine.host, min_grace_s=1)
                report(measure({"socket": bare, "gateway": through}, rounds))
            finally:
                gateway.terminate()
                gateway.wait()
    return 0


def answers(engine: Engine) -> bool:
    """Whether it is up."""
    try:
        return bool(engine.view("workers"))
    except OrchestratorError:
        return False


def measure(engines: dict[str, Engine], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of readings by engine."""
    seen: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            seen[name].append(milliseconds(partial(engine.view, "workers")))
    return seen


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def report(seen: dict[str, list[float]]) -> None:
    """A table, and last one line of JSON."""
    medians = {name: median(values) for name, values in seen.items()}
    added = medians["gateway"] - medians["socket"]
    lines = [f"{'':10}{'p50 ms':>8}{'p95 ms':>8}{'p50 over socket':>17}"]
    for name, values in seen.items():
        p95 = sorted(values)[int(0.95 * len(values))]
        ratio = medians[name] / medians["socket"]
        lines.append(f"{name:10}{medians[name]:8.2f}{p95:8.2f}{ratio:17.2f}")
    lines.append(f"added {added:.2f} ms, {added / BOUND_MS:.2f} of the bound of {BOUND_MS:.0f} ms")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.write(json.dumps({"added_ms": round(added, 2)}) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
