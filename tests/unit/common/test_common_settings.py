"""Settings: what wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

import pytest
from pydantic import Field, SecretStr, model_validator

from common.errors import HIDDEN, ConfigError
from common.settings import MAX_QUEUE_BYTES, QueueName, Settings, load, or_exit, read_yaml
from exporter.settings import ExporterSettings
from scaler.gateway.settings import GatewaySettings
from scaler.orchestrators.swarm.settings import SwarmSettings
from scaler.policy.target import Target
from worker.settings import WorkerSettings


class Sample(Settings):
    max_workers: Annotated[int, Field(ge=1)] = 10
    redis_url: SecretStr = SecretStr("redis://none")
    queue: QueueName = "video-queue"
    token: Annotated[SecretStr, Field(min_length=8)] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.token and self.max_workers == 3:
            raise ValueError("TOKEN only with another MAX_WORKERS")
        return self


def test_environment_wins_over_file_and_file_over_default() -> None:
    assert load(Sample, environ={}).max_workers == 10
    assert load(Sample, environ={}, base={"max_workers": 4}).max_workers == 4
    assert load(Sample, environ={"MAX_WORKERS": "7"}, base={"max_workers": 4}).max_workers == 7


def test_secret_comes_from_the_named_file_without_its_newline(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("redis://:p4ss@redis:6379\n")
    settings = load(Sample, environ={"REDIS_URL_FILE": str(secret)})
    assert settings.redis_url.get_secret_value() == "redis://:p4ss@redis:6379"


def test_variable_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    environ = {"REDIS_URL": "redis://x", "REDIS_URL_FILE": str(tmp_path / "x")}
    with pytest.raises(ConfigError, match="only one of REDIS_URL and REDIS_URL_FILE"):
        load(Sample, environ=environ)


@pytest.mark.parametrize(
    ("environ", "base", "field"),
    [
        ({"MAX_WORKERS": "none"}, {}, "MAX_WORKERS"),
        ({"MAX_WORKERS": "0"}, {}, "MAX_WORKERS"),
        ({}, {"max_workers": 0}, "scaling.max_workers"),
        ({}, {"max_wrokers": 3}, "scaling.max_wrokers"),
        ({"REDIS_URL_FILE": "/does/not/exist"}, {}, "REDIS_URL_FILE"),
    ],
)
def test_wrong_setting_is_named_with_value_and_what_is_allowed(
    environ: dict[str, str], base: dict[str, object], field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Sample, environ=environ, base=base, base_name="scaling")
    assert caught.value.field == field
    assert "allowed:" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", "- a list", "just text", "\x00"])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert caught.value.field == str(path)


def test_or_exit_says_one_line_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        or_exit(lambda: load(Sample, environ={"MAX_WORKERS": "-1"}))
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "MAX_WORKERS" in said


@pytest.mark.parametrize(
    "value", ["hun\rter2", "hunter2\nhunter2", "\x1b[2Jhunter2", "hunter2\x7f"]
)
@pytest.mark.parametrize("name", ["QUEUE", "MAX_WORKERS", "TOKEN", "TOKEN_FILE"])
def test_control_characters_are_refused_in_every_variable(
    name: str, value: str, tmp_path: Path
) -> None:
    if name == "TOKEN_FILE":
        (tmp_path / "token").write_bytes(f"{value}hunter2\n".encode())
        given = str(tmp_path / "token")
    else:
        given = value
    with pytest.raises(ConfigError, match="no control characters") as caught:
        load(Sample, environ={name: given})
    assert caught.value.field == name
    assert str(caught.value).isprintable()
    if name.startswith("TOKEN") or "\n" in value:
        assert caught.value.value is HIDDEN
    else:
        assert caught.value.value == value


@pytest.mark.parametrize(
    ("environ", "base"),
    [
        ({"TOKEN": "hunter2"}, {}),
        ({"TOKEN": "hunter2-hunter2", "MAX_WORKERS": "3"}, {}),
        ({}, {"token": "hunter2"}),
        ({}, {"token": ["hunter2"]}),
        ({}, {"tokens": "hunter2"}),
        ({}, {"redis_ulr": {"url": "redis://:hunter2@ledger"}}),
        ({"TOKEN_FILE": "hunter2"}, {}),
        ({"TOKEN": "hunter2-hunter2", "TOKEN_FILE": "hunter2"}, {}),
    ],
)
def test_a_secret_that_is_refused_is_not_shown(
    environ: dict[str, str], base: dict[str, object]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Sample, environ=environ, base=base, base_name="worker")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "environ"),
    [
        (GatewaySettings, {"GATEWAY_TOKEN": "hunter2"}),
        (
            GatewaySettings,
            {"GATEWAY_TOKEN": "hunter2-hunter2-", "MIN_WORKERS": "5", "MAX_WORKERS": "2"},
        ),
        (SwarmSettings, {"GATEWAY_URL": "http://gateway/hunter2"}),
        (
            ExporterSettings,
            {
                "RABBIT_URL": "amqp://broker",
                "REDIS_URL": "redis://ledger",
                "HTTP_BASIC_AUTH_BCRYPT": "user:hunter2",
            },
        ),
    ],
)
def test_no_program_shows_the_secret_that_it_refuses(
    model: type[Settings], environ: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(model, environ=environ)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        'rabbit_url: "amqp://user:hunter2@broker',
        "rabbit_url: *hunter2",
        "token: 'hunter2\nqueue: \"",
        "token: !hunter2 x",
        "token: @hunter2",
        "hunter2: [\n",
        "{hunter2: 1, hunter2: {",
        "token: !!timestamp 2026-99-99 # hunter2",
        "[" * 20_000 + "hunter2",
        "amqp://user:hunter2@broker",
    ],
)
def test_a_file_that_can_t_be_read_is_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "",
        " video-queue",
        "video-queue ",
        "video-queue\r",
        "video\x00queue",
        "video\u200bqueue",
        "video\u202equeue",
        "\ud800",
        "amq.video",
        "v" * (MAX_QUEUE_BYTES + 1),
        "ä" * (MAX_QUEUE_BYTES // 2 + 1),
    ],
)
def test_a_name_that_no_queue_of_ours_can_have_is_refused_by_every_program(name: str) -> None:
    known = {"RABBIT_URL": "amqp://broker", "REDIS_URL": "redis://ledger"}
    files: dict[str, Any] = {"rabbit_url": "amqp://broker", "redis_url": "redis://ledger"}
    for setting in ("job_queue", "result_queue"):
        with pytest.raises(ConfigError, match=setting):
            load(WorkerSettings, environ={}, base={**files, setting: name}, base_name="worker")
    with pytest.raises(ConfigError, match="queue"):
        load(Target, environ={}, base={"queue": name}, base_name="targets")
    # The exporter may look at queues that are nobody's of ours, and takes spaces round names away.
    if not name.isprintable():
        with pytest.raises(ConfigError, match="QUEUES"):
            load(ExporterSettings, environ={**known, "QUEUES": f"a,{name}"})


@pytest.mark.parametrize("name", ["v", "video queue", "vidéo-Ω", "v" * MAX_QUEUE_BYTES, "a/b?c"])
def test_other_names_are_taken_and_leave_room_for_their_endings(name: str) -> None:
    assert load(Sample, environ={"QUEUE": name}).queue == name
    assert len(f"{name}.retry.86400".encode()) <= 255


@pytest.mark.parametrize("name", ["NODE_ID", "TASK_ID", "TASK_SLOT", "WORKER_ID"])
@pytest.mark.parametrize("value", ["w1\r", "w\u2028", "w" * 256])
def test_other_names_of_a_worker_are_plain(name: str, value: str) -> None:
    known = {"RABBIT_URL": "amqp://broker", "REDIS_URL": "redis://ledger"}
    with pytest.raises(ConfigError, match=name):
        load(WorkerSettings, environ={**known, name: value})


@pytest.mark.parametrize(
    ("jobs", "results"),
    [
        ("jobs", "jobs"),
        ("jobs", "jobs.dead"),
        ("jobs", "jobs.retry.5"),
        ("publish-queue", ""),  # the default of the other
        ("", "video-queue"),
    ],
)
def test_results_go_to_another_queue_than_jobs_come_from(jobs: str, results: str) -> None:
    environ = {"RABBIT_URL": "amqp://broker", "REDIS_URL": "redis://ledger"}
    with pytest.raises(ConfigError, match="another queue than JOB_QUEUE"):
        load(WorkerSettings, environ={**environ, "JOB_QUEUE": jobs, "RESULT_QUEUE": results})
