"""The shipped stack file, deployed on the private engine, and a way to look inside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import yaml

from tests.support.waiting import until
from tests.swarm.engine import Engine, EngineError
from tests.swarm.images import ROOT

FOLDER = ROOT / "deploy" / "swarm"
NAME = "rabbitreels"
Scaling = tuple[str, int, int]
"""Service, count before, count after."""
_SCALED = re.compile(r"(\S+): replicas (\d+) -> (\d+)")
# Runs in the exporter's container, which has the clients, the addresses and the secrets.
_PROLOGUE = """
import json, os, sys, urllib.parse, urllib.request
import pika
from common.ledger import Ledger
def secret(name):
    with open("/run/secrets/" + name) as file: return file.read().strip()
ledger = Ledger.connect(secret("redis_url"))
told = json.load(sys.stdin)
given = told["given"]
# As the queues' owner: the exporter's own user may do nothing with them.
channel = pika.BlockingConnection(pika.URLParameters(told["owner"])).channel()
def prometheus(query):
    url = "http://prometheus:9090/api/v1/query?query=" + urllib.parse.quote(query)
    return json.load(urllib.request.urlopen(url))["data"]["result"]
"""
_PUBLISH = """
for body in given:
    channel.basic_publish("", body.pop("queue", "video-queue"), json.dumps(body).encode(),
                          pika.BasicProperties(delivery_mode=2))
result = len(given)
"""
_DECLARE = """
for queue in ("video-queue", "edit-queue", "publish-queue"):
    channel.queue_declare(queue, durable=True)
result = None
"""
_READY = """
result = {q: channel.queue_declare(q, durable=True, passive=True).method.message_count
          for q in ("video-queue", "edit-queue", "publish-queue")}
"""
_TAKE = """
result = []
while True:
    method, _, body = channel.basic_get("publish-queue", auto_ack=True)
    if method is None: break
    result.append(json.loads(body))
"""
_LEADER = """
holder = ledger._redis.hget("autoscaler:lease:scaler", "holder") or ""
result = holder.split("-")[0]
"""
_QUERY = "result = prometheus(given)"
_STATES = "result = [w.model_dump(mode='json') for w in ledger.workers()]"


class ShippedStack:
    """`docker stack deploy` of deploy/swarm/stack.yml; removed on leaving."""

    def __init__(self, engine: Engine, **variables: str) -> None:
        self.engine = engine
        self._secrets = engine.scratch / "secrets"
        self.variables = {
            "SECRETS": str(self._secrets),
            "DOCKER_SOCKET": str(engine.socket),
            "DOCKER_GID": str(os.stat(engine.socket).st_gid),
            # Room for several workers on a small machine.
            "WORKER_CPUS_RESERVED": "0.01",
            "WORKER_MEMORY_RESERVED": "64M",
            **variables,
        }
        self.exits: dict[str, list[int]] = {}
        """Exit codes by service, as the engine told them."""
        self.scalings: list[Scaling] = []
        """Changes of counts, as the engine told them."""
        self._stream: Any = None

    def __enter__(self) -> ShippedStack:
        script = FOLDER / "make-secrets.sh"
        subprocess.run(["sh", str(script), str(self._secrets)], check=True)
        told = {"event": ["die", "update"]}
        self._stream = self.engine.api.events(decode=True, filters=told)
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self.deploy()
            self.await_running()
        except BaseException as error:
            report = self.report()
            self.__exit__()
            raise EngineError(f"{error}\n{report}") from error
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(EngineError):
            self.engine.cli("stack", "rm", NAME)
        if self._stream is not None:
            self._stream.close()
        api = self.engine.api
        for container in api.containers(quiet=True):
            with contextlib.suppress(Exception):
                api.kill(container["Id"])
        until(lambda: not api.containers(quiet=True), "containers ending")
        until(lambda: not self._networks(), "networks gone")
        for volume in api.volumes()["Volumes"] or []:
            with contextlib.suppress(Exception):
                api.remove_volume(volume["Name"], force=True)

    def _networks(self) -> list[str]:
        return [n["Name"] for n in self.engine.api.networks() if n["Name"].startswith(f"{NAME}_")]

    def _listen(self) -> None:
        for event in self._stream:
            attributes = event["Actor"]["Attributes"]
            if event["Action"] == "update":
                if "replicas.new" in attributes:
                    counts = int(attributes["replicas.old"]), int(attributes["replicas.new"])
                    self.scalings.append((attributes["name"], *counts))
                continue
            service = attributes.get("com.docker.swarm.service.name", "")
            self.exits.setdefault(service.removeprefix(f"{NAME}_"), []).append(
                int(attributes["exitCode"])
            )

    def deploy(self, *files: Path, **variables: str) -> None:
        """Deploy, or deploy again, the shipped file unchanged, with further files."""
        arguments = [part for file in (FOLDER / "stack.yml", *files) for part in ("-c", str(file))]
        self.engine.cli(
            "stack", "deploy", "--resolve-image", "never", *arguments, NAME,
            env={**self.variables, **variables},
        )  # fmt: skip

    def await_running(self, timeout_s: float = 240) -> None:
        """Wait until every service has its replicas running."""
        until(lambda: not self.lacking(), "running", timeout_s=timeout_s, explain=self.lacking)

    def lacking(self) -> str:
        """Services that have fewer running tasks than replicas, with their tasks' words."""
        missing = []
        for service in self.engine.api.services():
            replicas = service["Spec"]["Mode"]["Replicated"]["Replicas"]
            tasks = self.tasks(service["ID"])
            running = [t for t in tasks if t["Status"]["State"] == "running"]
            if len(running) < replicas:
                words = [f"{t['Status']['State']} {t['Status'].get('Err', '')}" for t in tasks]
                missing.append(f"{service['Spec']['Name']}: {words}")
        return "; ".join(missing)

    def tasks(self, service: str) -> list[Any]:
        """Tasks of a service that are meant to run."""
        found = self.engine.api.tasks({"service": service})
        return [task for task in found if task["DesiredState"] in ("running", "ready")]

    def container(self, service: str) -> str:
        """Id of the container of the service's first running task."""

        def find() -> str | None:
            for task in self.tasks(f"{NAME}_{service}"):
                if task["Status"]["State"] == "running":
                    return str(task["Status"]["ContainerStatus"]["ContainerID"])
            return None

        return str(until(find, f"a running {service}"))

    def acting_scaler(self, but: str = "") -> str:
        """Id of the container that holds the lease; empty while none does, or while it is `but`."""
        host = self.inside(_LEADER)
        ids = [c["Id"] for c in self.engine.api.containers(quiet=True)]
        found = [one for one in ids if host and one.startswith(host) and one != but]
        return found[0] if found else ""

    def inside(self, script: str, given: Any = None) -> Any:
        """What `script` leaves in `result`, run in the exporter's container."""
        program = f"{_PROLOGUE}{script}\nprint(json.dumps(result))"
        command = ["docker", "-H", self.engine.host, "exec", "-i", self.container("exporter")]
        owner = (self._secrets / "rabbit_url").read_text()
        done = subprocess.run(
            [*command, "python3", "-c", program],
            input=json.dumps({"given": given, "owner": owner}),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode != 0:
            raise EngineError(f"inside the exporter: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def declare_queues(self) -> None:
        """As RabbitReels' producers do."""
        self.inside(_DECLARE)

    def publish(self, jobs: Sequence[Any]) -> None:
        """Put jobs into the queue."""
        self.inside(_PUBLISH, list(jobs))

    def ready(self) -> dict[str, int]:
        """Ready messages by queue."""
        result: dict[str, int] = self.inside(_READY)
        return result

    def results(self) -> list[Any]:
        """Take everything out of the publish queue."""
        result: list[Any] = self.inside(_TAKE)
        return result

    def query(self, promql: str) -> list[Any]:
        """What the stack's Prometheus answers."""
        result: list[Any] = self.inside(_QUERY, promql)
        return result

    def workers(self) -> list[Any]:
        """The ledger's records."""
        result: list[Any] = self.inside(_STATES)
        return result

    def videos(self) -> dict[str, Path]:
        """Files in the workers' volume by job id."""
        volume = self.engine.api.inspect_volume(f"{NAME}_videos-data")
        return {path.stem: path for path in Path(volume["Mountpoint"]).glob("*.mp4")}

    def applied(self) -> Iterator[Scaling]:
        """Changes of counts that the scalers say they have made, by all their histories."""
        volume = self.engine.api.inspect_volume(f"{NAME}_scaler-data")
        for path in Path(volume["Mountpoint"]).glob("*/history.sqlite"):
            with contextlib.closing(sqlite3.connect(path)) as history:
                for (content,) in history.execute("SELECT content FROM decisions").fetchall():
                    for name, old, new in _SCALED.findall(json.loads(content)["applied"]):
                        yield name, int(old), int(new)

    def logs(self, service: str) -> str:
        """The newest lines of a service."""
        return self.engine.cli("service", "logs", "--raw", "--tail", "200", f"{NAME}_{service}")

    def report(self) -> str:
        """The last words of every container, for the message of a failed test."""
        parts = []
        for container in self.engine.api.containers(all=True):
            labels = container["Labels"]
            name = labels.get("com.docker.swarm.task.name", container["Id"])
            text = ""
            with contextlib.suppress(docker.errors.APIError):
                text = self.engine.api.logs(container["Id"], tail=15).decode("utf-8", "replace")
            parts.append(f"--- {name} {container['Status']}\n{text}")
        return "\n".join(parts)

    def spec(self, service: str) -> Any:
        """The service's spec as stored."""
        return self.engine.api.inspect_service(f"{NAME}_{service}")["Spec"]


def stack_images() -> Iterator[str]:
    """Image names in the shipped stack file, with the default of each variable."""
    for service in yaml.safe_load((FOLDER / "stack.yml").read_text())["services"].values():
        name: str = service["image"]
        while "${" in name:
            head, _, rest = name.partition("${")
            variable, _, tail = rest.partition("}")
            name = head + variable.partition(":-")[2] + tail
        yield name
