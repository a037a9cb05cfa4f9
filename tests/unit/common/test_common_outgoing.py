"""Settings of outgoing connections: taken, refused without showing anything, read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme

from common.errors import ConfigError
from common.http_client import HttpClient
from common.outgoing import ClientPolicy, RouteSettings

SECRET = "QZXJKV-secret"


def policy(**settings: str) -> ClientPolicy:
    return ClientPolicy("PROMETHEUS", {f"PROMETHEUS_{k}": v for k, v in settings.items()})


def refusal(**settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        policy(**settings)
    return str(caught.value)


def test_headers_are_names_with_values() -> None:
    given = policy(HEADERS=" X-Scope-OrgID: team-a|team-b ;X-Two:2; ")
    assert given.headers == {"X-Scope-OrgID": "team-a|team-b", "X-Two": "2"}
    assert policy().headers == {}
    assert policy(HEADERS="Authorization: Token abc").headers == {"Authorization": "Token abc"}


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (SECRET, "Name: value, several with ; between them"),
        (f"X-A {SECRET}", "Name: value"),
        (f"X A: {SECRET}", "Name: value"),
        (f": {SECRET}", "Name: value"),
        ("X-A:", "Name: value"),
        (f"X-A: ü{SECRET}", "in ASCII"),
        (f"X-A: {SECRET}; x-a: {SECRET}", "each name once (x-a is there twice)"),
        (f"Host: {SECRET}", "but not for Host, which is the client's own"),
        (f"content-length: {SECRET}", "but not for content-length"),
        (f"X-A: {SECRET}\r\nX-B: 1", "no control characters"),
    ],
)
def test_what_is_no_header_is_refused_and_not_shown(given: str, allowed: str) -> None:
    said = refusal(HEADERS=given)
    assert said.startswith("PROMETHEUS_HEADERS: (not shown) is not allowed; allowed: ")
    assert allowed in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("BEARER_TOKEN", f"{SECRET} {SECRET}", "a token of ASCII characters without spaces"),
        ("BEARER_TOKEN", f"{SECRET}ü", "a token of ASCII"),
        ("BASIC_AUTH", SECRET, "user:password"),
        ("PROXY_URL", f"http://user:{SECRET}@proxy", "http://[user:password@]host:port"),
        ("PROXY_URL", f"https://user:{SECRET}@proxy:1", "http://"),
        ("PROXY_URL", f"http://user:{SECRET}@proxy:1/path", "http://"),
        ("PROXY_URL", f"socks5://user:{SECRET}@proxy:1", "http://"),
    ],
)
def test_other_settings_are_refused_and_not_shown(name: str, given: str, allowed: str) -> None:
    said = refusal(**{name: given})
    assert said.startswith(f"PROMETHEUS_{name}: (not shown) is not allowed; allowed: ")
    assert allowed in said
    assert SECRET not in said


def test_there_is_one_way_to_say_who_asks() -> None:
    said = refusal(BEARER_TOKEN=SECRET, BASIC_AUTH=f"user:{SECRET}")
    assert "only one of PROMETHEUS_BEARER_TOKEN and PROMETHEUS_BASIC_AUTH" in said
    said += refusal(HEADERS=f"authorization: {SECRET}", BEARER_TOKEN=SECRET)
    assert "only one of PROMETHEUS_HEADERS and PROMETHEUS_BEARER_TOKEN" in said
    for settings in ({"BEARER_TOKEN": SECRET}, {"HEADERS": f"Authorization: Token {SECRET}"}):
        with pytest.raises(
            ConfigError, match=r"PROMETHEUS_URL.*either in it or in other"
        ) as caught:
            HttpClient("Prometheus", f"http://user:{SECRET}@host", policy(**settings))
        said += str(caught.value)
    assert SECRET not in said


def test_only_its_own_variables_count() -> None:
    env = {
        "MANAGEMENT_BEARER_TOKEN": "a",
        "PROMETHEUS_BEARER_TOKEN": "b",
        "BEARER_TOKEN": "c",
        "GATEWAY_BEARER_TOKEN": "d",
    }
    assert ClientPolicy("PROMETHEUS", env).headers == {"Authorization": "Bearer b"}
    assert ClientPolicy("GATEWAY", env, RouteSettings).headers == {}


def test_a_folder_of_secrets_counts_too(tmp_path: Path) -> None:
    for name in ("prometheus-bearer-token", "management_basic_auth"):
        (tmp_path / name).write_text("user:word\n")
    env = {"SECRETS_DIR": str(tmp_path)}
    given = ClientPolicy("PROMETHEUS", env)
    assert given.headers == {"Authorization": "Bearer user:word"}
    replace(tmp_path / "prometheus-bearer-token", b"second")
    assert given.headers == {"Authorization": "Bearer second"}
    env["PROMETHEUS_BEARER_TOKEN"] = "third"
    assert ClientPolicy("PROMETHEUS", env).headers == {"Authorization": "Bearer third"}
    assert "Basic" in ClientPolicy("MANAGEMENT", env).headers["Authorization"]
    assert ClientPolicy("GATEWAY", env).headers == {}


def test_files_for_tls_are_checked_at_the_start(tmp_path: Path) -> None:
    ca, leaf = trustme.CA(), trustme.CA().issue_cert("client")
    good, bad, away = tmp_path / "good", tmp_path / "bad", tmp_path / "away"
    good.write_bytes(ca.cert_pem.bytes())
    bad.write_text("no certificate")
    both = tmp_path / "both"
    both.write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    assert policy(CA_FILE=str(good), CERT_FILE=str(both)).about_tls
    assert not policy().about_tls
    assert "PROMETHEUS_CA_FILE" in refusal(CA_FILE=str(away))
    assert "(no such file or directory)" in refusal(CA_FILE=str(away))
    assert "a readable file of certificates in PEM (" in refusal(CA_FILE=str(bad))
    assert "PROMETHEUS_CERT_FILE" in refusal(CERT_FILE=str(good)), "a certificate without its key"
    assert "PROMETHEUS_KEY_FILE" in refusal(KEY_FILE=str(both))
    assert "beside PROMETHEUS_CERT_FILE" in refusal(KEY_FILE=str(both))


def test_a_key_that_asks_for_a_password_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    leaf = trustme.CA().issue_cert("client")
    plain = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    key, cert = tmp_path / "key", tmp_path / "cert"
    locked = BestAvailableEncryption(b"word")
    key.write_bytes(plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    cert.write_bytes(leaf.cert_chain_pems[0].bytes())
    assert "its key, not encrypted" in refusal(CERT_FILE=str(cert), KEY_FILE=str(key))


def replace(path: Path, content: bytes) -> None:
    """As mounted secrets are: another file in its place."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    os.replace(beside, path)


def test_a_token_in_a_file_is_read_again_when_that_changes(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    given = policy(BEARER_TOKEN_FILE=str(token))
    assert given.headers == {"Authorization": "Bearer first"}
    replace(token, b"second\n")
    assert given.headers == {"Authorization": "Bearer second"}
    for unfit in (b"", b"\xff\xfe", b"two\nlines\n"):
        replace(token, unfit)
        assert given.headers == {"Authorization": "Bearer second"}, "what it last said holds"
    token.unlink()
    assert given.headers == {"Authorization": "Bearer second"}
    token.write_text("third")
    assert given.headers == {"Authorization": "Bearer third"}


def test_certificates_are_read_again_when_they_change(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    given = policy(CA_FILE=str(ca))
    before = given.context()
    assert given.context() is before
    replace(ca, b"in the middle of being written")
    assert given.context() is before
    replace(ca, trustme.CA().cert_pem.bytes())
    assert given.context() is not before
