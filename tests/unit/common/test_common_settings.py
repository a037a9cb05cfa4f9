"""Settings: what wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, SecretStr

from common.errors import ConfigError
from common.settings import Settings, load, or_exit, read_yaml


class Sample(Settings):
    max_workers: Annotated[int, Field(ge=1)] = 10
    redis_url: SecretStr = SecretStr("redis://none")


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
