"""`make probe`: takes out one thing after the other and requires that a test fails for each.

Prints a line for each as it comes, and last, in JSON, how many there were and how many survived.
Takes the names of places to look at these alone, e.g. `make probe ARGS=panels`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from tests.house.source import ROOT
from tests.probe.engine import outcomes
from tests.probe.places import PLACES


def main(chosen: Sequence[str]) -> int:
    """Probe these places, or all; 1 where something can be missing unnoticed."""
    unknown = set(chosen) - PLACES.keys()
    if unknown:
        sys.stderr.write(f"no place {', '.join(unknown)}; there are {', '.join(PLACES)}\n")
        return 2
    probes = [probe for name in chosen or PLACES for probe in PLACES[name]()]
    survived = 0
    began = time.monotonic()
    for outcome in outcomes(probes, ROOT):
        probe = outcome.probe
        survived += outcome.killed_by is None
        killed_by = outcome.killed_by or f"SURVIVED: no test misses it in {probe.path}"
        _say(f"{probe.place:20} {probe.member:64} {outcome.seconds:5.1f} s  {killed_by}")
    _say(f"{time.monotonic() - began:.0f} s in all")
    _say(json.dumps({"probes": len(probes), "survived": survived}))
    return 1 if survived else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
