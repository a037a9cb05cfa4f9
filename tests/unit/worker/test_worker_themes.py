"""Themes are checked when they are loaded; jobs against them before anything is rendered."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from worker.jobs import InvalidJobError, Job
from worker.settings import load_settings
from worker.video.themes import Catalogue, Theme

REQUIRED = {"RABBIT_URL": "amqp://localhost/", "REDIS_URL": "redis://localhost/"}


def job(theme: str, speaker: str) -> Job:
    turns = [{"speaker": "ruby", "text": "Hi."}, {"speaker": speaker, "text": "Hi."}]
    return Job.model_validate(
        {"job_id": "j", "title": "", "character_theme": theme, "turns": turns}
    )


def test_the_shipped_themes_load() -> None:
    catalogue = Catalogue.load()
    catalogue.check(job("meadow", "finn"))
    assert set(catalogue.theme(job("meadow", "finn")).speakers) == {"ruby", "finn"}


@pytest.mark.parametrize(
    ("theme", "speaker", "message"),
    [
        ("mars", "finn", "character_theme: 'mars' is not allowed; allowed: one of meadow, orbit"),
        ("meadow", "bo", "turns.1.speaker: 'bo' is not allowed; allowed: one of finn, ruby"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_known(
    theme: str, speaker: str, message: str
) -> None:
    with pytest.raises(InvalidJobError, match=message) as caught:
        Catalogue.load().check(job(theme, speaker))
    assert caught.value.job_id == "j"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("title: x\nspeakers: {}", "speakers"),
        ("title: x\nspeakers: {a: {sprite: none.png}}", "speakers.a.sprite"),
        ("title: x\nspeakers: {a: {sprite: ../theme.yaml}}", "speakers.a.sprite"),
        ("title: x\nspeakers: {a: {sprite: theme.yaml, x: 2}}", "speakers.a.x"),
        ("title: x\ncolour: red\nspeakers: {a: {sprite: theme.yaml}}", "colour"),
        ("title: x\ncaptions: {colour: red}\nspeakers: {a: {sprite: theme.yaml}}", "captions"),
    ],
)
def test_a_theme_that_cannot_be_used_is_refused_by_field(
    tmp_path: Path, text: str, field: str
) -> None:
    (tmp_path / "theme.yaml").write_text(text)
    with pytest.raises(ConfigError, match=field):
        Theme.load(tmp_path)


def test_ones_own_theme_wins_over_a_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "meadow"
    folder.mkdir()
    (folder / "theme.yaml").write_text("title: x\nspeakers: {ruby: {sprite: theme.yaml}}")
    catalogue = Catalogue.load(tmp_path)
    with pytest.raises(InvalidJobError, match="one of ruby"):
        catalogue.check(job("meadow", "finn"))


def test_settings_of_the_file_lie_under_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text(
        "worker:\n  graceful_shutdown_timeout: 60\n  heartbeat_interval: 5\n"
        "  health_check_timeout: 30\n"
    )
    environ = {**REQUIRED, "SCALING_CONFIG": str(path), "HEARTBEAT_INTERVAL": "7"}
    settings = load_settings(environ)
    assert settings.graceful_shutdown_timeout == 60
    assert settings.heartbeat_interval == 7
    path.write_text("worker: {job_timeout: never}")
    with pytest.raises(ConfigError, match=r"worker\.job_timeout: 'never'"):
        load_settings(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_ID", "a b"),
        ("JOB_MAX_RETRIES", "-1"),
        ("INTERRUPTION_NOTICE", "ftp://x"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_settings({**REQUIRED, name: value})
