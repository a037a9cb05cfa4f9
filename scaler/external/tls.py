"""Server credentials that follow their files."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import grpc

from common.errors import ConfigError
from common.logs import get
from scaler.external.settings import ExternalScalerSettings

_log = get("external-scaler")
_Stamp = tuple[tuple[int, int, int], ...]


def credentials(settings: ExternalScalerSettings) -> grpc.ServerCredentials | None:
    """TLS credentials, or None when no certificate is set.

    Files that have changed are read at the next handshake; while what they hold is unusable (one
    of two files written, say) the certificate in use stays. Raises ConfigError when they are
    unusable at the start.
    """
    if settings.grpc_tls_cert_file is None or settings.grpc_tls_key_file is None:
        return None
    files = _Files(
        settings.grpc_tls_cert_file, settings.grpc_tls_key_file, settings.grpc_client_ca_file
    )
    try:
        first = files.read()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "GRPC_TLS_CERT_FILE",
            str(settings.grpc_tls_cert_file),
            f"a readable certificate with its key and authority ({error.strerror or 'unreadable'})",
        ) from error
    return grpc.dynamic_ssl_server_credentials(
        first,
        files.read_if_changed,  # type: ignore[arg-type]  # None, unchanged, is unknown to the stub
        require_client_authentication=settings.grpc_client_ca_file is not None,
    )


class _Files:
    def __init__(self, certificate: Path, key: Path, authority: Path | None) -> None:
        self._paths = [path for path in (certificate, key, authority) if path is not None]
        # Handshakes ask from threads of gRPC's own.
        self._lock = threading.Lock()
        self._stamp: _Stamp = ()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold. Raises OSError or ssl.SSLError."""
        stamp = self._stat()
        certificate, key, *authority = (path.read_bytes() for path in self._paths)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._paths[0], self._paths[1])
        if authority:
            context.load_verify_locations(self._paths[2])
        self._stamp = stamp
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], authority[0] if authority else None
        )

    def read_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What the files hold when they have changed and are usable, else None."""
        with self._lock:
            try:
                if self._stat() == self._stamp:
                    return None
                fresh = self.read()
            except (OSError, ssl.SSLError) as error:
                _log.error("certificates unusable, the last ones stay in use", error=str(error))
                return None
        _log.info("certificates reloaded")
        return fresh

    def _stat(self) -> _Stamp:
        stats = [path.stat() for path in self._paths]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in stats)
