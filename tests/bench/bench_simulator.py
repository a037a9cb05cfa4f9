"""The simulator beside reality: five minutes of jobs through real parts, and simulated.

    make bench-simulator ARGS="[--minutes 5]"

What is real and how it is counted, `tests/bench/live_run.py` says; a worker begins with a sleep of
ten seconds: the shorter start-up of bench-policy. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.bench.live_run import PacedJob, compared, live, measured, stand_in

SEED = 5
MAKING_S = 10.0


def burst(minutes: float) -> list[PacedJob]:
    """A trickle, a burst of eight, a stream, a burst, a trickle."""
    rng = random.Random(SEED)
    span = minutes * 60
    times = sorted(rng.uniform(0, span) for _ in range(int(span / 9)))
    times += [span * 0.2] * 8 + [span * 0.55] * 6
    return [PacedJob(at, f"sim-{n}", rng.uniform(8, 25)) for n, at in enumerate(sorted(times))]


def main() -> None:
    """Live it, simulate it, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="simulator-") as name:
        loop = stand_in(Path(name), MAKING_S)
        with loop.stack:
            loop.start()
            seen = live(loop, burst(flags.minutes))
            conditions = measured(loop)
    result = compared(seen, conditions, "within 0.85 to 1.15")
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
