"""Every client of every program against the same servers: the same outcome in the same words."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from common.errors import ConfigError
from common.outgoing import ClientPolicy, RouteSettings
from common.settings import load
from exporter.management import Management
from exporter.sources import SourceError
from scaler.commands import api_client
from scaler.external import pod_deletion_cost
from scaler.external.errors import UnknownValueError
from scaler.external.instant_queries import InstantQueries
from scaler.orchestrators.errors import OrchestratorError
from scaler.orchestrators.swarm.engine import DirectEngine
from scaler.orchestrators.swarm.gateway_engine import GatewayEngine
from scaler.prometheus.client import Prometheus, PrometheusError
from tests.support.misbehaving import (
    Authority,
    Deed,
    Misbehaving,
    answer,
    bomb,
    endless,
    misbehaving,
    mute,
    saying,
)
from worker.errors import TransientError
from worker.video import elevenlabs
from worker.video.themes import Voice

pytestmark = pytest.mark.integration
PATIENT_S, HASTY_S = 60.0, 1.0
HASTY = "did not answer within 1 s"
VECTOR = {"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "1"]}]}
SAMPLE = json.dumps({"status": "success", "data": VECTOR}).encode()
SPEECH = json.dumps(
    {"audio_base64": "AAA=", "alignment": {"character_start_times_seconds": [0.0]}}
).encode()


class Limits:
    """For how long clients wait."""

    seconds = PATIENT_S


limits = Limits()


@dataclass(frozen=True)
class Tried:
    """A client of one service, as it is made and asked."""

    prefix: str
    ask: Callable[[str, ClientPolicy], object]
    """Asks the service at a URL once, with the time limit of `limits`."""
    error: type[Exception]
    sound: bytes
    """A body that it can use."""
    only_tls: bool = False
    may_have_credentials: bool = False


def _instant(url: str, policy: ClientPolicy) -> float:
    async def ask() -> float:
        made = InstantQueries(
            url, timeout_s=limits.seconds, max_bytes=2_000_000, max_connections=2, policy=policy
        )
        async with made as queries:
            return await queries.number("jobs", 1.0)

    return asyncio.run(ask())


def _management(url: str, policy: ClientPolicy) -> object:
    client = Management(url, policy)
    try:
        return client.names(limits.seconds)
    finally:
        client.close()


def _scaler(url: str, policy: ClientPolicy) -> object:
    return api_client.Client(api_client.ClientSettings(), url, policy).get("/api/targets")


def _speech(url: str, policy: ClientPolicy) -> object:
    client = elevenlabs.ElevenLabs(url, "key", sleep=lambda _: None, policy=policy)
    return client.speak("a", Voice(provider="elevenlabs", name="voice-1"))


CLIENTS = {
    "Prometheus": Tried(
        "PROMETHEUS",
        lambda url, policy: Prometheus(url, timeout_s=limits.seconds, policy=policy).vector("jobs"),
        PrometheusError,
        SAMPLE,
        may_have_credentials=True,
    ),
    "KEDA's queries": Tried(
        "PROMETHEUS", _instant, UnknownValueError, SAMPLE, may_have_credentials=True
    ),
    "gateway": Tried(
        "GATEWAY",
        lambda url, policy: GatewayEngine(
            url, "t", timeout_s=limits.seconds, policy=policy
        ).listing(),
        OrchestratorError,
        b"[]",
    ),
    "management API": Tried(
        "MANAGEMENT", _management, SourceError, b"[]", may_have_credentials=True
    ),
    "scaler": Tried("SCALER", _scaler, api_client.ClientError, b"[]"),
    "ElevenLabs": Tried("ELEVENLABS", _speech, TransientError, SPEECH),
}


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """All of them patient, but for a test whose outcome is that the time is up."""
    # Of a test without parameters there are none.
    parameters = getattr(request.node, "callspec", None)
    hasty = parameters is not None and "hasty" in parameters.id
    limit_s = HASTY_S if hasty else PATIENT_S
    monkeypatch.setattr(limits, "seconds", limit_s)
    for module in (api_client, pod_deletion_cost, elevenlabs):
        monkeypatch.setattr(module, "_TIMEOUT_S", limit_s)
    monkeypatch.setattr("exporter.management._MAX_BYTES", 2_000_000)
    monkeypatch.setattr("worker.video.elevenlabs._ATTEMPTS", 1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(trustme.CA(), tmp_path)


def policy_of(tried: Tried, settings: Mapping[str, str] | None = None) -> ClientPolicy:
    env = {f"{tried.prefix}_{name}": value for name, value in (settings or {}).items()}
    model = {} if tried.may_have_credentials else {"model": RouteSettings}
    return ClientPolicy(tried.prefix, env, **model)


def outcome(tried: Tried, url: str, settings: Mapping[str, str] | None = None) -> str:
    """What is said behind the service's address; "" where all is well."""
    try:
        tried.ask(url, policy_of(tried, settings))
    except tried.error as error:
        said = str(error)
        assert said.isprintable()
        assert "word" not in said, "a password is shown"
        return said.partition(url.replace("user:word@", ""))[2].strip() or said
    return ""


HTTP = b"HTTP/1.1 200 OK\r\n"
PAGE = b"<html><body>Welcome</body></html>"
MISDEEDS: dict[str, tuple[Deed, str]] = {
    "redirect": (
        saying(
            answer(
                b"", "Location: http://user:word@127.0.0.1:9/there?token=word", status="302 Found"
            )
        ),
        "answers with a redirect to http://127.0.0.1:9/there; give the URL that it leads to",
    ),
    "redirect to nowhere": (
        saying(answer(b"", status="301 Moved")),
        "answers with a redirect to",
    ),
    "a page": (saying(answer(PAGE)), "HTTP 200 with what is no answer of"),
    "endless answer": (endless(HTTP + b"\r\n", b" " * 65_536), "answered more than the"),
    "an answer said to be endless": (
        saying(HTTP + b"Content-Length: 1000000000000\r\n\r\n"),
        "answered more than the",
    ),
    "endless pieces": (
        endless(HTTP + b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n%b\r\n" % (b" " * 32_768)),
        "answered more than the",
    ),
    "endless headers": (endless(HTTP, b"X-More: again\r\n"), "answers with what is no HTTP"),
    "an endless header": (
        endless(HTTP + b"X-More: ", b"x" * 4_096),
        "answers with what is no HTTP",
    ),
    "a bomb": (
        lambda client, _: client.sendall(answer(bomb(), "Content-Encoding: gzip")),
        "answered more than the",
    ),
    "a broken package": (
        saying(answer(b"no gzip", "Content-Encoding: gzip")),
        "answers with what is no HTTP",
    ),
    "half a package": (
        saying(answer(bomb()[:1_000], "Content-Encoding: gzip")),
        "closed the connection before it had answered",
    ),
    "an unknown package": (
        saying(answer(b"?", "Content-Encoding: br")),
        "answers packed, though it was asked not to",
    ),
    "a byte at a time (hasty)": (
        endless(HTTP + b"Content-Length: 9999\r\n\r\n", b" ", 0.1),
        HASTY,
    ),
    "a header a byte at a time (hasty)": (
        endless(HTTP + b"X-Slow: ", b"x", 0.1),
        HASTY,
    ),
    "go on, go on (hasty)": (
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
        HASTY,
    ),
    "never (hasty)": (mute, HASTY),
    "closes at once": (
        lambda client, _: client.shutdown(2),
        "closed the connection before it had answered",
    ),
    "closes in the middle": (
        saying(HTTP + b"Content-Length: 100\r\n\r\n[[["),
        "closed the connection before it had answered",
    ),
    "closes in the middle of a piece": (
        saying(HTTP + b"Transfer-Encoding: chunked\r\n\r\n64\r\n[[["),
        "closed the connection before it had answered",
    ),
    "another protocol": (saying(b"220 mail.example ESMTP\r\n"), "answers with what is no HTTP"),
    "nonsense": (saying(b"\x00\xff" * 100 + b"\r\n\r\n"), "answers with what is no HTTP"),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_says_the_same_of_a_server_that_misbehaves(client: str, misdeed: str) -> None:
    tried, (deed, words) = CLIENTS[client], MISDEEDS[misdeed]
    with misbehaving(deed) as server:
        begun = time.monotonic()
        said = outcome(tried, f"http://127.0.0.1:{server.port}")
        took_s = time.monotonic() - begun
    assert words in said
    assert took_s < PATIENT_S


@pytest.mark.parametrize("client", CLIENTS)
def test_nobody_there_is_not_reachable(client: str) -> None:
    said = outcome(CLIENTS[client], "http://127.0.0.1:9")
    assert "is not reachable: Connection refused" in said


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_of_the_environment_steers_a_connection(
    client: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = CLIENTS[client]
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password elses\n")
    netrc.chmod(0o600)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("NETRC", str(netrc))
    with misbehaving(saying(answer(tried.sound))) as server:
        assert outcome(tried, f"http://127.0.0.1:{server.port}") == ""
    assert "c29tZWJvZHk6ZWxzZXM=" not in server.heads[0]
    assert f"Host: 127.0.0.1:{server.port}" in server.heads[0]


def test_nor_that_to_a_docker_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with misbehaving(saying(answer(PAGE))) as server:
        engine = DirectEngine(f"tcp://127.0.0.1:{server.port}", min_grace_s=1)
        with pytest.raises(OrchestratorError):
            engine.listing()
        engine.close()
    assert server.asked


@pytest.mark.parametrize("client", CLIENTS)
def test_settings_for_headers_and_credentials_reach_the_service(client: str) -> None:
    tried = CLIENTS[client]
    given = {"HEADERS": "X-Scope-OrgID: team-a|team-b; X-Other: b"}
    with misbehaving(saying(answer(tried.sound))) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert outcome(tried, url, given) == ""
        assert outcome(tried, url.replace("://", "://user:word@")) == ""
        if tried.may_have_credentials:
            assert outcome(tried, url, {"BEARER_TOKEN": "abc"}) == ""
            assert outcome(tried, url, {"BASIC_AUTH": "user:word"}) == ""
    assert "X-Scope-OrgID: team-a|team-b" in server.heads[0]
    assert "X-Other: b" in server.heads[0]
    assert "Authorization: Basic dXNlcjp3b3Jk" in server.heads[1]
    if tried.may_have_credentials:
        assert "Authorization: Bearer abc" in server.heads[2]
        assert "Authorization: Basic dXNlcjp3b3Jk" in server.heads[3]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_proxy_is_used_where_one_is_named(client: str) -> None:
    tried = CLIENTS[client]
    with misbehaving(saying(answer(tried.sound))) as proxy:
        given = {"PROXY_URL": f"http://user:word@127.0.0.1:{proxy.port}"}
        assert outcome(tried, "http://service.example:81", given) == ""
        assert outcome(tried, "https://service.example", given)
    first, second = proxy.heads
    assert first.split()[1].startswith("http://service.example:81/")
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in first
    assert second.startswith("CONNECT service.example:443 ")
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in second
    with misbehaving(saying(answer(b"", status="407 No"))) as refusing:
        given = {"PROXY_URL": f"http://127.0.0.1:{refusing.port}"}
        said = outcome(tried, "https://service.example", given)
    assert "is not reachable: its proxy answers HTTP 407" in said


def _pods(server: Misbehaving, account: Path) -> pod_deletion_cost.Pods:
    env = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(server.port),
        "SERVICE_ACCOUNT_PATH": str(account),
    }
    return pod_deletion_cost.Pods(load(pod_deletion_cost.PodDeletionCostSettings, environ=env))


@pytest.fixture
def account(authority: Authority) -> Path:
    folder = authority.folder
    (folder / "ca.crt").write_bytes(authority.ca.cert_pem.bytes())
    (folder / "token").write_text("first\n")
    (folder / "namespace").write_text("autoscaler")
    return folder


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_so_does_the_client_of_kubernetes(
    misdeed: str, authority: Authority, account: Path
) -> None:
    deed, words = MISDEEDS[misdeed]
    with (
        misbehaving(deed, authority.server()) as server,
        pytest.raises(pod_deletion_cost.KubernetesError) as caught,
    ):
        _pods(server, account).annotate("pod", 1)
    assert words in str(caught.value)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_private_authority_is_trusted_where_it_is_named(
    client: str, authority: Authority
) -> None:
    tried = CLIENTS[client]
    with misbehaving(saying(answer(tried.sound)), authority.server()) as server:
        url = f"https://127.0.0.1:{server.port}"
        said = outcome(tried, url)
        assert "shows a certificate that is not trusted: " in said
        assert outcome(tried, url, {"CA_FILE": authority.ca_file}) == ""
        stranger = authority.folder / "stranger.pem"
        stranger.write_bytes(trustme.CA().cert_pem.bytes())
        assert "is not trusted" in outcome(tried, url, {"CA_FILE": str(stranger)})
        wrong_host = url.replace("127.0.0.1", "localhost")
        said = outcome(tried, wrong_host, {"CA_FILE": authority.ca_file})
        assert "is not trusted: Hostname mismatch" in said


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_certificate_is_shown_where_one_is_named(
    client: str, authority: Authority
) -> None:
    tried = CLIENTS[client]
    trusted = {"CA_FILE": authority.ca_file}
    with misbehaving(saying(answer(tried.sound)), authority.server(asks=True)) as server:
        url = f"https://127.0.0.1:{server.port}"
        # Whether the alert or the end of the connection comes first is the network's to say.
        assert outcome(tried, url, trusted)
        assert not server.asked
        assert outcome(tried, url, trusted | authority.client_files()) == ""


@pytest.mark.parametrize("client", CLIENTS)
def test_plain_http_is_refused_where_files_for_tls_are_named(
    client: str, authority: Authority
) -> None:
    tried = CLIENTS[client]
    policy = policy_of(tried, {"CA_FILE": authority.ca_file})
    with pytest.raises(ConfigError, match=f"{tried.prefix}_URL.*https://"):
        tried.ask("http://127.0.0.1:9", policy)


@pytest.fixture
def _slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    stop = threading.Event()

    def hang(*_: object, **__: object) -> None:
        stop.wait(60)
        raise OSError("the resolver is away")

    monkeypatch.setattr("common.dialing.socket.getaddrinfo", hang)
    yield
    stop.set()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("how", ["hasty"])
@pytest.mark.usefixtures("_slow_names")
def test_a_name_server_that_hangs_holds_nobody_up(client: str, how: str) -> None:
    begun = time.monotonic()
    # Another name for each, as those who wait for one share what comes of it.
    said = outcome(CLIENTS[client], f"http://{list(CLIENTS).index(client)}.example")
    assert HASTY in said
    assert time.monotonic() - begun < PATIENT_S
