"""What every request passes before any page: rate, size, origin, credentials; and headers."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.http import OPEN_PATHS
from scaler.web.access import Access, Nonces, RateLimit, Rates, Role

MAX_BODY_BYTES = 4096
NONCE_HEADER = "X-Action-Nonce"
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_STATIC = "/static/"
_SAFE = ("GET", "HEAD")


class Gate:
    """ASGI middleware. Puts the request's role into `request.state.role`."""

    def __init__(self, app: ASGIApp, access: Access, nonces: Nonces, rates: Rates) -> None:
        self._app = app
        self._access = access
        self._nonces = nonces
        self._requests = RateLimit(rates.requests)
        self._actions = RateLimit(rates.actions)
        self._failures = RateLimit(rates.failures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await refusal(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        path, headers = scope["path"], Headers(scope=scope)
        if path in OPEN_PATHS:
            return None
        address = scope["client"][0] if scope.get("client") else ""
        if not self._requests.allows(address) or not self._failures.allows(address, spend=False):
            return _refuse(HTTPStatus.TOO_MANY_REQUESTS, "too many requests; wait a little")
        # The page's own files hold nothing secret; what they show is asked for separately.
        if path == "/" or path.startswith(_STATIC):
            return None
        role = self._access.role(headers.get("authorization", ""))
        scope.setdefault("state", {})["role"] = role
        if scope["method"] not in _SAFE:
            return self._action_refusal(address, role, headers)
        if role is None:
            return self._unauthorised(address)
        return None

    def _action_refusal(
        self, address: str, role: Role | None, headers: Headers
    ) -> JSONResponse | None:
        problem = _foreign(headers)
        if problem:
            return _refuse(HTTPStatus.FORBIDDEN, problem)
        if role is not Role.ACT:
            # Where anybody may look, LOOK says nothing about the credentials that came.
            known = role is Role.LOOK and self._access.role("") is None
            if known or not self._access.can_act:
                return _refuse(HTTPStatus.FORBIDDEN, "this takes the act token (HTTP_ACT_TOKEN)")
            return self._unauthorised(address)
        if not self._actions.allows(address):
            return _refuse(HTTPStatus.TOO_MANY_REQUESTS, "too many actions; wait a little")
        if not self._nonces.accept(headers.get(NONCE_HEADER, "")):
            text = f"{NONCE_HEADER} must be fresh from /api/nonce and is good for one action"
            return _refuse(HTTPStatus.FORBIDDEN, text)
        return _size_refusal(headers)

    def _unauthorised(self, address: str) -> JSONResponse:
        self._failures.allows(address)
        refusal = _refuse(HTTPStatus.UNAUTHORIZED, "authentication is required")
        refusal.headers["WWW-Authenticate"] = 'Bearer realm="autoscaler"'
        return refusal


def _foreign(headers: Headers) -> str | None:
    """What makes it a request of another site's page, or one that a form could send."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return "requests of other sites are refused"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
        return "requests of other origins are refused"
    return None


def _size_refusal(headers: Headers) -> JSONResponse | None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return _refuse(HTTPStatus.LENGTH_REQUIRED, "Content-Length is required")
    if int(length) > MAX_BODY_BYTES:
        text = f"at most {MAX_BODY_BYTES} bytes"
        return _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    return None


def _refuse(status: HTTPStatus, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
