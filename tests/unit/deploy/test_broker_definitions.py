"""The broker's users that are shipped have the permissions that are documented."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from common.amqp import addresses
from common.urls import BROKER, SERVICE, read
from tests.support.broker_users import ROOT, documented, shipped
from worker.jobs import JOB_QUEUE, RESULT_QUEUE

DEFINITIONS = json.loads((ROOT / "deploy/rabbitmq/definitions.json").read_text())


def test_shipped_users_may_what_is_documented() -> None:
    owner = {"configure": ".*", "write": ".*", "read": ".*"}
    assert shipped() == {
        "rabbitreels": owner,
        **{user: documented()[user] for user in ("worker", "exporter", "operator")},
    }
    assert {user["name"]: user["tags"] for user in DEFINITIONS["users"]} == {
        "rabbitreels": "administrator",
        "worker": "",
        "exporter": "management",
        "operator": "",
    }


def test_the_owners_queues_are_as_producers_and_publisher_declare_them() -> None:
    assert [queue["name"] for queue in DEFINITIONS["queues"]] == [JOB_QUEUE, RESULT_QUEUE]
    assert all(queue["durable"] and not queue["arguments"] for queue in DEFINITIONS["queues"])


def secrets_in(folder: Path) -> dict[str, str]:
    script = ROOT / "deploy/swarm/make-secrets.sh"
    subprocess.run(["sh", str(script), str(folder)], check=True, stderr=subprocess.DEVNULL)
    return {path.name: path.read_text() for path in folder.iterdir()}


def passwords(secrets: dict[str, str]) -> dict[str, str]:
    users = json.loads(secrets["rabbitmq_definitions"])["users"]
    return {user["name"]: user["password"] for user in users}


def test_each_user_has_a_random_password_of_its_own(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path / "secrets")
    found = passwords(secrets)
    assert len(set(found.values())) == len(found) == 4
    assert "development" not in secrets["rabbitmq_definitions"]
    for user, name in (
        ("rabbitreels", "rabbit_url"),
        ("worker", "worker_rabbit_url"),
        ("exporter", "exporter_rabbit_url"),
        ("operator", "operator_rabbit_url"),
    ):
        (broker,) = addresses(secrets[name])
        assert (broker.host, broker.port, broker.virtual_host) == ("rabbitmq", 5672, "/")
        assert (broker.credentials.username, broker.credentials.password) == (user, found[user])
    management = read(secrets["exporter_management_url"], SERVICE)
    assert (management.user, management.password) == ("exporter", found["exporter"])
    assert secrets_in(tmp_path / "secrets") == secrets


def test_secrets_of_an_earlier_version_are_completed(tmp_path: Path) -> None:
    (tmp_path / "rabbit_url").write_text("amqp://rabbitreels:as-it-was@rabbitmq:5672/")
    secrets = secrets_in(tmp_path)
    assert passwords(secrets)["rabbitreels"] == "as-it-was"
    assert read(secrets["worker_rabbit_url"], BROKER).user == "worker"


def test_a_password_that_can_t_be_taken_over_is_refused_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "rabbit_url").write_text("amqp://rabbitreels:h/un&ter2@rabbitmq:5672/")
    script = ROOT / "deploy/swarm/make-secrets.sh"
    done = subprocess.run(
        ["sh", str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "allowed: " in done.stderr
    assert "ter2" not in done.stderr


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/swarm/stack.yml"])
def test_programs_are_not_the_queues_owner(file: str) -> None:
    services = yaml.safe_load((ROOT / file).read_text())["services"]
    for program, user in (("exporter", "exporter"), ("video-creator", "worker")):
        environment = services[program]["environment"]
        given = environment.get("RABBIT_URL") or environment["RABBIT_URL_FILE"]
        assert user in given
        assert "rabbitreels" not in str(environment)
