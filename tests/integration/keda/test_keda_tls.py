"""11: whom the server trusts, who can trust it, and certificates that change while it runs."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

import grpc
import pytest

from common.errors import ConfigError
from tests.support.keda import TARGET, Keda, Serving, refused, serving
from tests.support.keda_tls import Certificates

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def served(certificates: Certificates) -> Iterator[Serving]:
    with serving(**certificates.mutual_tls()) as one:
        one.board.decide(1)
        yield one


def answers(served: Serving, credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether a client gets through on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.secure_channel(served.address, credentials, options)
        if credentials
        else grpc.insecure_channel(served.address, options)
    )
    with channel:
        return Keda(channel).is_active(target=TARGET)


def test_11_a_client_of_the_authority_is_let_in(
    served: Serving, certificates: Certificates
) -> None:
    assert answers(served, certificates.identity())


def test_11_others_are_refused(served: Serving, certificates: Certificates) -> None:
    with refused(UNAVAILABLE):
        answers(served, certificates.identity(certificates.stranger))
    with refused(UNAVAILABLE):
        answers(served, certificates.trust())
    with refused(UNAVAILABLE):
        answers(served, certificates.identity(expired=True))
    with refused(UNAVAILABLE):
        answers(served, None)
    assert served.metric(
        "grpc_server_started_total",
        grpc_type="unary",
        grpc_service="externalscaler.ExternalScaler",
        grpc_method="IsActive",
    ) in (None, 0), "none of them reached a call"
    assert answers(served, certificates.identity()), "and the server is none the worse"


def test_11_a_client_sees_through_a_strange_server(
    served: Serving, certificates: Certificates
) -> None:
    certificates.install(certificates.stranger.issue_cert("127.0.0.1"))
    with refused(UNAVAILABLE, "CERTIFICATE_VERIFY_FAILED"):
        answers(served, certificates.identity())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
def test_11_tls_is_1_2_at_least(
    version: ssl.TLSVersion, accepted: bool, certificates: Certificates
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificates.authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    # This client would go lower, so that it is the server that refuses.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        serving(**certificates.tls()) as one,
        socket.create_connection(("127.0.0.1", one.server.port), timeout=5) as plain,
    ):
        if accepted:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
                assert secured.selected_alpn_protocol() == "h2"
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)eof|protocol"):
                context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_11_certificates_are_reloaded_without_a_restart(
    served: Serving, certificates: Certificates
) -> None:
    with grpc.secure_channel(served.address, certificates.identity()) as channel:
        standing = Keda(channel)
        assert standing.is_active(target=TARGET)
        certificates.install(certificates.stranger.issue_cert("127.0.0.1"))
        certificates.client_ca.write_bytes(certificates.stranger.cert_pem.bytes())
        assert standing.is_active(target=TARGET), "a standing connection stays"
    old = certificates.identity()
    certificates.authority, certificates.stranger = certificates.stranger, certificates.authority
    assert answers(served, certificates.identity()), "new authority, new server certificate"
    with refused(UNAVAILABLE):
        answers(served, old)


def test_11_files_that_do_not_fit_yet_leave_the_old_ones_in_use(
    served: Serving, certificates: Certificates
) -> None:
    fresh = certificates.authority.issue_cert("127.0.0.1")
    certificates.server_key.write_bytes(fresh.private_key_pem.bytes())
    assert answers(served, certificates.identity()), "the key alone was replaced"
    certificates.server_cert.unlink()
    assert answers(served, certificates.identity()), "the certificate is missing"
    certificates.install(fresh)
    time.sleep(0.01)
    assert answers(served, certificates.identity())


def test_11_unusable_files_are_refused_at_the_start(certificates: Certificates) -> None:
    certificates.server_key.write_text("no key")
    with (
        pytest.raises(ConfigError, match=r"GRPC_TLS_CERT_FILE.*allowed: a readable"),
        serving(**certificates.tls()),
    ):
        pass
