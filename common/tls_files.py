"""Authorities and client certificates in files, for whatever speaks TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from common.errors import ConfigError


def tls_context(
    prefix: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None
) -> ssl.SSLContext:
    """For a client: it trusts `ca_file`, by default whom the system trusts, and shows `cert_file`
    to whoever asks.

    Raises ConfigError, naming the variable behind `prefix`, for a file that can't be used.
    """
    if key_file and not cert_file:
        raise ConfigError(f"{prefix}_KEY_FILE", str(key_file), f"a key beside {prefix}_CERT_FILE")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        allowed = f"a readable file of certificates in PEM ({_why(error)})"
        raise ConfigError(f"{prefix}_CA_FILE", str(ca_file), allowed) from None
    if cert_file:
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
        except OSError as error:
            allowed = f"a readable certificate with its key, not encrypted, in PEM ({_why(error)})"
            raise ConfigError(f"{prefix}_CERT_FILE", str(cert_file), allowed) from None
    return context


def _why(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or "unreadable").replace("_", " ").lower()
