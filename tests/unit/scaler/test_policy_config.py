"""Configuration: its names, what comes first, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import Settings
from scaler.config.load import load_config
from scaler.orchestrators import backends, create
from scaler.orchestrators.base import Orchestrator
from scaler.policy.target import Gates, Priority, Rule

FILE = """
scaling:
  min_workers: 2
  max_workers: 12
  scale_up_threshold: 2
  scale_down_threshold: 0.5
  cooldown_period: 60
  health_check_interval: 30
  metrics_collection_interval: 15
worker:
  graceful_shutdown_timeout: 300
  health_check_timeout: 30
  heartbeat_interval: 10
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "scaling-config.yml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    config = load_config(None, {})
    (target,) = config.targets
    assert (target.name, target.queue) == ("video-creator", "video-queue")
    assert (target.min_workers, target.max_workers) == (1, 10)
    assert target.gates == Gates(None, None, None)
    assert config.scaling.health_check_interval == 30
    assert config.worker.graceful_shutdown_timeout == 300
    assert config.program.metrics_retention_days == 7
    assert config.program.dashboard_refresh_interval == 5


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, FILE), {})
    (target,) = config.targets
    assert (target.min_workers, target.max_workers) == (2, 12)
    assert target.gates == Gates(2.0, 0.5, 60.0)
    assert config.scaling.metrics_collection_interval == 15
    assert config.worker.heartbeat_interval == 10


def test_environment_over_file_over_default(tmp_path: Path) -> None:
    path = written(tmp_path, FILE)
    env = {
        "SCALING_CONFIG": str(path),
        "MAX_WORKERS": "20",
        "COOLDOWN_PERIOD": "5",
        "GRACEFUL_SHUTDOWN_TIMEOUT": "600",
        "HEALTH_CHECK_INTERVAL": "12",
        "METRICS_RETENTION_DAYS": "3",
        "PRIORITY": "fast",
        "GRPC_PORT": "0",
        "QUERY": "not ours",
    }
    config = load_config(None, env)
    (target,) = config.targets
    assert (target.min_workers, target.max_workers) == (2, 20)
    assert target.gates.cooldown_s == 5
    assert target.priority is Priority.FAST
    assert target.query is None
    assert config.worker.graceful_shutdown_timeout == 600
    assert config.scaling.health_check_interval == 12
    assert config.program.metrics_retention_days == 3
    assert config.program.grpc_port == 0


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("https://prometheus.example/\n")
    config = load_config(None, {"PROMETHEUS_URL_FILE": str(tmp_path / "url")})
    assert config.program.prometheus_url == "https://prometheus.example"


def test_a_value_from_a_file_that_is_not_allowed_is_refused_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "min").write_text("few\n")
    with pytest.raises(ConfigError, match=r"^MIN_WORKERS_FILE: '\(content\)' is not allowed"):
        load_config(None, {"MIN_WORKERS_FILE": str(tmp_path / "min")})


def test_targets_have_what_scaling_sets_and_their_own_over_it(tmp_path: Path) -> None:
    text = FILE + (
        "targets:\n"
        "  - {name: a, queue: qa, max_workers: 3}\n"
        "  - {name: b, policy: raw, query: 'sum(x)', per_worker: 2, orchestrator: dry_run}\n"
    )
    first, second = load_config(written(tmp_path, text), {"MIN_WORKERS": "3"}).targets
    assert (first.min_workers, first.max_workers, first.queue) == (3, 3, "qa")
    assert (second.min_workers, second.max_workers) == (3, 12)
    assert (second.policy, second.orchestrator) == (Rule.RAW, "dry_run")


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("", {"MIN_WORKERS": "12"}, "MAX_WORKERS: 10 is not allowed; allowed: at least min_work"),
        ("", {"MAX_WORKERS": "many"}, "MAX_WORKERS: 'many' is not allowed"),
        (
            "",
            {"ORCHESTRATOR": "no_one"},
            "ORCHESTRATOR: 'no_one' is not allowed; allowed: dry_run",
        ),
        ("", {"GRPC_PORT": "70000"}, "GRPC_PORT"),
        ("", {"PROMETHEUS_URL": "ftp://x"}, "http:// or https://host[:port]"),
        ("", {"COOLDOWN_PERIOD": "nan"}, "COOLDOWN_PERIOD"),
        ("", {"PRIORITY": "best"}, "'cheap', 'balanced' or 'fast'"),
        ("scaling: {min_workers: 20}", {}, "at least min_workers, which is 20"),
        ("scaling: {max: 3}", {}, "scaling.max: 3 is not allowed; allowed: no field of this name"),
        ("scaling: []", {}, "a mapping of settings"),
        ("worker: {heartbeat_interval: 0}", {}, "worker.heartbeat_interval: 0"),
        ("foo: 1", {}, "foo: 1 is not allowed; allowed: no field of this name"),
        ("targets: []", {}, "a list of one target or more"),
        ("targets: [3]", {}, "targets.0: 3"),
        ("targets: [{name: a}, {name: a}]", {}, "targets.1.name: 'a'"),
        ("targets: [{name: a}, {name: b, vhost: team-b}]", {}, "targets.1.vhost: 'team-b'"),
        ("targets: [{name: a, orchestrator: no_one}]", {}, "targets.a.orchestrator"),
        (
            "targets: [{name: a, orchestrator: swarm}, {name: b, orchestrator: swarm}]",
            {},
            "targets.1.service: 'video-creator' is not allowed; allowed: a service that no other "
            "target has, as a has",
        ),
        ("targets: [{name: a, policy: raw}]", {}, "targets.a.query"),
        ("targets: [{name: a, fallback: higher}]", {}, "which fallback higher needs"),
        (
            "targets: [{name: a, schedules: [{name: d, start: '0 8 *', end: '0 9 * * *', "
            "min_workers: 2}]}]",
            {},
            "targets.a.schedules.0.start: '0 8 *'",
        ),
        (
            "targets: [{name: a, schedules: [{name: d, start: '0 8 * * *', end: '0 9 * * *', "
            "timezone: Mars/Olympus, min_workers: 2}]}]",
            {},
            "an IANA time zone",
        ),
        (
            "targets: [{name: a, schedules: [{name: d, start: '0 8 * * *', end: '0 9 * * *'}]}]",
            {},
            "min_workers or max_workers, or both",
        ),
        (
            "targets: [{name: a, schedules: [{name: d, start: '0 8 * * *', end: '0 9 * * *', "
            "min_workers: 40}]}]",
            {},
            "min_workers of d at most max_workers, which is 10",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_value(
    tmp_path: Path, text: str, env: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(written(tmp_path, text), env)
    assert words in str(refused.value)


def test_backends_are_the_modules_that_are_there() -> None:
    names = backends().keys()
    assert {"process", "dry_run", "swarm"} <= names
    assert names.isdisjoint({"base", "errors", "pooled"}), "these help, and run nothing"


@pytest.mark.parametrize("name", backends())
def test_a_backend_says_what_it_is_and_what_it_is_told(name: str) -> None:
    backend = backends()[name]
    assert isinstance(create(name), Orchestrator)
    assert backend.__doc__, "the docs begin with it"
    settings = getattr(backend, "SETTINGS", None)
    assert settings is None or issubclass(settings, Settings)


POOLS = """
scaling: {max_workers: 6}
targets:
  - name: videos
    pools:
      - {service: spot, price: 0.9, max_workers: 10, pending_after: 30}
      - {service: reserved, price: 0.4, max_workers: 4}
"""


def test_pools_are_read_and_put_in_order_of_price(tmp_path: Path) -> None:
    (target,) = load_config(written(tmp_path, POOLS), {}).targets
    assert target.services == ("reserved", "spot")
    assert [pool.pending_after for pool in target.cheapest_first] == [60, 30]
    view = target.in_pool(target.cheapest_first[0])
    assert (view.name, view.service) == ("reserved", "reserved")
    assert (view.min_workers, view.max_workers) == (0, 4)


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ("price: 0.4", "price: -1", "targets.videos.pools.1.price: -1"),
        ("max_workers: 4", "max_workers: 0", "targets.videos.pools.1.max_workers: 0"),
        ("service: spot", "service: a b", "targets.videos.pools.0.service: 'a b'"),
        ("service: spot", "service: reserved", "reserved is named twice"),
        ("pending_after: 30", "pending_after: 0", "targets.videos.pools.0.pending_after: 0"),
        ("max_workers: 6", "max_workers: 15", "add up to that of the target, 15, or more; these"),
        ("price: 0.4, ", "", "targets.videos.pools.1.price"),
        ("price: 0.4", "price: 0.4, min_workers: 1", "targets.videos.pools.1.min_workers"),
    ],
)
def test_pools_that_cannot_be_are_refused(
    tmp_path: Path, was: str, becomes: str, words: str
) -> None:
    assert was in POOLS
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, POOLS.replace(was, becomes)), {})
    assert words in str(caught.value)


@pytest.mark.parametrize("other", ["{name: reserved}", "{name: other, service: spot}"])
def test_a_pool_belongs_to_one_target(tmp_path: Path, other: str) -> None:
    with pytest.raises(ConfigError, match=r"targets\.0\.pools\.\d\.service.*no other target"):
        load_config(written(tmp_path, POOLS + f"  - {other}\n"), {})
