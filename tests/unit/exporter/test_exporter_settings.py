"""What the exporter is told, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.ledger import Ledger
from exporter.__main__ import settings
from exporter.collector import Exporter

GIVEN = {"RABBIT_URL": "amqp://u:p@broker/", "REDIS_URL": "redis://ledger/0"}


def test_defaults_and_lists() -> None:
    given = settings({**GIVEN, "QUEUES": " video-queue , audio-* ,"})
    assert given.queues == ("video-queue", "audio-*")
    assert given.http_port == 9419
    assert given.unhealthy_after_s == 30


@pytest.mark.parametrize("name", ["q" * 251, "q" * 255, "amq.topic", "vid\u00e9o"])
def test_whatever_a_broker_may_have_can_be_read(name: str) -> None:
    assert settings({**GIVEN, "QUEUES": name}).queues == (name,)


@pytest.mark.parametrize("name", ["q" * 256, "\u00e4" * 128, "video\u200bqueue"])
def test_a_name_that_no_broker_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"QUEUES\.1.*255 bytes"):
        settings({**GIVEN, "QUEUES": f"video-queue,{name}"})


def test_the_heartbeat_comes_from_the_plans_file_and_the_variable_wins(tmp_path: Path) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text("scaling: {min_workers: 1}\nworker:\n  heartbeat_interval: 5\n")
    env = {**GIVEN, "SCALING_CONFIG": str(path)}
    assert settings(env).heartbeat_interval == 5
    assert settings({**env, "HEARTBEAT_INTERVAL": "7"}).heartbeat_interval == 7


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("QUEUES", ",", "at least one"),
        ("QUEUES", "video-\rqueue", "control characters"),
        ("VHOSTS", "/\x00", "control characters"),
        ("REDIS_URL", "http://x", "redis://"),
        ("MANAGEMENT_URL", "amqp://x", "http://"),
        ("HEARTBEAT_INTERVAL", "0", "greater than 0"),
        ("HTTP_BASIC_AUTH_BCRYPT", "user:password", "bcrypt"),
    ],
)
def test_what_cannot_be_used_is_named(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings({**GIVEN, variable: value})
    assert caught.value.field == variable
    assert allowed in caught.value.allowed


def test_patterns_need_the_management_api() -> None:
    given = settings({**GIVEN, "QUEUES": "video-*"})
    with pytest.raises(ConfigError, match="MANAGEMENT_URL"):
        Exporter(given, Ledger.connect("redis://ledger/0"))


def test_no_secret_shows_in_the_settings() -> None:
    env = {
        "RABBIT_URL": "amqp://user:rabbit-secret@broker/",
        "REDIS_URL": "redis://:redis-secret@ledger/0",
        "MANAGEMENT_URL": "http://user:management-secret@broker:15672",
        "HTTP_BEARER_TOKEN": "bearer-secret",
    }
    assert "secret" not in repr(settings(env))
