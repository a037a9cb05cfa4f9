"""One of several scalers leads and acts; the others stand by, answer KEDA and show pages."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable

from common.ledger import Ledger, LedgerError
from common.logs import get
from scaler.orchestrators.errors import OrchestratorError

LEASE = "scaler"
TTL_S = 8.0
"""After a leader's death another takes over within this time and one cycle."""
MARGIN_S = 3.0
"""So much sooner than the ledger the holder believes its lease to be over. What it lets pass at
the last moment is on its way by then, or is refused: see `CONNECTS_IN_S` of the engine, and
`FRESH_S` of the gateway."""
_RENEW_S = TTL_S / 4
_STAND_BY_S = 1.0
_AGAIN_S = 0.5
"""After a failure: so soon that a ledger which hangs for as long as one answer is waited for costs
nobody the lease."""
_log = get("leader")


def boot_seconds() -> float:
    """Seconds that no one sets, counted on while this process, or the whole machine, sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leader:
    """This process's claim to act, and the ledger as it may be used by who acts.

    A leader that was stopped in the middle of a cycle is fenced off: drain requests, and their
    withdrawals, carry the lease's token; every other change calls `require` right before.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = boot_seconds) -> None:
        self._ledger = ledger
        self._clock = clock
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._token: int | None = None
        self._due_at = float("-inf")
        self._failing = False
        self._until = float("-inf")

    def leads(self) -> bool:
        """Whether this process may act now; takes or renews the lease when that is due."""
        now = self._clock()
        if now >= self._due_at:
            self._ask(now)
        return self._clock() < self._until

    def require(self) -> None:
        """Raises OrchestratorError unless this process certainly leads still. Asks nobody."""
        if self._clock() >= self._until:
            raise OrchestratorError(
                "nothing was changed: the lease ran out meanwhile, and another scaler may lead"
            )

    def _ask(self, now: float) -> None:
        try:
            token = self._ledger.take_lease(LEASE, self._holder, ttl_s=TTL_S)
        except LedgerError as error:
            # However long that took: a ledger that hangs is not asked again for each target, nor
            # is one that is slow.
            self._due_at = self._clock() + _AGAIN_S
            if not self._failing:
                _log.warning("lease not renewed", reason=str(error))
            self._failing = True
            return
        self._failing = False
        self._due_at = self._clock() + (_RENEW_S if token else _STAND_BY_S)
        if token != self._token:
            _log.info("became leader" if token else "standby", token=token)
        self._token = token
        self._until = now + TTL_S - MARGIN_S if token else float("-inf")

    def resign(self) -> None:
        """Let another take over at once."""
        self._until = float("-inf")
        try:
            self._ledger.drop_lease(LEASE, self._holder)
        except LedgerError as error:
            _log.warning("lease not given back", reason=str(error))

    # The drain ledger of who acts

    def request_drain(self, worker_id: str, reason: str, *, ttl_s: int = 60) -> bool:
        """Ask an idle worker to leave; False when it is not idle, or when others lead by now."""
        if self._token is None:
            return False
        return self._ledger.request_drain(
            worker_id, reason, ttl_s=ttl_s, lease=(LEASE, self._token)
        )

    def withdraw_drain(self, worker_id: str) -> None:
        """Take a drain request back, unless others lead by now: then it is theirs."""
        if self._token is not None:
            self._ledger.withdraw_drain(worker_id, lease=(LEASE, self._token))
