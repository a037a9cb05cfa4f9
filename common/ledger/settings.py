"""How to reach Redis: the same settings for worker, exporter and scaler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from common.errors import HIDDEN, ConfigError
from common.settings import Settings
from common.tls_files import tls_context
from common.urls import LEDGER, LedgerUrl, read


class LedgerSettings(Settings):
    """Where the ledger is. By TLS with `rediss://`."""

    redis_url: LedgerUrl
    """Of the ledger: redis://[[user]:password@]host[:port][/number], or rediss:// for TLS."""
    redis_password: SecretStr | None = None
    """In place of the one in the URL, where it is kept by itself."""
    redis_ca_file: Path | None = None
    """Authority of its certificate, in place of those that the system knows."""
    redis_cert_file: Path | None = None
    """Client certificate, where Redis asks for one."""
    redis_key_file: Path | None = None
    """Its key, unless that is in the same file. All three are read at each new connection."""

    def for_redis(self) -> dict[str, Any]:
        """What `redis.Redis.from_url` is given beside the URL. Raises ConfigError for what can't
        be used, or not together."""
        url = read(self.redis_url.get_secret_value(), LEDGER)
        files = (self.redis_ca_file, self.redis_cert_file, self.redis_key_file)
        options: dict[str, Any] = {}
        if self.redis_password is not None:
            if url.password is not None:
                raise ConfigError("REDIS_PASSWORD", HIDDEN, "a password either here or in the URL")
            options["password"] = self.redis_password.get_secret_value()
        if any(files):
            if url.scheme != "rediss":
                allowed = "rediss://, since there are files for TLS (REDIS_CA_FILE, …)"
                raise ConfigError("REDIS_URL", HIDDEN, allowed)
            tls_context("REDIS", *files)
            names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
            options |= {name: str(path) for name, path in zip(names, files, strict=True) if path}
        return options
