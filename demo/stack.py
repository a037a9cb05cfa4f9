"""The real parts as private processes: RabbitMQ, Redis, Prometheus and Alertmanager.

All listen on free loopback ports and keep their data in one folder. Used by `make demo` and by
the tests. Leaving the `with` block, Ctrl-C and even a kill of this process tear all of it down.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from demo.ports import free_ports
from demo.processes import MARK, Guardian, Part, StartError, new_stack_id

ROOT = Path(__file__).resolve().parent.parent
RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"


class Stack:
    """A private broker, Redis, Prometheus and Alertmanager. Attributes are their addresses."""

    def __init__(self, folder: Path, *, alert_receiver_url: str = "http://127.0.0.1:9/") -> None:
        """`folder` is emptied first. Alerts go to the webhook at `alert_receiver_url`."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.id = new_stack_id()
        self.parts: dict[str, Part] = {}
        (
            self.amqp_port,
            self.management_port,
            self.plugin_port,
            self._dist_port,
            self._epmd_port,
            self.redis_port,
            self.prometheus_port,
            self.alertmanager_port,
            self.exporter_port,
            self.scaler_port,
            self.grpc_port,
        ) = free_ports(11)
        self.rabbit_url = f"amqp://guest:guest@127.0.0.1:{self.amqp_port}/"
        self.management_url = f"http://127.0.0.1:{self.management_port}"
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.prometheus_url = f"http://127.0.0.1:{self.prometheus_port}"
        self.alertmanager_url = f"http://127.0.0.1:{self.alertmanager_port}"
        self.exporter_url = f"http://127.0.0.1:{self.exporter_port}"
        self.scaler_url = f"http://127.0.0.1:{self.scaler_port}"
        self._alert_receiver_url = alert_receiver_url
        self._guardian: Guardian | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Starting

    def start(self, *parts: str) -> Stack:
        """Start the named parts (all four unless named) and wait until each is ready.

        Raises StartError, with the end of the part's log, when one is not.
        """
        makers = {
            "redis": self._redis,
            "rabbitmq": self._rabbitmq,
            "prometheus": self._prometheus,
            "alertmanager": self._alertmanager,
        }
        chosen = [makers[name]() for name in parts or makers]
        for part in chosen:
            part.wait_ready()
        return self

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        ready_url: str | None = None,
        timeout_s: float = 30.0,
    ) -> Part:
        """Start a program of ours beside the parts; waits for `ready_url` to answer 200."""
        part = self._part(name, command, dict(env or {}), timeout_s=timeout_s)
        if ready_url is not None:
            part.ready = lambda: answers(ready_url)
            part.wait_ready()
        return part

    def program(self, name: str, env: Mapping[str, str] | None = None) -> Part:
        """Start `python -m exporter` or `python -m scaler run` with this stack's addresses."""
        ports = {"exporter": self.exporter_port, "scaler": self.scaler_port}
        command = [sys.executable, "-m", name] + (["run"] if name == "scaler" else [])
        settings = {**self.environment(), "HTTP_PORT": str(ports[name]), **(env or {})}
        return self.spawn(
            name, command, settings, ready_url=f"http://127.0.0.1:{ports[name]}/-/ready"
        )

    def environment(self) -> dict[str, str]:
        """What our programs need to find the parts."""
        return {
            "RABBIT_URL": self.rabbit_url,
            "REDIS_URL": self.redis_url,
            "PROMETHEUS_URL": self.prometheus_url,
            "HTTP_HOST": "127.0.0.1",
            "GRPC_HOST": "127.0.0.1",
            "GRPC_PORT": str(self.grpc_port),
            "OUTPUT": str(self.folder / "videos"),
        }

    def stop(self) -> None:
        """End everything that this stack started, directly or not."""
        for name in ("scaler", "exporter"):
            if name in self.parts:
                self.parts[name].stop(10)
        if self._guardian is not None:
            self._guardian.dismiss()
            self._guardian = None
        for part in self.parts.values():
            part.stop(5)

    # The parts

    def _part(
        self,
        name: str,
        command: Sequence[str],
        env: dict[str, str],
        *,
        timeout_s: float = 60.0,
        cwd: Path | None = None,
    ) -> Part:
        if self._guardian is None:
            self._guardian = Guardian(self.id)
        full = {**os.environ, **env, MARK: self.id}
        log = self.logs / f"{name}.log"
        part = Part(name, command, full, log, timeout_s=timeout_s, cwd=cwd)
        self.parts[name] = part
        return part.start()

    def _data(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def _redis(self) -> Part:
        data = self._data("redis")
        arguments = (
            f"--bind 127.0.0.1 --port {self.redis_port} --dir {data} --appendonly yes"
            " --maxmemory 256mb --maxmemory-policy volatile-lru"
        )
        part = self._part("redis", ["redis-server", *arguments.split(), "--save", ""], {})
        part.ready = lambda: _replies(self.redis_port, b"PING\r\n", b"+PONG")
        return part

    def _rabbitmq(self) -> Part:
        data = self._data("rabbitmq")
        (data / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n"
            f"prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {self.plugin_port}\n"
            "disk_free_limit.absolute = 50MB\nlog.console = true\nlog.file = false\n"
        )
        (data / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
        env = {
            "HOME": str(data),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"stack{self.id}@localhost",
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
        }
        # A port mapper of its own, or Erlang would start one that outlives the broker.
        if "epmd" not in self.parts:
            epmd = self._part("epmd", ["epmd", "-port", str(self._epmd_port)], env)
            epmd.ready = lambda: _listens(self._epmd_port)
            epmd.wait_ready()
        # Where Erlang leaves its dumps.
        part = self._part("rabbitmq", [RABBITMQ], env, cwd=data)
        part.ready = lambda: (
            _replies(self.amqp_port, _AMQP_GREETING, b"\x01")
            and _listens(self.management_port)
            and answers(f"http://127.0.0.1:{self.plugin_port}/metrics")
        )
        return part

    def _prometheus(self) -> Part:
        data = self._data("prometheus")
        config = data / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._scrape_config(), sort_keys=False))
        part = self._part(
            "prometheus",
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={data / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
                "--web.enable-lifecycle",
            ],
            {},
        )
        part.ready = lambda: answers(f"{self.prometheus_url}/-/ready")
        return part

    def _scrape_config(self) -> dict[str, Any]:
        """The shipped configuration with this stack's addresses in place of the service names."""
        addresses = {
            "exporter:9419": f"127.0.0.1:{self.exporter_port}",
            "rabbitmq:15692": f"127.0.0.1:{self.plugin_port}",
            "alertmanager:9093": f"127.0.0.1:{self.alertmanager_port}",
            "prometheus:9090": f"127.0.0.1:{self.prometheus_port}",
            "localhost:9090": f"127.0.0.1:{self.prometheus_port}",
        }
        text = (ROOT / "prometheus/prometheus.yml").read_text()
        for shipped, here in addresses.items():
            text = text.replace(shipped, here)
        config: dict[str, Any] = yaml.safe_load(text)
        for scrape in config["scrape_configs"]:
            if scrape.pop("dns_sd_configs", None):
                here = f"127.0.0.1:{self.scaler_port}"
                scrape["static_configs"] = [{"targets": [here]}]
        config["rule_files"] = [str(ROOT / "prometheus/rules/*.yml")]
        return config

    def _alertmanager(self) -> Part:
        data = self._data("alertmanager")
        secrets = data / "secrets"
        secrets.mkdir(exist_ok=True)
        (secrets / "alertmanager_webhook_url").write_text(self._alert_receiver_url)
        config = data / "alertmanager.yml"
        part = self._part(
            "alertmanager",
            [
                "sh",
                str(ROOT / "alertmanager/render.sh"),
                str(config),
                "prometheus-alertmanager",
                f"--config.file={config}",
                f"--storage.path={data / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.alertmanager_port}",
                "--cluster.listen-address=",
            ],
            {"ALERT_SECRETS_DIR": str(secrets), "ALERT_GROUP_WAIT": "1s"},
        )
        part.ready = lambda: answers(f"{self.alertmanager_url}/-/ready")
        return part


def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - our own addresses
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def _replies(port: int, message: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.settimeout(1)
            connection.sendall(message)
            return connection.recv(64).startswith(expected)
    except OSError:
        return False


__all__ = ["ROOT", "Stack", "StartError", "answers"]
