"""Takes a changed configuration into force while the scaler runs; an invalid one is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from common.errors import ConfigError, unforeseen
from common.logs import get
from scaler.config.load import ScalerConfig
from scaler.loop.metrics import ScalerMetrics

_log = get("reload")
# Bound, opened or connected once: these wait for the next start.
_AT_START = ("prometheus_url", "grpc_port", "history_path", "metrics_retention_days")
_BACKENDS_AT_START = ("graceful_shutdown_timeout",)

_Seen = tuple[int, int, int] | None


class Reloader:
    """Looks at the file after every cycle, and whenever SIGHUP asks."""

    def __init__(
        self,
        path: Path | None,
        config: ScalerConfig,
        *,
        load: Callable[[], ScalerConfig],
        take: Callable[[ScalerConfig], None],
        metrics: ScalerMetrics,
    ) -> None:
        """`take` brings a configuration into force, or raises ConfigError and changes nothing.
        After whatever else `load` or `take` raises, the configuration before is taken again."""
        self._path = path
        self._config = config
        self._load = load
        self._take = take
        self._metrics = metrics
        self._seen = self._look()
        self._asked = False
        self.problem: str | None = None
        """Why the newest configuration was refused, None while it is in force."""
        metrics.reloaded(ok=True)

    def ask(self) -> None:
        """Reload at the next check; for a signal handler."""
        self._asked = True

    def check(self) -> None:
        """Reload if the file has changed, or if it was asked for."""
        seen = self._look()
        # A file that is away for a moment is being replaced.
        if self._asked or (seen is not None and seen != self._seen):
            self._asked, self._seen = False, seen
            self._reload()

    def _reload(self) -> None:
        try:
            config = self._load()
            self._take(config)
        except ConfigError as error:
            self._refuse(str(error))
            return
        except Exception as error:
            # Whatever it is: the loop goes on, and with all of what was in force.
            self._refuse(f"internal error: {unforeseen(error)}")
            self._take_back()
            return
        waiting = _waiting(self._config, config)
        self._config, self.problem = config, None
        self._metrics.reloaded(ok=True)
        _log.info("configuration reloaded", targets=[target.name for target in config.targets])
        if waiting:
            _log.warning("takes effect at the next start", settings=waiting)

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        self._metrics.reloaded(ok=False)
        _log.error("configuration refused; the one before stays in force", problem=problem)

    def _take_back(self) -> None:
        """Bring what was in force into force again, as a part of the new may have been taken."""
        try:
            self._take(self._config)
        except Exception as error:
            _log.error("not all of the configuration before is in force", error=unforeseen(error))

    def _look(self) -> _Seen:
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _waiting(before: ScalerConfig, after: ScalerConfig) -> list[str]:
    """What has changed and is not looked at again while the scaler runs."""
    program = [
        name for name in _AT_START if getattr(after.program, name) != getattr(before.program, name)
    ]
    worker = [
        f"worker.{name}"
        for name in _BACKENDS_AT_START
        if getattr(after.worker, name) != getattr(before.worker, name)
    ]
    return program + worker
