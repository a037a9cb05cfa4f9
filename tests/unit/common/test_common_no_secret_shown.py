"""A secret given in any wrong way is in nothing that a program says about it."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, field_validator

from common.errors import ConfigError
from common.settings import Settings, load, or_exit
from exporter.__main__ import settings as exporter_settings
from exporter.thresholds import read_alert_settings
from scaler.config.load import load_config
from scaler.config.origin import in_force
from tests.support.settings_classes import GIVEN, required, secrets_of, settings_classes
from worker.settings import load_settings

ROOT = Path(__file__).resolve().parents[3]
MARKER = "Hunter2'Marker0Secret"
NUMBER = 91_827_364_554
CLASSES = settings_classes()
FIELDS = [(model, field) for model in CLASSES for field in secrets_of(model)]
SECRETS = sorted({field for _, field in FIELDS})
IDS = [f"{model.__name__}.{field}" for model, field in FIELDS]


def told(act: Callable[[], object], marker: str = MARKER, *, refused: bool = False) -> str:
    """What is said by a refusal, with its traceback; "" where there was none."""
    try:
        act()
    except ConfigError as error:
        said = "".join((str(error), repr(error), repr(error.value), error.field, error.allowed))
        said += "".join(traceback.format_exception(error))
    else:
        assert not refused
        said = ""
    for piece in (marker, marker[:9], marker[-9:], str(NUMBER)):
        assert piece not in said, said
    return said


def test_there_are_secrets_to_hide() -> None:
    assert len(SECRETS) >= 10
    assert {"gateway_token", "http_basic_auth_bcrypt", "rabbit_url", "redis_url"} <= set(SECRETS)


@pytest.mark.parametrize(
    "end", ["", "\x00", "\nsecond line", "\x1b[2J", "\ud800", " ", "\\", "\x7f"]
)
@pytest.mark.parametrize(("model", "field"), FIELDS, ids=IDS)
def test_by_its_variable(model: type[Settings], field: str, end: str) -> None:
    for text in (MARKER + end, MARKER[:9] + end, f"http://user:{MARKER}{end}@host:99999/"):
        told(partial(load, model, environ={**required(model), field.upper(): text}))


FILES: dict[str, bytes] = {
    "two lines": f"{MARKER}\n{MARKER}".encode(),
    "no UTF-8": MARKER.encode() + b"\xff",
    "UTF-16": MARKER.encode("utf-16"),
    "NUL": MARKER.encode() + b"\0x",
    "too large": MARKER.encode() * 10_000,
    "short": MARKER[:9].encode(),
}


@pytest.mark.parametrize("content", FILES)
@pytest.mark.parametrize(("model", "field"), FIELDS, ids=IDS)
def test_by_its_file(tmp_path: Path, model: type[Settings], field: str, content: str) -> None:
    (tmp_path / field).write_bytes(FILES[content])
    known = {n: v for n, v in required(model).items() if n != field.upper()}
    said = told(
        lambda: load(model, environ={**known, f"{field.upper()}_FILE": str(tmp_path / field)})
    )
    assert said or content == "short"
    told(lambda: load(model, environ={**known, "SECRETS_DIR": str(tmp_path)}))


@pytest.mark.parametrize("begin", ["", "/", "./", "sub/", "redis://:"])
@pytest.mark.parametrize(("model", "field"), FIELDS, ids=IDS)
def test_in_place_of_its_file(model: type[Settings], field: str, begin: str) -> None:
    by_file = {f"{field.upper()}_FILE": begin + MARKER}
    known = {n: v for n, v in required(model).items() if n != field.upper()}
    told(lambda: load(model, environ={**known, **by_file}), refused=True)
    plain = {field.upper(): MARKER + MARKER}
    told(lambda: load(model, environ={**known, **plain, **by_file}), refused=True)
    told(lambda: load(model, environ={**known, "SECRETS_DIR": begin + MARKER}), refused=True)


WRONG: dict[str, Any] = {
    "text": MARKER,
    "number": NUMBER,
    "fraction": NUMBER + 0.5,
    "list": [MARKER],
    "mapping": {"value": MARKER},
    "key": {MARKER: 1},
    "both": {MARKER: [{MARKER: NUMBER}]},
    "deep": [[[[{MARKER: MARKER}]]]],
    "URL": f"redis://user:{MARKER}@host:bad/",
    "lines": f"{MARKER}\n{MARKER}\n",
}


def names(field: str) -> list[str]:
    """The field's name and what it may be mistaken for."""
    camel = field.title().replace("_", "")
    return [field, field.upper(), camel, field[:-1], f"{field}s", f"{field}_file", f"x-{field}"]


def places(name: str, value: Any) -> Iterator[Any]:
    """A whole file with `name: value` at some place of it."""
    here = {name: value}
    yield here
    for section in ("scaling", "worker", "targets", "thresholds", "slo", name):
        yield {section: here}
        yield {section: [here]}
    yield {"scaling": {"min_workers": here}}
    yield {"scaling": {"schedules": [here]}}
    yield {"scaling": {"schedules": here}}
    yield {"worker": {"heartbeat_interval": here}}
    yield {"targets": [{"name": "a", **here}]}
    yield {"targets": [{"name": here}]}
    yield {"targets": [{"name": "a", "pools": [here]}]}
    yield {"targets": [{"name": "a", "service": here}]}
    yield {"prometheus_url": here, "orchestrator": [here]}
    yield [here]
    yield [name, value]


def read_by_all(path: Path) -> None:
    """What is said of the file by every program that reads it, and of what becomes of it."""
    env = {**GIVEN, "SCALING_CONFIG": str(path)}

    def scaler_reads() -> None:
        for each in in_force(load_config(path, env), path, env):
            if isinstance(each, ConfigError):
                raise each
            assert MARKER not in each.value

    told(scaler_reads)
    told(lambda: exporter_settings(env))
    told(lambda: load_settings(env))
    told(lambda: read_alert_settings(path))


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("field", SECRETS)
def test_in_a_file(tmp_path: Path, field: str, wrong: str) -> None:
    path = tmp_path / "scaling-config.yml"
    seen = set()
    for name in names(field) if wrong in ("text", "number") else [field]:
        for content in places(name, WRONG[wrong]):
            text = yaml.safe_dump(content)
            if text not in seen:
                seen.add(text)
                path.write_text(text)
                read_by_all(path)


BROKEN = [
    "{field}: {marker}: x",
    "{field}:{marker}",
    "scaling:\n  {field}:{marker}",
    "scaling:\n  min_workers: 1\n    {field}:{marker}",
    "worker:\n  heartbeat_interval: 1\n    {field}:{marker}",
    "targets:\n  - {field}:{marker}",
    "prometheus_url: http://host\n  {field}:{marker}",
    "{field}: x\n{field}: {marker}",
    "{marker}: 1\n{marker}: 2",
    '{field}: "{marker}',
    "{field}: 'a'{marker}'",
    "{field}: !{marker} x",
    "{field}: *{marker}",
    "{field}: &{marker} [",
    "{field}: |{marker}",
    "{field}: {{{{ {marker} }}}}",
    "{field}: @{marker}",
    "{field}: {marker}\n---\n{field}: {marker}",
    "{marker}",
    "- {field} {marker}",
    "%{marker} 1\n---\n",
    "? {field}: {marker}\n: 1",
    "{field}: \x01{marker}",
    "<<: {marker}",
    "scaling: {{<<: {marker}}}",
    "targets: [{{name: a, orchestrator: 'redis://:{marker}@x'}}]",
    "grpc_port: 'redis://:{marker}@x'",
    "scaling: {{min_workers: '{field} {marker}'}}",
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("field", SECRETS)
def test_in_a_file_that_is_no_yaml(tmp_path: Path, field: str, text: str) -> None:
    for marker in (MARKER.replace("'", ""), MARKER):
        path = tmp_path / "scaling-config.yml"
        path.write_text(text.format(field=field, marker=marker))
        read_by_all(path)


@pytest.mark.parametrize("begin", ["", "scaling:\n  gateway_token: ", "gateway_token: ", "/"])
def test_in_place_of_the_files_path(begin: str) -> None:
    env = {**GIVEN, "SCALING_CONFIG": begin + MARKER}
    told(lambda: load_config(None, env), refused=True)
    told(lambda: exporter_settings(env), refused=True)
    told(lambda: load_settings(env), refused=True)


@pytest.mark.parametrize("name", ["HTTP_TLS_KEY_FILE", "RABBIT_KEY_FILE", "REDIS_KEY_FILE"])
def test_a_key_in_place_of_its_file(name: str) -> None:
    for model in CLASSES:
        key = f"-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----"
        told(partial(load, model, environ={**required(model), name: key}))


class Careless(Settings):
    """With validators that say what they should not, or fail as nobody foresaw."""

    spell: SecretStr | None = None
    plain: str = ""

    @field_validator("spell")
    @classmethod
    def _quotes(cls, value: SecretStr | None) -> SecretStr | None:
        raise ValueError(f"not {value.get_secret_value() if value else value}")

    @field_validator("plain")
    @classmethod
    def _fails(cls, value: str) -> str:
        raise TypeError(f"{value} is no number")


@pytest.mark.parametrize("field", ["spell", "plain"])
def test_that_a_careless_validator_quotes(field: str) -> None:
    told(lambda: load(Careless, environ={field.upper(): MARKER}), refused=True)
    told(lambda: load(Careless, environ={}, base={field: MARKER}), refused=True)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SECRETS),
    st.recursive(
        st.sampled_from([MARKER, NUMBER, f"amqp://u:{MARKER}@h", None, True, 7]),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(
                st.sampled_from([MARKER, "min_workers", "name", "targets", *SECRETS[:5]]),
                x,
                max_size=3,
            )
        ),
        max_leaves=6,
    ),
    st.lists(
        st.sampled_from(
            ["scaling", "worker", "targets", "schedules", "pools", "value", 0, *SECRETS]
        ),
        max_size=4,
    ),
)
def test_anywhere(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any, way: list[str | int]
) -> None:
    content: Any = {field: value}
    for step in reversed(way):
        content = [content] if step == 0 else {step: content}
    path = tmp_path_factory.getbasetemp() / "anywhere.yml"
    path.write_text(yaml.safe_dump(content))
    read_by_all(path)
    if isinstance(content, dict):
        for model in CLASSES:
            environ = required(model)
            told(partial(load, model, environ=environ, base=content, base_name="file"))


def test_what_nobody_foresaw_ends_in_one_line_without_its_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> None:
        raise LookupError(MARKER)

    with pytest.raises(SystemExit) as caught:
        or_exit(fails)
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert said.startswith("internal error: LookupError at ")
    assert said.count("\n") == 1
    assert MARKER not in said


LOGGED = """
from common import logs
from common.settings import Settings
from pydantic import BaseModel, SecretStr
class Ours(Settings):
    token: SecretStr
    port: int = 1
class Theirs(BaseModel):
    port: int
logs.configure("test", terminal=%s)
for model in (Ours, Theirs):
    try:
        model.model_validate({"port": "MARKER", "token": ["MARKER"]})
    except ValueError as error:
        logs.get("c").exception("failed", error=error)
try:
    raise OSError("no answer from redis://user:MARKER@host:1/0 and http://MARKER@h")
except OSError as error:
    logs.get("c").exception("failed", error=repr(error), url="amqp://u:MARKER@h")
import threading
def dies(): Theirs.model_validate({"port": "MARKER"})
thread = threading.Thread(target=dies)
thread.start()
thread.join()
dies()
"""


@pytest.mark.parametrize("terminal", [False, True])
def test_no_log_line_shows_one(terminal: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGED % terminal],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "MARKER" not in "\n".join(
        line for line in done.stderr.splitlines() if "File" not in line
    )
    assert done.stderr.count("uncaught exception") == 2


STARTS: dict[str, tuple[list[str], Mapping[str, str]]] = {
    "scaler run": (["scaler", "run"], {"HTTP_ACT_TOKEN": "{marker}"}),
    "scaler run, file": (["scaler", "run"], {"SCALING_CONFIG": "{file}"}),
    "check-config": (["scaler", "check-config"], {"HTTP_BASIC_AUTH_BCRYPT": "admin:{marker}"}),
    "check-config, file": (["scaler", "check-config"], {"SCALING_CONFIG": "{file}"}),
    "status": (["scaler", "status"], {"SCALER_TOKEN": "{marker}\x1b"}),
    "exporter": (["exporter"], {"HTTP_BASIC_AUTH": "{marker}"}),
    "exporter, file": (["exporter"], {"SCALING_CONFIG": "{file}"}),
    "worker": (["worker", "run"], {"REDIS_URL": "redis://:{marker}"}),
    "worker, file": (["worker", "run"], {"SCALING_CONFIG": "{file}"}),
    "gateway": (["scaler.gateway"], {"GATEWAY_TOKEN": "{marker}"}),
    "gateway, key": (["scaler.gateway"], {"DOCKER_HOST": "tcp://u:{marker}@x:1"}),
}


@pytest.mark.parametrize("start", STARTS)
def test_a_program_that_is_really_started_shows_none(tmp_path: Path, start: str) -> None:
    marker = "Hunter2'Pw"
    file = tmp_path / "scaling-config.yml"
    file.write_text(f'worker: [1]\ngateway_token: {{value: "{marker}"}}\ngateway_token: {marker}\n')
    words, wrong = STARTS[start]
    env = {
        **GIVEN,
        **{name: text.format(marker=marker, file=file) for name, text in wrong.items()},
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "HISTORY_PATH": str(tmp_path / "history"),
    }
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert said.count("\n") == 1
    assert marker not in said
    assert "Hunter2" not in said
