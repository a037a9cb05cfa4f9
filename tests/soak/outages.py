"""Brings about the faults of a plan, on real parts; each ends before the next of its stream."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

import requests

from demo.processes import Part
from demo.stack import Stack
from tests.soak.faults import Fault, Planned
from tests.soak.queues import DEAD, JOBS, RESULTS, RETRIES, Queues
from tests.soak.workers import Workers
from tests.support.crashing import crash
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import until

GROUPS = 3
"""Workers reach broker and Redis by so many ways, each with a proxy of its own."""
_CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
_WATERMARK = "0.4"
_ENDINGS = (signal.SIGTERM, signal.SIGKILL)


class Ways(ExitStack):
    """The proxies between workers and parts. Use as a context."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.broker = [self.enter_context(FaultProxy(stack.amqp_port)) for _ in range(GROUPS)]
        self.ledger = [self.enter_context(FaultProxy(stack.redis_port)) for _ in range(GROUPS)]

    def urls(self, number: int) -> dict[str, str]:
        """The addresses for a worker in the slot of that number."""
        broker, ledger = self.broker[number % GROUPS], self.ledger[number % GROUPS]
        return {
            "RABBIT_URL": f"amqp://guest:guest@127.0.0.1:{broker.port}/",
            "REDIS_URL": f"redis://127.0.0.1:{ledger.port}/0",
        }


class Outages:
    """The parts that fail, and how."""

    def __init__(self, stack: Stack, ways: Ways, workers: Workers, queues: Queues) -> None:
        self._stack, self._ways, self._workers, self._queues = stack, ways, workers, queues
        self._stop = threading.Event()
        self.happened: Counter[Fault] = Counter()
        """How often each has come and ended."""
        self.crashes: list[float] = []
        """When the broker was killed, in epoch seconds."""
        self._filling = threading.Lock()
        self._acts: Mapping[Fault, Callable[[Planned], None]] = {
            Fault.KILL: self._kill,
            Fault.CUT_BROKER: lambda p: self._cut(ways.broker, p),
            Fault.CUT_LEDGER: lambda p: self._cut(ways.ledger, p),
            Fault.STALL_BROKER: lambda p: self._stall(ways.broker, p),
            Fault.STALL_LEDGER: lambda p: self._stall(ways.ledger, p),
            Fault.BROKER_RESTART: lambda _: self._restart_broker(signal.SIGTERM),
            Fault.BROKER_CRASH: lambda _: self._restart_broker(signal.SIGKILL),
            Fault.LEDGER_RESTART: lambda p: self._restart("redis", _ENDINGS[p.among(2)]),
            Fault.LEDGER_OLDER: self._set_back,
            Fault.MEMORY_ALARM: self._alarm,
            Fault.RESULTS_FULL: lambda p: self._fill(RESULTS, p, room=5),
            Fault.DEAD_FULL: lambda p: self._fill(DEAD, p, room=1),
            Fault.RETRIES_REFUSE: lambda p: self._refuse(RETRIES, p),
            Fault.JOBS_REFUSE: lambda p: self._refuse(JOBS, p),
        }

    def run(self, stream: Sequence[Planned], done: Callable[[], float]) -> None:
        """Bring about each of the stream once so much is `done`, unless stopped."""
        for planned in stream:
            while done() < planned.at and not self._stop.wait(0.1):
                pass
            if self._stop.is_set():
                return
            self._acts[planned.fault](planned)
            self.happened[planned.fault] += 1

    def stop(self) -> None:
        """Begin no further fault, and end those that last."""
        self._stop.set()

    def _kill(self, planned: Planned) -> None:
        slot = planned.among(len(self._workers))
        # Twelve slots, and beyond that the choice is as good as a coin.
        self._workers.kill(slot, same_id=planned.choice * len(self._workers) % 1 < 0.5)

    def _cut(self, proxies: Sequence[FaultProxy], planned: Planned) -> None:
        proxies[planned.among(len(proxies))].cut()

    def _stall(self, proxies: Sequence[FaultProxy], planned: Planned) -> None:
        proxy = proxies[planned.among(len(proxies))]
        proxy.freeze()
        self._stop.wait(planned.seconds)
        proxy.thaw()

    def _restart(self, name: str, sig: signal.Signals) -> None:
        _end(self._stack.parts[name], sig)
        self._stack.parts[name].start().wait_ready()

    def _restart_broker(self, sig: signal.Signals) -> None:
        with self._filling:
            if sig is signal.SIGKILL:
                self._queues.await_no_new_ones()
                self.crashes.append(time.time())
            self._restart("rabbitmq", sig)
            self._queues.renew_limits()

    def _set_back(self, planned: Planned) -> None:
        """Bring back Redis as it was some seconds ago."""
        data, copy = self._stack.folder / "redis", self._stack.folder / "redis-before"
        _copy_settled(data, copy)
        self._stop.wait(planned.seconds)
        _end(self._stack.parts["redis"], signal.SIGKILL)
        shutil.rmtree(data)
        copy.rename(data)
        self._stack.parts["redis"].start().wait_ready()

    def _alarm(self, planned: Planned) -> None:
        self._control("set_vm_memory_high_watermark", "absolute", "1MB")
        until(self._alarmed, "the alarm")
        self._stop.wait(planned.seconds)
        self._control("set_vm_memory_high_watermark", _WATERMARK)
        until(lambda: not self._alarmed(), "the alarm's end")

    def _fill(self, name: str, planned: Planned, *, room: int) -> None:
        """Have the queue take no more than `room` messages beyond what is there.

        Not while the broker restarts: a classic queue would drop what is beyond its limit then,
        and workers give back what they have.
        """
        with self._filling:
            length = -1
            while (found := self._queues.count(name)) > length:
                length = found + room
                self._queues.limit(name, length)
            self._stop.wait(planned.seconds)
            self._queues.limit(name)

    def _refuse(self, name: str, planned: Planned) -> None:
        """Have the queue take nothing."""
        self._queues.limit(name, 0)
        self._stop.wait(planned.seconds)
        self._queues.limit(name)

    def _control(self, *words: str) -> None:
        env = dict(self._stack.parts["rabbitmq"].env)
        command = [_CONTROL, *words]
        until(
            lambda: (
                subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0
            ),
            " ".join(words),
        )

    def _alarmed(self) -> bool:
        url = f"{self._stack.management_url}/api/health/checks/local-alarms"
        with suppress(requests.RequestException):
            answer = requests.get(url, auth=("guest", "guest"), timeout=5)
            return answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        return False


def _end(part: Part, sig: signal.Signals) -> None:
    """End a part of ours, its whole process group when it is to be killed."""
    if sig is signal.SIGKILL:
        crash(part)
    else:
        part.stop(60, sig)


def _copy_settled(source: Path, target: Path) -> None:
    """Copy a folder in which files are only added to; again, should one have come or gone."""
    deadline = time.monotonic() + 30
    while True:
        before = sorted(source.rglob("*"))
        with suppress(shutil.Error, OSError):
            shutil.copytree(source, target)
            if sorted(source.rglob("*")) == before:
                return
        shutil.rmtree(target, ignore_errors=True)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{source} does not hold still")
