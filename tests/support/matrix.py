"""The matrix of faults: which part fails how, in which state of a target, and what happens then.

Written down once: `tests/integration/scaler/test_scaler_matrix.py` and
`tests/swarm/test_swarm_matrix.py` run every cell on real parts, and the table of
docs/operating.md is made from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple


class MatrixPart(StrEnum):
    """What fails."""

    PROMETHEUS = "Prometheus"
    REDIS = "Redis"
    DOCKER = "Docker"
    """The engine, or the gateway before it."""
    DISK = "disk"
    """Where the history is."""
    CLOCK = "clock"


class MatrixState(StrEnum):
    """How a target is when it fails."""

    COLD = "cold"
    """The scaler starts meanwhile, with two busy workers there."""
    WARM = "warm"
    """Two busy workers, nothing waits."""
    DRAIN = "mid-drain"
    """One busy worker and two idle ones. One of these has been asked to leave, or in a Swarm both,
    and does so; who was not has just been given a job, which Prometheus is yet to see."""
    BURST = "mid-burst"
    """Two busy workers, and twenty more jobs have just come. The maximum is 4, the fallback 50."""


class MatrixCell(NamedTuple):
    """One part that fails in one way, in one state."""

    part: MatrixPart
    fault: str
    state: MatrixState
    outcome: str
    """What happens."""

    def __str__(self) -> str:
        return f"{self.part} {self.fault}, {self.state}"

    @property
    def name(self) -> str:
        """As a service or queue may be called."""
        return f"{self.part} {self.fault} {self.state}".lower().replace(" ", "-").replace("+", "p")


FLAPPING = "flapping"
_NETWORK = ("away", "refused", "hangs", "slow", "garbage", "too large", FLAPPING)
FAULTS: Mapping[MatrixPart, tuple[str, ...]] = {
    MatrixPart.PROMETHEUS: _NETWORK,
    MatrixPart.REDIS: _NETWORK,
    MatrixPart.DOCKER: _NETWORK,
    MatrixPart.DISK: ("full", "read-only", "locked"),
    MatrixPart.CLOCK: ("-2 min", "+2 min", "-1 h", "+1 h", "stopped"),
}

Row = tuple[str, str, str, str]
"""What happens in each of the states: during three cycles of the fault, and → after it."""
_AS_EVER: Row = (
    "decides 2 → 2",
    "decides 2 → 2",
    "decides 1; decides 2 → 2",
    "decides 4, grows to 4 → 4",
)
# By fault; "" for those that have no row of their own.
_OUTCOMES: Mapping[MatrixPart, Mapping[str, Row]] = {
    MatrixPart.PROMETHEUS: {
        "": (
            "holds 2 → 2",
            "holds 2 → 2",
            "holds 1 → 2",
            "holds 2; holds 4, grows to 4 → 4",
        ),
        FLAPPING: (
            "holds 2; decides 2; holds 2 → 2",
            "holds 2; decides 2; holds 2 → 2",
            "holds 1; decides 2; holds 2 → 2",
            "holds 2; decides 4, grows to 4; holds 4 → 4",
        ),
    },
    MatrixPart.REDIS: {
        "": (
            "decides 2, stands by → 2",
            "decides 2 → 2",
            "decides 1, not applied; decides 2 → 2",
            "decides 4, grows to 4 → 4",
        ),
    },
    MatrixPart.DOCKER: {
        "": (
            "no number → 2",
            "holds 2 → 2",
            "holds 1 → 1",
            "holds 2; holds 4 → 4",
        ),
        FLAPPING: (
            "no number; decides 2; holds 2 → 2",
            "holds 2; decides 2; holds 2 → 2",
            "holds 1; decides 1; holds 1 → 1",
            "holds 2; decides 4, grows to 4; holds 4 → 4",
        ),
    },
    MatrixPart.DISK: {"": _AS_EVER},
    MatrixPart.CLOCK: {"": _AS_EVER},
}


def cells() -> Iterator[MatrixCell]:
    """All, row by row."""
    for part, faults in FAULTS.items():
        rows = _OUTCOMES[part]
        for fault in faults:
            for state, outcome in zip(MatrixState, rows.get(fault, rows[""]), strict=True):
                yield MatrixCell(part, fault, state, outcome)


def table(found: Mapping[MatrixCell, str]) -> str:
    """What was found, as Markdown: faults of a part that end alike in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for part, faults in FAULTS.items():
        for fault in faults:
            row = [text for cell, text in found.items() if (cell.part, cell.fault) == (part, fault)]
            if row:
                rows.setdefault((part, *row), []).append(fault)
    lines = ["| what fails | how |" + "".join(f" {state} |" for state in MatrixState)]
    lines.append("| --- " * (2 + len(MatrixState)) + "|")
    lines += [
        f"| {row[0]} | {', '.join(faults)} | {' | '.join(row[1:])} |"
        for row, faults in rows.items()
    ]
    return "".join(f"{line}\n" for line in lines)
