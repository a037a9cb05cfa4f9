"""Workers as processes on a real broker and ledger, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika

from common.ledger import Ledger
from common.records import WorkerRecord
from demo.stack import Stack
from tests.support.waiting import until
from worker.job_status import read_status

ROOT = Path(__file__).resolve().parents[2]
STANDIN = str(Path(__file__).with_name("worker_standin.py"))
# The shipped worker, with another renderer in place of the real one.
LAUNCH = (
    "import sys; from common import logs; from worker.program import WorkerProgram; "
    "from worker.settings import load_settings; logs.configure('worker', terminal=False); "
    # The stand-in needs nothing but the standard library, and starts in a third of the time so.
    f"WorkerProgram(load_settings(), (sys.executable, '-I', '-S', {STANDIN!r})).run()"
)


def make_video(path: Path) -> Path:
    """A tiny real video."""
    words = "ffmpeg -v error -y -f lavfi -i color=c=teal:s=108x192:d=0.4:r=30 -f lavfi -i"
    words += " sine=d=0.4 -c:v libx264 -preset ultrafast -c:a aac -movflags +faststart"
    subprocess.run([*words.split(), str(path)], check=True)
    return path


@dataclass
class Fleet:
    """Workers on queues of their own."""

    stack: Stack
    folder: Path
    video: Path
    job_queue: str = field(default_factory=lambda: f"jobs-{uuid.uuid4().hex[:8]}")
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    queue_type: str = "classic"

    def __post_init__(self) -> None:
        self.result_queue = f"{self.job_queue}-results"
        self.output = self.folder / "videos"
        self.standin_log = self.folder / "standin.log"
        self.ledger = Ledger.connect(self.stack.redis_url)
        with self.channel() as channel:
            arguments = {"x-queue-type": self.queue_type}
            channel.queue_declare(self.job_queue, durable=True, arguments=arguments)
            channel.queue_declare(self.result_queue, durable=True, arguments=arguments)

    # Workers

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **os.environ,
            "RABBIT_URL": self.stack.rabbit_url,
            "REDIS_URL": self.stack.redis_url,
            "JOB_QUEUE": self.job_queue,
            "RESULT_QUEUE": self.result_queue,
            "OUTPUT": str(self.output),
            "HTTP_HOST": "127.0.0.1",
            "STANDIN_VIDEO": str(self.video),
            "STANDIN_LOG": str(self.standin_log),
            **self.settings,
            **settings,
        }

    def start(
        self, name: str = "w1", *, real: bool = False, launch: str = LAUNCH, **settings: str
    ) -> str:
        """Start a worker; with the real renderer or with the stand-in."""
        command = ["-m", "worker", "run"] if real else ["-c", launch]
        if name not in self.processes:
            # What a namesake of another test left in the ledger must not pass for this one.
            self.ledger.remove_worker(name)
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command],
                env=self.environment(WORKER_ID=name, **settings),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        return name

    def ready(self, name: str = "w1", *, timeout_s: float = 120.0) -> WorkerRecord:
        """Wait until it consumes."""

        def check() -> WorkerRecord | None:
            assert self.processes[name].poll() is None, self.log(name).read_text()
            record = self.ledger.worker(name)
            return record if record and record.startup_seconds is not None else None

        record: WorkerRecord = until(check, timeout_s=timeout_s, what=f"{name} consumes")
        return record

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the worker logged, as far as its lines are whole."""
        lines = self.log(name).read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def happened(self, words: str) -> int:
        """How often any worker logged an event with these words."""
        said = [str(entry["event"]) for name in self.processes for entry in self.events(name)]
        return sum(words in event for event in said)

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def exit_code(self, name: str, *, timeout_s: float = 120.0) -> int:
        return self.processes[name].wait(timeout_s)

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()

    # Queues

    def channel(self, url: str | None = None) -> _Channel:
        return _Channel(url or self.stack.rabbit_url)

    def submit(self, title: str, job_id: str | None = None, **properties: Any) -> str:
        job_id = job_id or f"job-{uuid.uuid4().hex[:10]}"
        self.publish(body(job_id, title), **properties)
        return job_id

    def publish(self, raw: bytes, **properties: Any) -> None:
        with self.channel() as channel:
            channel.basic_publish(
                "", self.job_queue, raw, pika.BasicProperties(delivery_mode=2, **properties)
            )

    def depth(self, queue: str) -> int:
        """Ready messages; 0 for a queue that does not exist."""
        with self.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).method.message_count)
            except pika.exceptions.ChannelClosedByBroker:
                return 0

    def take(self, queue: str) -> list[tuple[Any, bytes]]:
        """Take every message out of the queue."""
        found = []
        with self.channel() as channel:
            try:
                while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                    found.append((got[1], got[2]))
            except pika.exceptions.ChannelClosedByBroker:
                pass
            except pika.exceptions.ConnectionClosedByBroker as error:
                # A queue in the very moment of its making: its name is there, its process is not.
                if "noproc" not in error.reply_text or found:
                    raise
        return found

    def announced(self) -> list[str]:
        """Job ids in the result queue, which is emptied."""
        return [json.loads(raw)["job_id"] for _, raw in self.take(self.result_queue)]

    def renders(self, job_id: str) -> int:
        """How often the stand-in was started for the job."""
        if not self.standin_log.exists():
            return 0
        return sum(line.split()[0] == job_id for line in self.standin_log.read_text().splitlines())

    def status(self, job_id: str) -> str | None:
        found = read_status(self.ledger, job_id)
        return found.status.value if found else None


def body(job_id: str, title: str = "fast") -> bytes:
    turns = [{"speaker": "ruby", "text": "Hello."}]
    job = {"job_id": job_id, "title": title, "character_theme": "meadow", "turns": turns}
    return json.dumps(job).encode()


class _Channel:
    """A channel with a connection of its own, as a context."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))

    def __enter__(self) -> Any:
        return self._connection.channel()

    def __exit__(self, *_: object) -> None:
        if self._connection.is_open:
            self._connection.close()
