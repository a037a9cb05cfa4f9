"""`make soak`: ten thousand short jobs through everything that can go wrong, and what came of them.

Twelve real workers on a private broker and Redis, once with a classic and once with a quorum job
queue. The last line is JSON; the exit code is 1 when one of the figures is not 0 that must be.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.soak.judge import ZEROS
from tests.soak.run import Report, Soak

_TYPES = ("classic", "quorum")
_FEWEST = 100
_SHOWN = 5


def main() -> int:
    """Run the soaks that are asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument(
        "--jobs", type=int, default=10_000, help="good and failing jobs (%(default)s)"
    )
    parser.add_argument("--seed", type=int, help="draws jobs and faults; printed (default: drawn)")
    parser.add_argument(
        "--queues", choices=_TYPES, nargs="*", default=_TYPES, help="types of queue"
    )
    asked = parser.parse_args()
    if asked.jobs < _FEWEST:
        parser.error(f"--jobs: {asked.jobs} is not allowed; allowed: {_FEWEST} or more")
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    _say(f"JOBS={asked.jobs} SEED={seed}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports: dict[str, Report] = {}
    for queue_type in asked.queues:
        folder = Path(tempfile.mkdtemp(prefix=f"soak-{queue_type}-"))
        try:
            reports[queue_type] = _soak(folder, queue_type, asked.jobs, seed)
        except KeyboardInterrupt:
            _say(f"stopped; what there is: {folder}")
            return 130
    _say(json.dumps(summary(reports, seed)))
    return 0 if all(report.verdict.good for report in reports.values()) else 1


def summary(reports: Mapping[str, Report], seed: int) -> dict[str, Any]:
    """The figures of all runs together, and by type of queue."""
    total: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for report in reports.values():
        total.update(report.verdict.figures)
        faults.update(report.faults)
    return {
        **total,
        "queues": {name: dict(report.verdict.figures) for name, report in reports.items()},
        "seed": seed,
        "faults": dict(faults),
        "seconds": round(sum(report.seconds for report in reports.values()), 1),
    }


def _soak(folder: Path, queue_type: str, jobs: int, seed: int) -> Report:
    began = time.monotonic()

    def tell(line: str) -> None:
        seconds = int(time.monotonic() - began)
        _say(f"{seconds // 60:3}:{seconds % 60:02}  {line}")

    report = Soak(folder, queue_type, jobs, seed, tell).run()
    verdict = report.verdict
    if verdict.good:
        shutil.rmtree(folder)
        return report
    wrong = ", ".join(f"{name} {verdict.figures[name]}" for name in ZEROS if verdict.figures[name])
    _say(f"{queue_type}: {wrong}; what there is: {folder}")
    for name in ZEROS:
        problems = verdict.problems.get(name, [])
        for problem in problems[:_SHOWN]:
            _say(f"  {name}: {problem}")
        if len(problems) > _SHOWN:
            _say(f"  {name}: … and {len(problems) - _SHOWN} more")
    return report


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
