"""A running scaler, as its own command line reaches it over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from pydantic import Field, SecretStr

from common.bounded import a_few
from common.errors import cut, printable
from common.http_client import HttpClient, OutgoingError, UnreachableError
from common.outgoing import NO_SETTINGS, ClientPolicy, basic
from common.settings import Settings
from common.urls import SERVICE, ServiceUrl, require

_TIMEOUT_S = 10.0


class ClientSettings(Settings):
    """Where the scaler is and who asks. Beside the scaler, its own variables are enough."""

    scaler_url: ServiceUrl | None = None
    """Default http://127.0.0.1:HTTP_PORT."""
    scaler_token: SecretStr | None = None
    """Bearer token; default HTTP_ACT_TOKEN, then HTTP_BEARER_TOKEN."""
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    http_act_token: SecretStr | None = None
    http_bearer_token: SecretStr | None = None
    http_basic_auth: SecretStr | None = None


class ClientError(Exception):
    """The scaler did not answer, or refused; the sentence is for a person."""


class Client:
    """The API of one scaler. Methods raise ClientError."""

    def __init__(
        self,
        settings: ClientSettings,
        url: str | None = None,
        policy: ClientPolicy = NO_SETTINGS,
    ) -> None:
        """`url` wins over the settings' own. Raises ConfigError when it is none."""
        if url is not None:
            require("--url", url, SERVICE)
        self._client = HttpClient(
            "the scaler",
            url or settings.scaler_url or f"http://127.0.0.1:{settings.http_port}",
            policy,
            timeout_s=_TIMEOUT_S,
            authorization=_authorization(settings),
        )

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def act(self, path: str, body: Mapping[str, Any]) -> Any:
        """Order something; what the API answers."""
        nonce = self.get("/api/nonce")["nonce"]
        headers = {"X-Action-Nonce": nonce, "Content-Type": "application/json"}
        return self._ask("POST", path, json.dumps(body).encode(), headers)

    def target(self, name: str | None) -> str:
        """`name`, or without one the only target; as a part of a path."""
        if name is None:
            names = [each["name"] for each in self.get("/api/targets")]
            if len(names) != 1:
                raise ClientError(f"which target? There are: {a_few(names)}")
            name = names[0]
        return f"/api/targets/{quote(name, safe='')}"

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        try:
            answer = self._client.request(method, path, body=body, headers=headers)
        except UnreachableError as error:
            raise ClientError(f"{error}; set SCALER_URL") from None
        except OutgoingError as error:
            raise ClientError(str(error)) from None
        try:
            content = answer.json()
        except ValueError:
            said = f"HTTP {answer.status} with what is no answer of a scaler"
            raise ClientError(f"{self._client.shown_url}: {said}") from None
        if answer.status >= 400:
            detail = content.get("detail", "") if isinstance(content, dict) else ""
            raise ClientError(f"{answer.status}: {printable(cut(str(detail), 500))}")
        return content


def _authorization(settings: ClientSettings) -> str | None:
    token = settings.scaler_token or settings.http_act_token or settings.http_bearer_token
    if token is not None:
        return f"Bearer {token.get_secret_value()}"
    if settings.http_basic_auth is not None:
        user, _, password = settings.http_basic_auth.get_secret_value().partition(":")
        return basic(user, password)
    return None
