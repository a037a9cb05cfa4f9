"""Alerts from a broken part to the receiver, by the shipped rules and routes on real parts."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pika
import pytest

from common.ledger import Ledger
from demo.stack import Stack, answers
from grafana.build import panel_queries
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


class Receiver:
    """A webhook: every notification as (alert, status), in the order they came."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.bodies.append(body)
                for alert in body["alerts"]:
                    receiver.notified.append((alert["labels"]["alertname"], alert["status"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Stack]:
    """Everything but workers, with the shipped Alertmanager configuration."""
    folder = tmp_path_factory.mktemp("rules")
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "alertmanager_webhook_url").write_text(receiver.url)
    config = folder / "alertmanager.yml"
    env = {
        **os.environ,
        "ALERT_SECRETS_DIR": str(secrets),
        "ALERT_GROUP_WAIT": "3s",
        "ALERT_GROUP_INTERVAL": "5s",
    }
    subprocess.run(["sh", "alertmanager/render.sh", str(config)], check=True, cwd=ROOT, env=env)
    with Stack(folder / "stack") as stack:
        stack.start("rabbitmq", "redis", "prometheus")
        stack.spawn(
            "alertmanager",
            [
                "prometheus-alertmanager",
                f"--config.file={config}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{stack.alertmanager_port}",
                "--cluster.listen-address=",
            ],
            ready_url=f"{stack.alertmanager_url}/-/ready",
        )
        parameters = pika.URLParameters(stack.rabbit_url)
        connection = pika.BlockingConnection(parameters)
        connection.channel().queue_declare("video-queue", durable=True)
        connection.close()
        stack.program("exporter")
        # No worker runs: with a minimum of one TargetNotReached would be pending.
        settings = {"ORCHESTRATOR": "dry_run", "MIN_WORKERS": "0"}
        stack.program("scaler", {**settings, "HISTORY_PATH": str(folder / "history")})
        yield stack


def ask(stack: Stack, query: str) -> list[dict[str, Any]]:
    url = f"{stack.prometheus_url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=10) as response:
        result: list[dict[str, Any]] = json.load(response)["data"]["result"]
    return result


def alerts(stack: Stack, *, suppressed: bool = False) -> set[str]:
    """Alerts that Alertmanager has; if `suppressed`, those that it holds back for another."""
    with urllib.request.urlopen(f"{stack.alertmanager_url}/api/v2/alerts", timeout=10) as response:
        found = json.load(response)
    return {
        alert["labels"]["alertname"]
        for alert in found
        if alert["status"]["inhibitedBy"] or not suppressed
    }


def test_the_rules_load_and_evaluate_without_an_error(stack: Stack) -> None:
    until(lambda: ask(stack, "queue:jobs_demand:sum"), "demand is recorded")
    until(
        lambda: ask(stack, 'autoscaler_signal_known{signal="waiting"} == 1'),
        "the scaler sees",
    )
    with urllib.request.urlopen(f"{stack.prometheus_url}/api/v1/rules", timeout=10) as response:
        groups = json.load(response)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 50
    assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []


def test_no_panel_asks_what_prometheus_refuses(stack: Stack) -> None:
    for query in panel_queries():
        ask(stack, query.expr)  # raises for an error


def test_from_a_broken_part_to_the_receiver(stack: Stack, receiver: Receiver) -> None:
    until(lambda: ask(stack, 'up{job="scaler"} == 1'), "the scaler is scraped")
    until(
        lambda: not ask(stack, 'ALERTS{alertname!="Watchdog"}') and alerts(stack) <= {"Watchdog"},
        "all is well",
        explain=lambda: alerts(stack),
    )
    assert receiver.notified == []
    ledger = Ledger.connect(stack.redis_url)
    for number in range(10):
        ledger.count_started("video-queue", f"late-{number}", first=True, wait_s=300)
    stack.parts["rabbitmq"].stop(30)

    until(lambda: ("BrokerDown", "firing") in receiver.notified, "told of the broker")
    expected = {"JobStartSloFastBurn", "ScalerBlind"}
    until(
        lambda: expected <= alerts(stack, suppressed=True),
        "what follows from it is held back",
        timeout_s=240,
    )
    assert receiver.notified == [("BrokerDown", "firing")]

    stack.parts["rabbitmq"].start().wait_ready()
    until(
        lambda: ("BrokerDown", "resolved") in receiver.notified,
        "told that it is over",
    )

    process = stack.parts["scaler"].process
    assert process is not None
    process.kill()
    process.wait()
    until(
        lambda: ("ScalerUnresponsive", "firing") in receiver.notified,
        "told of the scaler",
    )
    body = next(b for b in receiver.bodies if "Unresponsive" in b["commonLabels"]["alertname"])
    assert body["receiver"] == "critical"
    assert "has ended no cycle for" in body["commonAnnotations"]["description"]
    assert ("ScalerBlind", "firing") not in receiver.notified
    assert answers(f"{stack.alertmanager_url}/-/healthy")
