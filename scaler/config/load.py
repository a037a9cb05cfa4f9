"""The scaler's configuration: environment over `scaling-config.yml` over defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeGuard

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from common.errors import ConfigError, kind
from common.settings import Settings, load, read_yaml, section_of, validated
from common.urls import ServiceUrl
from scaler.orchestrators import backends
from scaler.policy.target import KNOBS, Knobs, Name, Target

CONFIG_VARIABLE = "SCALING_CONFIG"
_SECTIONS = ("scaling", "worker", "targets")

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ScalingSection(Knobs):
    """`scaling:` of the file: defaults of every target, and how often to look."""

    health_check_interval: Seconds = 30.0
    """The exporter's: a worker unseen for longer than this is taken for unhealthy."""
    metrics_collection_interval: Annotated[float, Field(ge=0.2, le=300, allow_inf_nan=False)] = 1.0
    """Seconds between the loop's cycles."""

    @property
    def target_defaults(self) -> dict[str, Any]:
        """The knobs that are set here, for every target that does not set them itself."""
        return {name: getattr(self, name) for name in KNOBS if name in self.model_fields_set}


_SCALING_VARIABLES = frozenset(
    name.upper()
    for name in ScalingSection.model_fields
    if name not in KNOBS or KNOBS[name].variable
)


class WorkerSection(Settings):
    """`worker:` of the file, as far as the scaler is concerned; the worker checks the rest."""

    model_config = ConfigDict(extra="ignore")

    graceful_shutdown_timeout: Seconds = 300.0
    """What a worker is given to finish its job. The orchestrators' too, from the next start on."""
    health_check_timeout: Seconds = 30.0
    """The worker's."""
    heartbeat_interval: Seconds = 10.0
    """The worker's and the exporter's."""

    @property
    def given(self) -> dict[str, Any]:
        """What is set, for backends that are told the same."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class ProgramSection(Settings):
    """The rest of the file's top level."""

    prometheus_url: ServiceUrl = "http://127.0.0.1:9090"
    """What the scaler sees, it sees through this Prometheus."""
    grpc_port: Annotated[int, Field(ge=0, le=65_535)] = 6000
    """Of the external scaler; 0 takes a free port."""
    orchestrator: str = "process"
    """Backend of the targets that name none."""
    history_path: Path = Path(".run/scaler")
    """Folder of decisions and memory."""
    metrics_retention_days: Annotated[int, Field(ge=1, le=3650)] = 7
    """How long decisions are kept."""
    dashboard_refresh_interval: Seconds = 5.0
    """Seconds between what the status page asks of Prometheus; decisions are shown at once."""
    alert_thresholds_config_path: Path | None = None
    """Read by the exporter, which turns thresholds into metrics; accepted here for one file."""

    @field_validator("orchestrator")
    @classmethod
    def _exists(cls, value: str) -> str:
        if value not in backends():
            raise ValueError(", ".join(backends()))
        return value


@dataclass(frozen=True, slots=True)
class ScalerConfig:
    """Everything that the scaler is told."""

    program: ProgramSection
    scaling: ScalingSection
    worker: WorkerSection
    targets: tuple[Target, ...]


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> ScalerConfig:
    """The configuration; `path` defaults to the variable SCALING_CONFIG, and that to no file.

    Raises ConfigError naming the field, its value and what is allowed.
    """
    env = os.environ if environ is None else environ
    if path is None and env.get(CONFIG_VARIABLE):
        path = Path(env[CONFIG_VARIABLE])
    content = read_yaml(path) if path else {}
    sections = {name: section_of(content, name) for name in ("scaling", "worker")}
    rest = {name: value for name, value in content.items() if name not in _SECTIONS}
    program = load(ProgramSection, environ=env, base=rest, base_name="(top level)")
    scaling = _scaling(sections["scaling"], scaling_variables(env))
    worker = load(WorkerSection, environ=env, base=sections["worker"], base_name="worker")
    defaults = {**scaling.target_defaults, "orchestrator": program.orchestrator}
    targets = _targets(content.get("targets"), defaults)
    return ScalerConfig(program=program, scaling=scaling, worker=worker, targets=targets)


def _scaling(section: Mapping[str, Any], env: Mapping[str, str]) -> ScalingSection:
    try:
        return load(ScalingSection, environ=env, base=section, base_name="scaling")
    except ConfigError as error:
        # What is missing is called by a variable's name, but most knobs have none.
        if error.field.isupper() and error.field.removesuffix("_FILE") not in _SCALING_VARIABLES:
            name = f"scaling.{error.field.lower()}"
            raise ConfigError(name, error.value, error.allowed) from None
        raise


def scaling_variables(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of `env` that may set something of `scaling:`."""
    return {
        name: value
        for name, value in env.items()
        if name.removesuffix("_FILE") in _SCALING_VARIABLES
    }


def _targets(given: Any, defaults: Mapping[str, Any]) -> tuple[Target, ...]:
    """One target per entry, each over `defaults`; without entries one target."""
    entries = [{}] if given is None else given
    if not isinstance(entries, list) or not entries:
        shown = kind(entries) if isinstance(entries, str) else entries
        raise ConfigError("targets", shown, "a list of one target or more")
    targets = tuple(_target(number, entry, defaults) for number, entry in enumerate(entries))
    names = [target.name for target in targets]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ConfigError(f"targets.{number}.name", name, "a name that no other target has")
    _check_pools(targets)
    _check_vhosts(targets)
    _check_services(targets)
    return targets


def _check_vhosts(targets: tuple[Target, ...]) -> None:
    """Fleets are told apart by their queues' names, in the ledger and in the metrics."""
    first: dict[str, Target] = {}
    for number, target in enumerate(targets):
        other = first.setdefault(target.queue, target)
        if other.vhost != target.vhost:
            allowed = f"{other.vhost}, where {other.name} has {other.queue}, or another queue"
            raise ConfigError(f"targets.{number}.vhost", target.vhost, allowed)


def _check_pools(targets: tuple[Target, ...]) -> None:
    """A pool's service stands for its target alone: what runs in it is told apart by its name."""
    for number, target in enumerate(targets):
        if not target.pools:
            continue
        others = [other for other in targets if other is not target]
        taken = {name: other.name for other in others for name in (other.name, *other.services)}
        for place, pool in enumerate(target.pools):
            if pool.service in taken:
                field = f"targets.{number}.pools.{place}.service"
                whose = f"a name that no other target uses, as {taken[pool.service]} does"
                raise ConfigError(field, pool.service, whose)


def _check_services(targets: tuple[Target, ...]) -> None:
    """Where a service is a fleet, it is that of one target."""
    owners: dict[tuple[str, str], str] = {}
    for number, target in enumerate(targets):
        if not getattr(backends()[target.orchestrator], "FLEET_BY_SERVICE", False):
            continue
        for service in target.services:
            owner = owners.setdefault((target.orchestrator, service), target.name)
            if owner != target.name:
                whose = f"a service that no other target has, as {owner} has"
                raise ConfigError(f"targets.{number}.service", service, whose)


_NAME = TypeAdapter(Name)


def _is_name(given: Any) -> TypeGuard[str]:
    """Whether a target can be called so in errors; what can't be may be anything."""
    try:
        _NAME.validate_python(given, strict=True)
    except ValidationError:
        return False
    return True


def _target(number: int, entry: Any, defaults: Mapping[str, Any]) -> Target:
    if not isinstance(entry, dict):
        shown = kind(entry) if isinstance(entry, str) else entry
        raise ConfigError(f"targets.{number}", shown, "a mapping of settings")
    name = entry.get("name")
    label = ("targets", name if _is_name(name) else str(number))
    target = validated(Target, {**defaults, **entry}, label)
    if target.orchestrator not in backends():
        allowed = ", ".join(backends())
        raise ConfigError(".".join((*label, "orchestrator")), target.orchestrator, allowed)
    return target
