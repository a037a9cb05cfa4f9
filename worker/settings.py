"""The worker's settings: environment over the `worker:` section of `scaling-config.yml`."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from common.amqp import BrokerSettings
from common.errors import SecretInputError
from common.http import HttpSettings
from common.ledger import LedgerSettings
from common.settings import PlainName, QueueName, Settings, load, read_yaml, section_of
from common.urls import ANY_PATH, OpenServiceUrl, Shape, checked, read
from worker.jobs import JOB_QUEUE, RESULT_QUEUE

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_BUCKET = re.compile(r"s3://[\w.-]+(/.*)?")
_NOTICE = Shape(
    ("http", "https"),
    "host[:port][/path][?parameters] without user and password, or a file's path",
    credentials=False,
    path=ANY_PATH,
    query=True,
)


def _read_notice(text: str) -> None:
    if "://" in text:
        read(text, _NOTICE)


def _read_output(text: str) -> None:
    if "://" in text and not _BUCKET.fullmatch(text):
        raise SecretInputError("a folder, or s3://bucket/prefix without credentials")


class VoiceSettings(Settings):
    """Access to voices that are a service."""

    elevenlabs_api_key: SecretStr | None = None
    elevenlabs_url: OpenServiceUrl = "https://api.elevenlabs.io"

    def for_voices(self) -> tuple[str, str | None]:
        """What `worker.video.voices.Voices` is made of."""
        key = self.elevenlabs_api_key
        return self.elevenlabs_url, key.get_secret_value() if key else None


class WorkerSettings(BrokerSettings, LedgerSettings, HttpSettings, VoiceSettings):
    """Times are in seconds."""

    job_queue: QueueName = JOB_QUEUE
    result_queue: Annotated[QueueName, Field(validate_default=True)] = RESULT_QUEUE
    declare_job_queue: bool = False
    """Make the job queue where it does not exist, durable and without arguments; otherwise wait for
    its owner to make it."""
    output: Annotated[str, Field(min_length=1), checked(_read_output)] = "data/videos"
    """A folder, or `s3://bucket/prefix`."""
    worker_id: Identifier = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    node_id: PlainName = Field(default_factory=socket.gethostname)
    task_id: PlainName = Field(default_factory=lambda: str(os.getpid()))
    task_slot: PlainName = ""
    heartbeat_interval: Annotated[float, Field(ge=0.5, le=300)] = 10
    """Between two heartbeats in the ledger."""
    amqp_heartbeat: Annotated[int, Field(ge=1, le=600)] = 30
    """Agreed with the broker, which drops a worker that is silent for twice as long."""
    health_check_timeout: Annotated[float, Field(ge=1, le=600)] = 30
    """A thread that has not moved for this long makes the worker unhealthy."""
    graceful_shutdown_timeout: Annotated[float, Field(ge=1, le=86_400)] = 300
    """From SIGTERM to the moment at which the orchestrator kills."""
    job_timeout: Annotated[float, Field(ge=1, le=86_400)] = 1800
    job_max_retries: Annotated[int, Field(ge=0, le=20)] = 3
    job_retry_delay: Annotated[int, Field(ge=1, le=3600)] = 5
    """Before the first further attempt; four times as long before each later one."""
    max_jobs: Annotated[int, Field(ge=1)] | None = None
    """Leave after this many jobs, where the orchestrator starts a worker per job; default never."""
    job_status_ttl: Annotated[int, Field(ge=60, le=31_536_000)] = 7 * 86_400
    """For how long the ledger keeps a job's status after its last change."""
    interruption_notice: Annotated[str, checked(_read_notice)] | None = None
    """A file that appears, or a URL that answers 200, when the host is about to be shut down."""
    interruption_grace: Annotated[float, Field(ge=1, le=3600)] = 110
    """From that notice to the end of the host."""
    themes: Path | None = None
    """A folder of theme folders, looked through before the shipped one."""
    render_threads: Annotated[int, Field(ge=1, le=64)] = 2
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("result_queue")
    @classmethod
    def _another(cls, value: str, info: ValidationInfo) -> str:
        jobs = info.data.get("job_queue")
        if value == jobs or value.startswith((f"{jobs}.dead", f"{jobs}.retry.")):
            raise ValueError(f"another queue than JOB_QUEUE ({jobs}) and those that belong to it")
        return value


def load_settings(environ: Mapping[str, str] | None = None) -> WorkerSettings:
    """The settings of this process. Raises ConfigError."""
    env = os.environ if environ is None else environ
    return load(WorkerSettings, environ=env, base=_section(env), base_name="worker")


def _section(env: Mapping[str, str]) -> dict[str, Any]:
    path = env.get("SCALING_CONFIG")
    return section_of(read_yaml(Path(path)), "worker") if path else {}
