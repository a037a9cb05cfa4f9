"""The loop with real workers as a service of a private Swarm, for the benches."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

from common.ledger import Ledger
from demo.ports import free_ports
from demo.stack import Stack
from tests.support.loop import Broker
from tests.support.waiting import until
from tests.swarm import images
from tests.swarm.engine import image_engine

SERVICE = "bench-workers"
_TOKEN = "a-token-for-benches-only"


class Rig(contextlib.ExitStack):
    """Broker, ledger, Prometheus, exporter, gateway and scaler as processes; workers as tasks."""

    def __init__(self, folder: Path, *, low: int, high: int, knobs: str = "") -> None:
        super().__init__()
        self.folder, self.low, self.high, self._knobs = folder, low, high, knobs

    def start(self) -> Rig:
        """All up, `low` workers idle."""
        self.engine = self.enter_context(image_engine())
        images.build_base(self.engine)
        images.build_image(self.engine, images.PYTHON, "python")
        images.build_programs(self.engine, ("worker",))
        self.engine.swarm_init()
        self.stack = self.enter_context(Stack(self.folder / "stack")).start(
            "redis", "rabbitmq", "prometheus"
        )
        self.broker = Broker(self.stack.rabbit_url)
        self.broker.declare()
        self.ledger = Ledger.connect(self.stack.redis_url)
        self.callback(self.ledger.close)
        self.stack.program("exporter")
        self._gateway()
        self._service()
        self._scaler()
        until(lambda: self.idle() >= self.low, f"{self.low} idle workers", timeout_s=180)
        return self

    def pid(self, name: str) -> int:
        """Of a program's process."""
        process = self.stack.parts[name].process
        assert process is not None
        return process.pid

    def idle(self) -> int:
        """Workers that wait for a job."""
        return sum(worker.status == "idle" for worker in self.ledger.workers())

    def replicas(self) -> int:
        """The service's count."""
        spec: Any = self.engine.api.inspect_service(SERVICE)["Spec"]
        return int(spec["Mode"]["Replicated"]["Replicas"])

    def _gateway(self) -> None:
        (self._port,) = free_ports(1)
        self.stack.spawn(
            "gateway",
            [sys.executable, "-m", "scaler.gateway"],
            {
                "DOCKER_HOST": self.engine.host,
                "GATEWAY_TOKEN": _TOKEN,
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(self._port),
            },
            ready_url=f"http://127.0.0.1:{self._port}/-/healthy",
        )

    def _service(self) -> None:
        environment = {
            "RABBIT_URL": self.stack.rabbit_url,
            "REDIS_URL": self.stack.redis_url,
            "HTTP_PORT": "0",
            "HTTP_HOST": "127.0.0.1",
            "RENDER_THREADS": "1",
            "WORKER_ID": "{{.Service.Name}}.{{.Task.Slot}}.{{.Task.ID}}",
            "TASK_ID": "{{.Task.ID}}",
            "NODE_ID": "{{.Node.ID}}",
            "TASK_SLOT": "{{.Task.Slot}}",
        }
        flags = [part for pair in environment.items() for part in ("--env", "=".join(pair))]
        labels = {"enable": "true", "min": str(self.low), "max": str(self.high)}
        for name, value in labels.items():
            flags += ["--label", f"autoscaler.{name}={value}"]
        self.engine.cli(
            "service", "create", "--detach", "--no-resolve-image", "--name", SERVICE, *flags,
            "--replicas", str(self.low), "--restart-condition", "on-failure", "--network", "host",
            "--stop-grace-period", "400s", "--no-healthcheck", images.program_image("worker"),
        )  # fmt: skip

    def _scaler(self) -> None:
        config = self.folder / "scaling-config.yml"
        config.write_text(
            f"scaling: {{min_workers: {self.low}, max_workers: {self.high}{self._knobs}}}\n"
            f"targets: [{{name: {SERVICE}, service: {SERVICE}}}]\n"
        )
        self.stack.program(
            "scaler",
            {
                "ORCHESTRATOR": "swarm",
                "SCALING_CONFIG": str(config),
                "GATEWAY_URL": f"http://127.0.0.1:{self._port}",
                "GATEWAY_TOKEN": _TOKEN,
                "HISTORY_PATH": str(self.folder / "history"),
            },
        )
