"""One of several scalers leads and acts; the others stand by, answer KEDA and show pages."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable

from common.ledger import Ledger, LedgerError
from common.logs import get

LEASE = "scaler"
TTL_S = 8.0
"""After a leader's death another takes over within this time and one cycle."""
_RENEW_S = TTL_S / 4
_log = get("leader")


class Leader:
    """This process's claim to act, and the ledger as it may be used by who acts.

    The holder believes in its lease a little shorter than the ledger keeps it. A leader that was
    stopped in the middle is fenced off: drain requests carry the lease's token, and changes of a
    service the version that they were decided on.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._token: int | None = None
        self._asked_at = float("-inf")
        self._until = float("-inf")

    def leads(self) -> bool:
        """Whether this process may act now; takes or renews the lease when that is due."""
        now = self._clock()
        if now - self._asked_at >= (_RENEW_S if now < self._until else 1.0):
            self._asked_at = now
            self._ask(now)
        return self._clock() < self._until

    def _ask(self, now: float) -> None:
        try:
            token = self._ledger.take_lease(LEASE, self._holder, ttl_s=TTL_S)
        except LedgerError as error:
            _log.warning("lease not renewed", reason=str(error))
            return
        if token != self._token:
            _log.info("became leader" if token else "standby", token=token)
        self._token = token
        self._until = now + TTL_S - 1.0 if token else float("-inf")

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
        """Take a drain request back."""
        self._ledger.withdraw_drain(worker_id)
