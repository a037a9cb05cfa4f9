"""Many runs side by side, and the lower envelope of what they cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass

from scaler.simulate.arena import Arena, Policy, run
from scaler.simulate.delayed_view import ViewSettings
from scaler.simulate.score import Score

_shared: dict[int, Arena] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """A policy's setting and what it scored."""

    policy: Policy
    score: Score


def best(entries: Iterable[Entry], weight: float) -> Entry:
    """The entry of the lowest J(w)/C₀: where the lower envelope is for that w."""
    return min(entries, key=lambda entry: entry.score.cost(weight))


def sweep(
    arena: Arena,
    policies: Sequence[Policy],
    *,
    view: ViewSettings | None = None,
    seed: int = 0,
    processes: int | None = None,
    done: Callable[[], None] = lambda: None,
) -> list[Entry]:
    """The score of every policy in `arena`, worked out in as many processes as there are cores."""
    workers = min(len(policies), processes or os.cpu_count() or 1)
    if workers <= 1:
        return [_entry(arena, policy, view, seed, done) for policy in policies]
    with ProcessPoolExecutor(workers, initializer=_share, initargs=(arena,)) as executor:
        return _gather(executor, policies, view, seed, done)


def _gather(
    executor: Executor,
    policies: Sequence[Policy],
    view: ViewSettings | None,
    seed: int,
    done: Callable[[], None],
) -> list[Entry]:
    def said(_: Future[Score]) -> None:
        done()

    futures = [executor.submit(_run_shared, policy, view, seed) for policy in policies]
    for future in futures:
        future.add_done_callback(said)
    return [
        Entry(policy, future.result()) for policy, future in zip(policies, futures, strict=True)
    ]


def _entry(
    arena: Arena,
    policy: Policy,
    view: ViewSettings | None,
    seed: int,
    done: Callable[[], None],
) -> Entry:
    entry = Entry(policy, run(arena, policy, view=view, seed=seed))
    done()
    return entry


def _share(arena: Arena) -> None:
    """In a new process: keep what all its runs have in common."""
    _shared[0] = arena


def _run_shared(policy: Policy, view: ViewSettings | None, seed: int) -> Score:
    return run(_shared[0], policy, view=view, seed=seed)
