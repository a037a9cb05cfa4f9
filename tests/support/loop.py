"""The whole loop on real parts, as the e2e tests drive it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pika

from common.ledger import Ledger
from common.records import WorkerRecord
from demo.processes import Part
from demo.stack import Stack
from tests.support.waiting import until
from worker.job_status import JobStatus, Status, read_status

TARGET = "video-creator"
HEARTBEAT_S = 2
SEEN_S = 3 * HEARTBEAT_S


def dialogue(job_id: str, *, turns: int = 1) -> dict[str, Any]:
    """A short job that renders in a few seconds, in a shipped theme with its own speakers."""
    sample = json.loads(next(iter(sorted(Path("demo/jobs").glob("*.json")))).read_text())
    speakers = [turn["speaker"] for turn in sample["turns"]]
    lines = [{"speaker": speakers[i % len(speakers)], "text": f"Line {i}."} for i in range(turns)]
    return {
        "job_id": job_id,
        "title": f"Test {job_id}",
        "character_theme": sample["character_theme"],
        "turns": lines,
    }


class Broker:
    """The broker as a producer and a publisher use it."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        """A channel for a few calls."""
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def declare(self) -> None:
        """What RabbitReels' producers do before they publish."""
        with self.channel() as channel:
            channel.queue_declare("video-queue", durable=True)

    def publish(self, bodies: Iterable[bytes | dict[str, Any]]) -> None:
        """Send to video-queue as RabbitReels' producers do, with a timestamp."""
        with self.channel() as channel:
            for body in bodies:
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                properties = pika.BasicProperties(delivery_mode=2, timestamp=int(time.time()))
                channel.basic_publish("", "video-queue", raw, properties)

    def depth(self, queue: str) -> int:
        """Ready messages."""
        with self.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).method.message_count)
            except pika.exceptions.ChannelClosedByBroker:
                return 0

    def drain(self, queue: str) -> list[tuple[dict[str, Any], bytes]]:
        """Take every message of `queue`: (headers, body)."""
        found: list[tuple[dict[str, Any], bytes]] = []
        with self.channel() as channel:
            try:
                channel.queue_declare(queue, passive=True)
            except pika.exceptions.ChannelClosedByBroker:
                return []
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return found
                found.append((dict(properties.headers or {}), body))


class Loop:
    """Stack, exporter and scaler with local workers."""

    def __init__(self, folder: Path, scaler_env: dict[str, str] | None = None) -> None:
        self.stack = Stack(folder)
        self._scaler_env = {
            "ORCHESTRATOR": "process",
            "HISTORY_PATH": str(self.stack.folder / "scaler"),
            "WORKER_STATE": str(self.stack.folder / "workers"),
            "WORKER_COMMAND": f"nice -n 10 {sys.executable} -m worker run",
            "HEARTBEAT_INTERVAL": str(HEARTBEAT_S),
            **(scaler_env or {}),
        }
        self.broker = Broker(self.stack.rabbit_url)
        self.ledger = Ledger.connect(self.stack.redis_url)

    def start(self) -> Loop:
        """Everything up, one idle worker."""
        self.stack.start()
        self.broker.declare()
        self.stack.program("exporter", {"HEARTBEAT_INTERVAL": str(HEARTBEAT_S)})
        self.start_scaler()
        self.rest()
        return self

    def start_scaler(self) -> Part:
        """The scaler, new or again."""
        return self.stack.program("scaler", self._scaler_env)

    # Looking

    def workers(self) -> list[WorkerRecord]:
        """The workers that have been seen within the last heartbeats."""
        now = self.ledger.now()
        return [w for w in self.ledger.workers() if (now - w.last_seen).total_seconds() < SEEN_S]

    def status(self, job_id: str) -> JobStatus | None:
        """A job's status."""
        return read_status(self.ledger, job_id)

    def dashboard(self) -> dict[str, Any]:
        """The scaler's current status of the target."""
        url = f"{self.stack.scaler_url}/metrics/dashboard"
        with urllib.request.urlopen(url, timeout=5) as response:
            status: dict[str, Any] = json.load(response)["current_status"][TARGET]
        return status

    def target(self) -> int:
        """The decided number of workers."""
        return int(self.dashboard()["target_workers"])

    def videos(self) -> list[str]:
        """Job ids with a finished video."""
        return sorted(path.stem for path in (self.stack.folder / "videos").glob("*.mp4"))

    def announced(self) -> list[str]:
        """Take the announcements; the job ids in the order they came."""
        return [json.loads(body)["job_id"] for _, body in self.broker.drain("publish-queue")]

    # Doing

    def rest(self, timeout_s: float = 90) -> None:
        """Wait until nothing is to do, and no more idle workers are left than are wanted."""

        def at_rest() -> bool:
            states = [str(worker.status) for worker in self.workers()]
            wanted = self.target()
            return states == ["idle"] * wanted and self.broker.depth("video-queue") == 0

        until(at_rest, "as many idle workers as are wanted", timeout_s=timeout_s)

    def done(self, job_ids: Sequence[str], timeout_s: float = 150) -> None:
        """Wait until each job is done."""

        def all_done() -> bool:
            statuses = [self.status(job_id) for job_id in job_ids]
            return all(status and status.status == Status.DONE for status in statuses)

        until(all_done, f"jobs {job_ids} done", timeout_s=timeout_s)

    def busy_worker(self, timeout_s: float = 60) -> WorkerRecord:
        """Wait for a worker that has a job, and return it."""
        found: list[WorkerRecord] = []

        def look() -> bool:
            found[:] = [worker for worker in self.workers() if worker.has_job]
            return bool(found)

        until(look, "a busy worker", timeout_s=timeout_s, every_s=0.05)
        return found[0]

    def redelivered(self) -> int:
        """Second and further attempts so far."""
        return sum(counters.redelivered for counters in self.ledger.counters())

    def kill_scaler(self) -> None:
        """SIGKILL to the scaler alone."""
        process = self.stack.parts["scaler"].process
        assert process is not None
        process.kill()
        process.wait()

    @staticmethod
    def kill(worker: WorkerRecord) -> None:
        """SIGKILL: no chance to say anything."""
        os.kill(int(worker.task), signal.SIGKILL)
