"""docs/configuration.md and docs/scaling-config.schema.json, from the code.

`make generate` writes them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from common.http import HttpSettings
from common.outgoing import OutgoingSettings, RouteSettings
from exporter.settings import ExporterSettings
from scaler.commands.api_client import ClientSettings
from scaler.config.load import ProgramSection, ScalingSection, WorkerSection, scaling_variables
from scaler.config.schema import on_one_line, schema
from scaler.external.pod_deletion_cost import PodDeletionCostSettings
from scaler.external.settings import ExternalScalerSettings
from scaler.gateway.settings import GatewaySettings
from scaler.orchestrators import backends
from scaler.policy.target import Pool, Schedule, Target
from scaler.run import RunSettings
from scaler.web.settings import WebSettings
from worker.settings import WorkerSettings

DOCS = Path(__file__).resolve().parent
_HEAD = """# Configuration

Made from the code by `make generate`.

**Where a value comes from.** Environment over file over default; within the file, a target's own
setting over `scaling:`. The file is the one that `SCALING_CONFIG` or `--config` names;
[scaling-config.yml](../scaling-config.yml) has every setting with its default and a comment.
`autoscaler check-config` reads all that `run` reads, and shows what is in force and where each
value came from; `--changed` leaves out the defaults.

**Secrets.** Every variable `NAME` may be given as `NAME_FILE`, a file that holds the value.
`SECRETS_DIR` names a folder with a file for each secret, called like its setting (`gateway_token`
or `gateway-token`), such as `/run/secrets` of Docker or a Secret that Kubernetes mounts; a
variable wins over it. White space around a secret is no part of it; a file with nothing else is
refused. No error and no log line shows one.

**The file** is YAML 1.2: `true`, `false`, `null` and decimal numbers are such, all else is text.
A key that is there twice is refused, as are tags and a second document.

**Connections.** Every HTTP connection that a program makes goes by the settings behind the prefix
of the service that it leads to, see [Connections by HTTP](#connections-by-http), and by nothing
else: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` and a `.netrc` have no part in it. Redirects are not
followed; the error names the address that one leads to. Files that it names are read again when
they have changed, also those of tokens.

**What is not allowed** is refused at start: exit code 2 and one line with the field, its value
unless it may have a secret in it, and what is allowed.

**Reload.** A change of the file, or SIGHUP, takes effect within a cycle: targets, their knobs,
`metrics_collection_interval` and `dashboard_refresh_interval`. `prometheus_url`, `grpc_port`,
`history_path`, `metrics_retention_days` and `worker.graceful_shutdown_timeout` wait for the next
start, and the log says so. A change that is not allowed changes nothing: the log, the status page
and `autoscaler_config_last_reload_successful` tell.

**Editors.** Put `# yaml-language-server: $schema=docs/scaling-config.schema.json` into the first
line, with the path of [the schema](scaling-config.schema.json), and your editor completes and
checks. `autoscaler config-schema` prints it.

"""


def page() -> str:
    """The whole page."""
    knobs = set(scaling_variables({name.upper(): "" for name in ScalingSection.model_fields}))
    everywhere = {name.upper() for name in (*ProgramSection.model_fields, *_WORKER)}
    sections = (
        ("Top level of the file", _table(ProgramSection, everywhere)),
        ("`scaling:`, and each of `targets:`", _table(ScalingSection, knobs)),
        ("Only in `targets:`", _table(Target, set(), without=ScalingSection.model_fields)),
        ("One of `schedules:`", _table(Schedule, set())),
        ("One of `pools:`", _table(Pool, set())),
        ("`worker:`, as far as the scaler reads it", _table(WorkerSection, everywhere)),
        ("The scaler's environment alone", _variables(RunSettings, WebSettings)),
        ("Connections by HTTP", _connections()),
        ("HTTP, of every program", _variables(HttpSettings)),
        *((f"Orchestrator `{name}`", _backend(module)) for name, module in backends().items()),
        ("The gateway to the Docker socket", _variables(GatewaySettings)),
        ("The external scaler (KEDA)", _variables(ExternalScalerSettings)),
        ("Pods' deletion cost", _variables(PodDeletionCostSettings)),
        ("The exporter", _variables(ExporterSettings, without=HttpSettings.model_fields)),
        ("A worker", _variables(WorkerSettings, without=HttpSettings.model_fields)),
        ("The command line", _variables(ClientSettings, without=HttpSettings.model_fields)),
    )
    return _HEAD + "\n".join(f"## {title}\n\n{table}" for title, table in sections)


_WORKER = WorkerSection.model_fields


def files() -> dict[Path, str]:
    """The page and the schema."""
    return {
        DOCS / "configuration.md": page(),
        DOCS / "scaling-config.schema.json": json.dumps(schema(), indent=2) + "\n",
    }


def _table(model: type[BaseModel], variables: set[str], without: Iterable[str] = ()) -> str:
    rows = "| setting | default | variable | meaning |\n| --- | --- | --- | --- |\n"
    for name, default, meaning in _fields(model, without):
        variable = f"`{name.upper()}`" if name.upper() in variables else ""
        rows += f"| `{name}` | {default} | {variable} | {meaning} |\n"
    return rows


def _variables(*models: type[BaseModel], without: Iterable[str] = ()) -> str:
    rows = "| variable | default | meaning |\n| --- | --- | --- |\n"
    for model in models:
        for name, default, meaning in _fields(model, without):
            rows += f"| `{name.upper()}` | {default} | {meaning} |\n"
    return rows


def _connections() -> str:
    """What each prefix has in common."""
    rows = "| variables | meaning |\n| --- | --- |\n"
    for name, _, meaning in _fields(OutgoingSettings, ()):
        prefixes = _PREFIXES if name in RouteSettings.model_fields else _WITH_CREDENTIALS
        variables = ", ".join(f"`{prefix}_{name.upper()}`" for prefix in prefixes)
        rows += f"| {variables} | {meaning} |\n"
    return rows


_WITH_CREDENTIALS = ("PROMETHEUS", "MANAGEMENT")
_PREFIXES = (*_WITH_CREDENTIALS, "GATEWAY", "SCALER", "ELEVENLABS")
"""Of the scaler's Prometheus, the exporter's management API, the Swarm gateway as the scaler
reaches it, the scaler as its command line does, and the worker's voices."""


def _backend(module: ModuleType) -> str:
    """What a backend says of itself, and its settings."""
    about, _, _ = (inspect.getdoc(module) or "").partition("\n\n")
    settings = getattr(module, "SETTINGS", None)
    table = "It has no settings.\n" if settings is None else _variables(settings)
    return f"{about}\n\n{table}"


def _fields(model: type[BaseModel], without: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    left_out = set(without)
    for name, field in model.model_fields.items():
        if name not in left_out:
            default = "required" if field.is_required() else _default(field)
            yield name, default, on_one_line(field.description).replace("|", "\\|")


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "this machine's"
    if field.default is None or field.default == ():
        return "none"
    text = str(field.default)
    # The interpreter's own path is where the page happened to be made.
    return "this Python's `-m worker run`" if text.endswith("-m worker run") else f"`{text}`"
