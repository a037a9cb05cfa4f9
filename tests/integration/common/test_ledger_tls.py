"""Redis by TLS with a private authority, for each program alike."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from common.errors import ConfigError
from common.ledger import Ledger, LedgerError, LedgerSettings
from common.settings import load
from demo.ports import free_ports
from exporter.settings import ExporterSettings
from scaler.run import RunSettings
from tests.support.waiting import until
from worker.settings import WorkerSettings

pytestmark = pytest.mark.integration
PASSWORD = "QZXJKV secret"
PROGRAMS = [WorkerSettings, ExporterSettings, RunSettings]


@dataclass(frozen=True)
class Secured:
    """A Redis that speaks TLS alone and asks for certificate and password."""

    url: str
    authority: trustme.CA
    folder: Path

    def issue(self, authority: trustme.CA) -> None:
        """Put a client certificate where programs look, as rotation does."""
        leaf = authority.issue_cert("client")
        for name, blob in (
            ("client.key", leaf.private_key_pem.bytes()),
            ("client.pem", b"".join(one.bytes() for one in leaf.cert_chain_pems)),
        ):
            beside = self.folder / f"{name}.new"
            beside.write_bytes(blob)
            os.replace(beside, self.folder / name)

    def environment(self) -> dict[str, str]:
        return {
            "RABBIT_URL": "amqp://broker",
            "REDIS_URL": self.url,
            "REDIS_PASSWORD_FILE": str(self.folder / "password"),
            "REDIS_CA_FILE": str(self.folder / "ca.pem"),
            "REDIS_CERT_FILE": str(self.folder / "client.pem"),
            "REDIS_KEY_FILE": str(self.folder / "client.key"),
        }


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder, authority = tmp_path_factory.mktemp("redis-tls"), trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (folder / "server.pem").write_bytes(b"".join(one.bytes() for one in server.cert_chain_pems))
    (folder / "server.key").write_bytes(server.private_key_pem.bytes())
    (folder / "password").write_text(f"{PASSWORD}\n")
    [port] = free_ports(1)
    options = (
        f"--bind 127.0.0.1 --port 0 --tls-port {port} --tls-auth-clients yes --dir {folder}"
        f" --tls-cert-file {folder}/server.pem --tls-key-file {folder}/server.key"
        f" --tls-ca-cert-file {folder}/ca.pem"
    )
    command = ["redis-server", *options.split(), "--save", "", "--requirepass", PASSWORD]
    made = Secured(f"rediss://127.0.0.1:{port}/0", authority, folder)
    made.issue(authority)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: said(made.environment()) == "", explain=lambda: said(made.environment()))
        yield made
    finally:
        process.terminate()
        process.wait()


def said(environ: dict[str, str], model: type[LedgerSettings] = RunSettings) -> str:
    """What is wrong with a ledger of these settings; "" where it answers."""
    ledger = Ledger.of(load(model, environ=environ), timeout_s=30.0)
    try:
        ledger.now()
    except LedgerError as error:
        return str(error)
    finally:
        ledger.close()
    return ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_reaches_it(secured: Secured, program: type[LedgerSettings]) -> None:
    assert said(secured.environment(), program) == ""


def test_what_is_missing_is_missed(secured: Secured, tmp_path: Path) -> None:
    env = secured.environment()
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(trustme.CA().cert_pem.bytes())
    assert "CERTIFICATE_VERIFY_FAILED" in said(env | {"REDIS_CA_FILE": str(stranger)})
    assert "CERTIFICATE_VERIFY_FAILED" in said(env | {"REDIS_CA_FILE": ""})
    assert said(env | {"REDIS_CERT_FILE": "", "REDIS_KEY_FILE": ""})
    assert "AuthenticationError" in said(env | {"REDIS_PASSWORD_FILE": ""})
    wrong = said(env | {"REDIS_PASSWORD_FILE": "", "REDIS_PASSWORD": "QZXJKV wrong"})
    assert "AuthenticationError" in wrong
    assert "QZXJKV" not in wrong


def test_another_certificate_is_shown_once_it_is_there(secured: Secured) -> None:
    ledger = Ledger.of(load(RunSettings, environ=secured.environment()), timeout_s=30.0)
    try:
        assert ledger.now()
        secured.issue(trustme.CA())
        assert ledger.now(), "the connection stands"
        ledger._redis.connection_pool.disconnect()
        with pytest.raises(LedgerError):
            ledger.now()
        secured.issue(secured.authority)
        assert ledger.now()
    finally:
        secured.issue(secured.authority)
        ledger.close()


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_does_not_go_together_is_refused(
    secured: Secured, program: type[LedgerSettings], tmp_path: Path
) -> None:
    env = secured.environment()
    for change, words in (
        ({"REDIS_URL": "redis://127.0.0.1:9"}, r"REDIS_URL: \(not shown\).*rediss://, since"),
        ({"REDIS_URL": "rediss://:QZXJKV@h"}, r"REDIS_PASSWORD: \(not shown\)"),
        ({"REDIS_CA_FILE": str(tmp_path / "away")}, "REDIS_CA_FILE.*no such file"),
        ({"REDIS_CERT_FILE": ""}, "REDIS_KEY_FILE.*beside REDIS_CERT_FILE"),
        ({"REDIS_KEY_FILE": env["REDIS_CA_FILE"]}, "REDIS_CERT_FILE.*with its key"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            Ledger.of(load(program, environ=env | change))
        assert "QZXJKV" not in str(caught.value)
