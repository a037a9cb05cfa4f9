"""Calls that may hang, on threads that nobody has to wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


class Background:
    """A few daemon threads, started as they are needed.

    Unlike those of `ThreadPoolExecutor` they keep no program from ending: what hangs is left.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._most = threads
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Have `call` made; its result, or what it raised, is in the future."""
        future: Future[Result] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(call())
            except BaseException as error:  # it is the caller's to look at
                future.set_exception(error)

        self._tasks.put(run)
        self._ensure_thread()
        return future

    def close(self) -> None:
        """Let the threads end once what was submitted is done; nobody waits for that."""
        with self._lock:
            for _ in range(self._started):
                self._tasks.put(None)

    def _ensure_thread(self) -> None:
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if self._started >= self._most:
                return
            self._started += 1
            name = f"{self._name}-{self._started}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            self._idle.release()
