"""Certificates for tests: one authority, a server, a client, and those to be refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import trustme


class Certificates:
    """Files in `folder`, as the server reads them, and what clients bring."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        self.server_cert = folder / "tls.crt"
        self.server_key = folder / "tls.key"
        self.client_ca = folder / "ca.crt"
        self.install(self.authority.issue_cert("127.0.0.1", "localhost"))
        self.client_ca.write_bytes(self.authority.cert_pem.bytes())

    def install(self, leaf: trustme.LeafCert) -> None:
        """Put a server certificate where the server looks."""
        self.server_key.write_bytes(leaf.private_key_pem.bytes())
        self.server_cert.write_bytes(b"".join(one.bytes() for one in leaf.cert_chain_pems))

    def tls(self) -> dict[str, Any]:
        """Settings of a server with a certificate."""
        return {
            "grpc_tls_cert_file": str(self.server_cert),
            "grpc_tls_key_file": str(self.server_key),
        }

    def mutual_tls(self) -> dict[str, Any]:
        """Settings of a server that asks for the client's, too."""
        return {**self.tls(), "grpc_client_ca_file": str(self.client_ca)}

    def trust(self, authority: trustme.CA | None = None) -> grpc.ChannelCredentials:
        """A client that brings no certificate."""
        return grpc.ssl_channel_credentials((authority or self.authority).cert_pem.bytes())

    def identity(
        self, issuer: trustme.CA | None = None, *, expired: bool = False
    ) -> grpc.ChannelCredentials:
        """A client with a certificate."""
        now = datetime.now(UTC)
        leaf = (issuer or self.authority).issue_cert(
            "keda-operator",
            not_before=now - timedelta(days=2),
            not_after=now + timedelta(days=-1 if expired else 1),
        )
        return grpc.ssl_channel_credentials(
            self.authority.cert_pem.bytes(),
            leaf.private_key_pem.bytes(),
            b"".join(one.bytes() for one in leaf.cert_chain_pems),
        )
