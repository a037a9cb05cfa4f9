"""Secrets: however they come, they are read alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from common.errors import ConfigError
from common.outgoing import ClientPolicy
from common.secret_files import MAX_SECRET_BYTES, read_secret
from common.settings import Settings, load, variables
from tests.support.settings_classes import required, secrets_of, settings_classes

AROUND = [
    ("", ""), ("", "\n"), ("", "\r\n"), ("", "\r"), ("", "\n\n"), ("", "\r\n\r\n"), ("  ", " \t"),
    ("\ufeff", "\n"), ("\ufeff\n", "\ufeff"), ("\u00a0", "\u2028"), ("\x0b", "\x0c\x85"),
]  # fmt: skip


class Held(Settings):
    a_token: SecretStr | None = None
    b_token: SecretStr | None = None
    plain: str = ""


def held(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


@pytest.mark.parametrize(("before", "after"), AROUND)
def test_what_is_around_a_secret_is_no_part_of_it(tmp_path: Path, before: str, after: str) -> None:
    given = f"{before}in side é{after}"
    (tmp_path / "a-token").write_bytes(given.encode())
    ways: list[dict[str, str]] = [
        {"A_TOKEN": given},
        {"A_TOKEN_FILE": str(tmp_path / "a-token")},
        {"SECRETS_DIR": str(tmp_path)},
    ]
    for environ in ways:
        assert held(load(Held, environ=environ).a_token) == "in side é"
    assert held(load(Held, environ={}, base={"a_token": given}).a_token) == "in side é"
    (tmp_path / "plain").write_bytes(given.encode())
    assert load(Held, environ={"PLAIN_FILE": str(tmp_path / "plain")}).plain == "in side é"


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        (b"", "something but white space"),
        (b"\xef\xbb\xbf \r\n", "something but white space"),
        (b"a\nb", "no control characters"),
        (b"a\0b", "no control characters"),
        ("a\x85b".encode(), "no control characters"),
        (b"a\xff", "in UTF-8"),
        ("abc\n".encode("utf-16"), "in UTF-8"),
        (b"a" * (MAX_SECRET_BYTES + 1), "at most 65536 bytes"),
    ],
)
def test_what_can_t_be_a_secret_is_refused_alike(
    tmp_path: Path, content: bytes, allowed: str
) -> None:
    path = tmp_path / "a_token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=allowed) as caught:
        read_secret("A_TOKEN_FILE", path)
    assert caught.value.field == "A_TOKEN_FILE"
    for environ in ({"A_TOKEN_FILE": str(path)}, {"SECRETS_DIR": str(tmp_path)}):
        with pytest.raises(ConfigError, match=allowed):
            load(Held, environ=environ)


def test_an_empty_variable_is_none_and_one_of_white_space_is_refused() -> None:
    assert load(Held, environ={"A_TOKEN": "", "A_TOKEN_FILE": ""}).a_token is None
    with pytest.raises(ConfigError, match=r"A_TOKEN: .*something but white space"):
        load(Held, environ={"A_TOKEN": " \t"})


def test_a_folder_or_nothing_is_no_secret(tmp_path: Path) -> None:
    for path, said in ((tmp_path, "Is a directory"), (tmp_path / "x", "No such file")):
        with pytest.raises(ConfigError, match=said) as caught:
            load(Held, environ={"A_TOKEN_FILE": str(path)})
        assert str(path) in str(caught.value)
    with pytest.raises(ConfigError, match="at most"):
        load(Held, environ={"A_TOKEN_FILE": "/dev/zero"})


def test_a_folder_of_secrets_sets_what_no_variable_sets(tmp_path: Path) -> None:
    # As Kubernetes mounts them: each file is a link into a folder that is a link.
    real = tmp_path / "..2026_11_24"
    real.mkdir()
    (tmp_path / "..data").symlink_to(real.name)
    for name, value in {
        "a-token": "from-a",
        "B_TOKEN": "from-b",
        "plain": "no",
        "other": "",
    }.items():
        (real / name).write_text(value)
        (tmp_path / name).symlink_to(f"..data/{name}")
    environ = {"SECRETS_DIR": str(tmp_path)}
    taken = load(Held, environ=environ, base={"a_token": "of-the-file"})
    assert (held(taken.a_token), held(taken.b_token), taken.plain) == ("from-a", "from-b", "")
    assert variables(Held, environ)[1]["a_token"] == "SECRETS_DIR/a-token"
    assert held(load(Held, environ={**environ, "A_TOKEN": "mine"}).a_token) == "mine"


def test_a_folder_of_secrets_is_there_and_says_each_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SECRETS_DIR.*a readable folder"):
        load(Held, environ={"SECRETS_DIR": str(tmp_path / "none")})
    for name in ("a-token", "a_token"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ConfigError, match="one of a-token and a_token"):
        load(Held, environ={"SECRETS_DIR": str(tmp_path)})


def test_what_a_client_carries_comes_from_the_folder_too(tmp_path: Path) -> None:
    token = tmp_path / "prometheus-bearer-token"
    token.write_text("\ufefffirst\r\n")
    environ = {"SECRETS_DIR": str(tmp_path), "PROMETHEUS_HEADERS": " X-Tenant: a\n"}
    policy = ClientPolicy("PROMETHEUS", environ)
    assert policy.headers == {"X-Tenant": "a", "Authorization": "Bearer first"}
    token.write_text("second of another length")
    assert policy.headers["Authorization"] == "Bearer first", "that is no token"
    token.write_text("second")
    assert policy.headers["Authorization"] == "Bearer second"
    assert ClientPolicy("GATEWAY", environ).headers == {}


@pytest.mark.parametrize("model", settings_classes(), ids=lambda model: model.__name__)
def test_every_secret_of_every_program_is_read_so(model: type[Settings], tmp_path: Path) -> None:
    sound = {"management_url": "http://u:p@h", "http_basic_auth": "user:password"}
    sound |= {"basic_auth": "user:password", "headers": "X-Tenant: a", "proxy_url": "http://p:1"}
    sound["http_basic_auth_bcrypt"] = f"user:$2b$05${'a' * 53}"
    for field in secrets_of(model):
        value = required(model).get(field.upper()) or sound.get(field, "0123456789-abcdef")
        path = tmp_path / field
        path.write_bytes(b"\xef\xbb\xbf" + value.encode() + b"\r\n\r\n")
        rest = {name: text for name, text in required(model).items() if name != field.upper()}
        got = load(model, environ={**rest, f"{field.upper()}_FILE": str(path)})
        assert held(getattr(got, field)) == value
        path.write_text("\n")
        os.utime(path)
        with pytest.raises(ConfigError, match="white space"):
            load(model, environ={**rest, f"{field.upper()}_FILE": str(path)})
