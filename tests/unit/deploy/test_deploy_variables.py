"""The plan's variables: each reaches its readers, in every shipped way to run the programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.settings import load
from exporter.settings import ExporterSettings
from scaler.config.load import ProgramSection, ScalingSection, WorkerSection
from scaler.gateway.settings import GatewaySettings
from scaler.orchestrators.swarm.settings import SwarmSettings
from tests.support import kustomize
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[3]
# The plan's variables, and those for what its file has beside them, with who reads each.
PLAN: dict[str, set[str]] = {
    "MIN_WORKERS": {"scaler", "gateway"},
    "MAX_WORKERS": {"scaler", "gateway"},
    "SCALE_UP_THRESHOLD": {"scaler"},
    "SCALE_DOWN_THRESHOLD": {"scaler"},
    "COOLDOWN_PERIOD": {"scaler"},
    "HEALTH_CHECK_INTERVAL": {"exporter", "scaler"},
    "GRACEFUL_SHUTDOWN_TIMEOUT": {"scaler", "gateway", "worker"},
    "METRICS_RETENTION_DAYS": {"scaler"},
    "DASHBOARD_REFRESH_INTERVAL": {"scaler"},
    "ALERT_THRESHOLDS_CONFIG_PATH": {"exporter"},
    "METRICS_COLLECTION_INTERVAL": {"scaler"},
    "HEALTH_CHECK_TIMEOUT": {"worker"},
    "HEARTBEAT_INTERVAL": {"worker", "exporter"},
}
# What the plan tells its programs beside these, each by a variable of its own or by a file.
ADDRESSES: dict[str, set[str]] = {
    "RABBIT_URL": {"worker", "exporter"},
    "REDIS_URL": {"worker", "exporter", "scaler"},
    "WORKER_ID": {"worker"},
}
READERS: dict[str, tuple[type, ...]] = {
    "scaler": (ProgramSection, ScalingSection, WorkerSection, SwarmSettings),
    "gateway": (GatewaySettings,),
    "exporter": (ExporterSettings,),
    "worker": (WorkerSettings,),
}
SERVICES = {"worker": "video-creator"}
GIVEN = re.compile(r"\$\{(\w+):-([^}]*)\}")
FILES = ("docker-compose.yml", "deploy/swarm/stack.yml")
PAIRS = [(name, program) for name, programs in PLAN.items() for program in sorted(programs)]


def services(file: str) -> dict[str, Any]:
    content = yaml.safe_load((ROOT / file).read_text())
    found: dict[str, Any] = content["services"]
    return found


def substituted(text: object, given: Mapping[str, str]) -> str:
    """As Docker does it."""
    return GIVEN.sub(lambda match: given.get(match[1]) or match[2], str(text))


@pytest.mark.parametrize(("name", "program"), PAIRS)
def test_the_program_reads_it(name: str, program: str) -> None:
    assert any(name.lower() in model.model_fields for model in READERS[program])  # type: ignore[attr-defined]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(("name", "program"), PAIRS)
def test_it_reaches_the_program_in_a_stack(file: str, name: str, program: str) -> None:
    service = services(file).get(SERVICES.get(program, program))
    if service is None:
        assert (file, program) == ("docker-compose.yml", "gateway")
        return
    if name == "ALERT_THRESHOLDS_CONFIG_PATH":
        # In the container it is always at the same place; what is put there is the operator's.
        content = (ROOT / file).read_text()
        assert "${ALERT_THRESHOLDS_CONFIG_PATH:-" in content
        assert (
            substituted(service["environment"][name], {name: "/mine"})
            == "/app/config/thresholds.yml"
        )
        return
    value = service["environment"][name]
    assert substituted(value, {name: "77"}) == "77", f"{name} of the host is not passed on"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("name", "program"), [(name, each) for name, some in ADDRESSES.items() for each in sorted(some)]
)
def test_programs_know_where_the_others_are(file: str, name: str, program: str) -> None:
    environment = services(file)[SERVICES.get(program, program)]["environment"]
    if (file, name) == ("docker-compose.yml", "WORKER_ID"):
        return  # a worker without one is called after its container
    assert {name, f"{name}_FILE"} & set(environment)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("program", READERS)
def test_what_is_passed_on_at_its_default_is_taken(file: str, program: str) -> None:
    service = services(file).get(SERVICES.get(program, program))
    if service is None:
        return
    environment = {
        name: re.sub(r"\{\{.*?\}\}", "x", substituted(value, {}))
        for name, value in service["environment"].items()
        if not name.endswith(("_URL", "_FILE"))
    }
    environment |= {"RABBIT_URL": "amqp://x", "REDIS_URL": "redis://x"}
    for model in READERS[program]:
        known = {"GATEWAY_TOKEN": "x" * 16} if program == "gateway" else {}
        load(model, environ={**environment, **known})


def test_grace_period_and_variable_are_one() -> None:
    for file in FILES:
        worker = services(file)["video-creator"]
        for given in ({}, {"GRACEFUL_SHUTDOWN_TIMEOUT": "77"}):
            period = substituted(worker["stop_grace_period"], given)
            told = substituted(worker["environment"]["GRACEFUL_SHUTDOWN_TIMEOUT"], given)
            assert period == f"{told}s"


@pytest.mark.parametrize("variant", ["external-push", "external", "scaled-job"])
def test_on_kubernetes_one_config_map_reaches_all(variant: str) -> None:
    pods = kustomize.pods(kustomize.build(ROOT / "deploy/kubernetes" / variant))
    for name, pod in pods.items():
        [container] = pod["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": "variables", "optional": True}}]
        # A container's own variable wins over the ConfigMap's.
        own = {variable["name"] for variable in container["env"]} & PLAN.keys()
        assert own <= ({"GRACEFUL_SHUTDOWN_TIMEOUT"} if name == "video-creator" else set())
