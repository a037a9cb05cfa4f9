"""Who may look and who may act: roles by token, nonces that work once, limits on the rate."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from pydantic import SecretStr

from common.http import Guard, HttpSettings

NONCE_FOR_S = 60.0
_ADDRESSES = 4096
# One that was used can't be forgotten in its minute, so beyond these none is taken.
_MOST_USED = 4096


class Role(StrEnum):
    """What credentials allow; who may act may look."""

    LOOK = "look"
    ACT = "act"


class Access:
    """Credentials to roles. Digests are compared, all of them, so that time tells nothing."""

    def __init__(self, http: HttpSettings, act_token: SecretStr | None) -> None:
        self._guard = Guard(http)
        self._act = None if act_token is None else _digest(act_token.get_secret_value())

    @property
    def can_act(self) -> bool:
        """Whether anybody may act at all."""
        return self._act is not None

    def role(self, authorization: str) -> Role | None:
        """The role of an Authorization header; None may not even look."""
        scheme, _, token = authorization.strip().partition(" ")
        given = _digest(token if scheme.lower() == "bearer" else "")
        acts = hmac.compare_digest(given, self._act or secrets.token_bytes(32))
        looks = self._guard.admits("", authorization)
        if acts:
            return Role.ACT
        return Role.LOOK if looks else None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


class Nonces:
    """Single-use proofs that a request was meant now: a recorded action cannot be replayed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._used: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def issue(self) -> str:
        """A new one, good for NONCE_FOR_S seconds."""
        stem = f"{self._clock() + NONCE_FOR_S:.3f}.{secrets.token_hex(16)}"
        return f"{stem}.{self._sign(stem)}"

    def accept(self, nonce: str) -> bool:
        """Whether it is ours, in time, and has not been used; from now on it has."""
        stem, _, signature = nonce.rpartition(".")
        genuine = hmac.compare_digest(self._sign(stem).encode(), signature.encode())
        if not genuine:
            return False
        expires, now = float(stem.split(".")[0]), self._clock()
        with self._lock:
            while self._used and next(iter(self._used.values())) < now:
                self._used.popitem(last=False)
            if expires < now or nonce in self._used or len(self._used) >= _MOST_USED:
                return False
            self._used[nonce] = now + NONCE_FOR_S
        return True

    def _sign(self, stem: str) -> str:
        return hmac.new(self._key, stem.encode(), sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, with so many at once."""

    per_s: float
    burst: float


class RateLimit:
    """A token bucket per client address; addresses seen longest ago are forgotten first."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, *, spend: bool = True) -> bool:
        """Whether there is one left for this address; takes it if `spend`."""
        now = self._clock()
        left, at = self._buckets.pop(address, (self._rate.burst, now))
        left = min(self._rate.burst, left + (now - at) * self._rate.per_s)
        allowed = left >= 1
        self._buckets[address] = (left - 1 if allowed and spend else left, now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


@dataclass(frozen=True, slots=True)
class Rates:
    """What one address may ask for."""

    requests: Rate = Rate(50, 200)
    actions: Rate = Rate(1, 10)
    failures: Rate = Rate(0.5, 20)
    """Wrong credentials; with none left, right ones are refused too for a while."""
