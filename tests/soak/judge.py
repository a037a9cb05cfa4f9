"""Whether work was lost, doubled or stuck: a pure function of what a soak left behind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from operator import attrgetter

from tests.soak.evidence import End, Evidence, Kind, Mark, Order, What

ZEROS = ("lost", "rendered_twice", "without_crash", "stopped_workers", "stuck")
"""The figures that must be 0."""
UNPROVEN_S = 60.0
"""After this long without news a worker's acknowledgement is taken to have arrived."""
FATAL_DEATHS = 2
"""So many workers must a job have ended before it may be parked for that."""
_STEPS = (What.LOOK, What.RENDER, What.KEPT, What.MURDER)
_TOLD = 8


@dataclass
class Verdict:
    """The figures, and in words what made those that should be 0 something else."""

    figures: Counter[str] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By figure."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.figures[name] for name in ZEROS)

    def find(self, figure: str, problem: str, count: int = 1) -> None:
        """Count a fault and say what it is."""
        self.figures[figure] += count
        self.problems.setdefault(figure, []).append(problem)


@dataclass(frozen=True, slots=True)
class Handling:
    """What one process did about one job in one go."""

    process: str
    job_id: str
    began_at: float
    killed: bool
    """Whether its process was killed before the next delivery proved that this one was settled."""
    cut_off: bool
    """Whether that, or its session with the broker ended before."""
    rendering: bool
    """Whether it was still at the rendering, when nothing had been published."""


def judge(evidence: Evidence) -> Verdict:
    """The figures of the run."""
    return _Judge(evidence).verdict()


class _Judge:
    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._orders: defaultdict[str, list[Order]] = defaultdict(list)
        for order in evidence.orders:
            self._orders[order.job_id].append(order)
        self._announcements = Counter(evidence.announced)
        self._parked = Counter(evidence.parked)
        self._verdict = Verdict()

    def verdict(self) -> Verdict:
        figures = self._verdict.figures
        figures["jobs"] = sum(orders[0].kind != Kind.POISON for orders in self._orders.values())
        for name in (*ZEROS, "announced_twice", "quarantined", "failed", "parked_poison"):
            figures[name] = 0
        for job_id, orders in self._orders.items():
            self._settled(job_id, orders)
            self._once(job_id, orders)
        self._renders()
        for end in self._evidence.ends:
            if not end.by_test:
                self._verdict.find(
                    "stopped_workers",
                    f"{end.process} {end.how} with code {end.code}{self._last_words(end)}",
                )
        for queue, count in self._evidence.left.items():
            if count:
                self._verdict.find("stuck", f"{count} in {queue}", count)
        return self._verdict

    # Each job has come to its end

    def _settled(self, job_id: str, orders: Sequence[Order]) -> None:
        kind, parked = orders[0].kind, self._parked[job_id]
        if kind == Kind.POISON:
            self._verdict.figures["parked_poison"] += bool(parked)
            right, figure = True, ""
        elif kind == Kind.PERMANENT:
            right, figure = True, "failed"
        else:
            right, figure = self._deaths[job_id] >= FATAL_DEATHS, "quarantined"
        if parked and figure and right:
            self._verdict.figures[figure] += 1
        if parked and not right:
            why = f"{job_id} ({kind}) is parked though it ended {self._deaths[job_id]} workers"
            self._verdict.find("lost", self._told(why, job_id))
            return
        open_orders = [each for each in orders if not self._announcements[each.key]]
        missing = len(open_orders) - parked
        if missing > 0:
            keys = ", ".join(each.key for each in open_orders)
            why = f"{job_id} ({kind}): no outcome for {missing} of {len(orders)} orders ({keys})"
            self._verdict.find("lost", self._told(why, job_id), missing)

    # Each outcome only once, unless a crash left a choice

    def _once(self, job_id: str, orders: Sequence[Order]) -> None:
        twice = sum(max(0, self._announcements[each.key] - each.copies) for each in orders)
        self._verdict.figures["announced_twice"] += twice
        copies = sum(each.copies for each in orders)
        outcomes = sum(self._announcements[each.key] for each in orders) + self._parked[job_id]
        excess = max(twice, outcomes - copies) - self._cut_off[job_id]
        if excess > 0:
            why = f"{job_id}: {outcomes} outcomes of {copies} messages, and only"
            why += f" {self._cut_off[job_id]} of its handlings were cut off"
            self._verdict.find("without_crash", self._told(why, job_id), excess)

    # Nothing is rendered that is stored

    def _renders(self) -> None:
        kept: dict[str, float] = {}
        for mark in self._evidence.marks:
            if mark.what is What.KEPT and mark.job_id:
                kept[mark.job_id] = min(mark.at, kept.get(mark.job_id, mark.at))
        for job_id, began_at, process in self._begun():
            if kept.get(job_id, began_at) < began_at:
                why = f"{job_id} by {process}, {began_at - kept[job_id]:.2f} s after it was stored"
                self._verdict.find("rendered_twice", self._told(why, job_id))

    def _begun(self) -> Iterator[tuple[str, float, str]]:
        """Job, beginning and process of each render; it begins with the look for a result."""
        for process, marks in self._by_process.items():
            looked_at: tuple[str, float] | None = None
            for mark in marks:
                if mark.what is What.LOOK and mark.job_id:
                    looked_at = mark.job_id, mark.at
                elif mark.what is What.RENDER and mark.job_id:
                    seen = looked_at is not None and looked_at[0] == mark.job_id
                    yield mark.job_id, looked_at[1] if looked_at and seen else mark.at, process
                    looked_at = None

    # Who was interrupted in what

    @cached_property
    def _deaths(self) -> Counter[str]:
        return Counter(each.job_id for each in self._handlings if each.killed)

    @cached_property
    def _cut_off(self) -> Counter[str]:
        """How often each job was cut off when an outcome of it may have been published.

        A broker that is killed forgets acknowledgements that it has not written yet, of messages
        that are settled since long: it delivers them again, each copy of an order by itself.
        """
        found = Counter(
            each.job_id for each in self._handlings if each.cut_off and self._published(each)
        )
        begun = defaultdict(list)
        for each in self._handlings:
            begun[each.job_id].append(each.began_at)
        for crash in self._evidence.crashes:
            for job_id, times in begun.items():
                before = sum(at < crash for at in times)
                found[job_id] += min(before, len(times) - before)
        return found

    def _published(self, handling: Handling) -> bool:
        orders = self._orders.get(handling.job_id, ())
        fails = any(order.kind in (Kind.TRANSIENT, Kind.PERMANENT) for order in orders)
        return fails or not handling.rendering

    @cached_property
    def _by_process(self) -> dict[str, list[Mark]]:
        ordered = sorted(self._evidence.marks, key=attrgetter("process", "at"))
        return {process: list(marks) for process, marks in groupby(ordered, attrgetter("process"))}

    @cached_property
    def _handlings(self) -> list[Handling]:
        ends = {end.process: end for end in self._evidence.ends}
        found: list[Handling] = []
        for process, marks in self._by_process.items():
            found += handlings(marks, ends.get(process))
        return found

    def _last_words(self, end: End) -> str:
        said = [mark.text for mark in self._by_process.get(end.process, ()) if mark.text]
        return "".join(f"\n    {line}" for line in said[-_TOLD:])

    def _told(self, problem: str, job_id: str) -> str:
        """The problem, and the last that was heard of the job."""
        heard = [mark for mark in self._evidence.marks if mark.job_id == job_id]
        heard.sort(key=attrgetter("at"))
        lines = [f"    {m.at:.3f} {m.process:8} {m.text or m.what}" for m in heard[-_TOLD:]]
        return "\n".join([problem, *lines])


def handlings(marks: Sequence[Mark], end: End | None) -> Iterator[Handling]:
    """What one process did, job by job, and whether it was cut off in each.

    A message of another job proves as well that the one before was acknowledged, as a worker has
    one message at a time; so does a long time without news.
    """
    current: list[Mark] = []
    for mark in marks:
        if mark.what is What.SESSION_ENDED:
            yield from _handling(current, cut_off_at=mark.at)
            current = []
        elif mark.job_id is not None:
            if current and mark.job_id != current[0].job_id:
                yield from _handling(current)
                current = []
            current.append(mark)
            if mark.what is What.SETTLED:
                yield from _handling(current)
                current = []
    killed_at = end.at if end is not None and end.by_test else None
    yield from _handling(current, cut_off_at=killed_at, killed=killed_at is not None)


def _handling(
    marks: Sequence[Mark], *, cut_off_at: float | None = None, killed: bool = False
) -> Iterator[Handling]:
    """What these marks of one job make, if there are any."""
    if not marks or marks[0].job_id is None:
        return
    cut = cut_off_at is not None and cut_off_at - marks[-1].at < UNPROVEN_S
    done = [mark.what for mark in marks if mark.what in _STEPS]
    rendering = bool(done) and done[-1] is not What.LOOK and done[-1] is not What.KEPT
    yield Handling(
        marks[0].process,
        marks[0].job_id,
        began_at=marks[0].at,
        cut_off=cut,
        killed=killed and cut,
        rendering=rendering,
    )
