"""A running scaler, as its own command line reaches it over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import requests
from pydantic import Field, SecretStr

from common.bounded import a_few
from common.settings import Settings
from common.urls import SERVICE, ServiceUrl, require, without_credentials

_TIMEOUT_S = 10.0


class ClientSettings(Settings):
    """Where the scaler is and who asks. Beside the scaler, its own variables are enough."""

    scaler_url: ServiceUrl | None = None
    """Default http://127.0.0.1:HTTP_PORT."""
    scaler_token: SecretStr | None = None
    """Bearer token; default HTTP_ACT_TOKEN, then HTTP_BEARER_TOKEN."""
    scaler_ca_file: Path | None = None
    """Authority of the scaler's certificate, where the system does not know it."""
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    http_act_token: SecretStr | None = None
    http_bearer_token: SecretStr | None = None
    http_basic_auth: SecretStr | None = None


class ClientError(Exception):
    """The scaler did not answer, or refused; the sentence is for a person."""


class Client:
    """The API of one scaler. Methods raise ClientError."""

    def __init__(self, settings: ClientSettings, url: str | None = None) -> None:
        """`url` wins over the settings' own. Raises ConfigError when it is none."""
        if url is not None:
            require("--url", url, SERVICE)
        self._url = url or settings.scaler_url or f"http://127.0.0.1:{settings.http_port}"
        self._url = self._url.rstrip("/")
        self._shown = without_credentials(self._url)
        self._session = requests.Session()
        self._session.trust_env = False
        if settings.scaler_ca_file is not None:
            self._session.verify = str(settings.scaler_ca_file)
        token = settings.scaler_token or settings.http_act_token or settings.http_bearer_token
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        elif settings.http_basic_auth is not None:
            user, _, password = settings.http_basic_auth.get_secret_value().partition(":")
            self._session.auth = (user, password)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`."""
        return self._ask("GET", path, params=query)

    def act(self, path: str, body: Mapping[str, Any]) -> Any:
        """Order something; what the API answers."""
        nonce = self.get("/api/nonce")["nonce"]
        return self._ask("POST", path, json=body, headers={"X-Action-Nonce": nonce})

    def target(self, name: str | None) -> str:
        """`name`, or without one the only target; as a part of a path."""
        if name is None:
            names = [each["name"] for each in self.get("/api/targets")]
            if len(names) != 1:
                raise ClientError(f"which target? There are: {a_few(names)}")
            name = names[0]
        return f"/api/targets/{quote(name, safe='')}"

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._session.request(
                method, self._url + path, timeout=_TIMEOUT_S, **arguments
            )
            content = answer.json()
        except requests.ConnectionError as error:
            raise ClientError(f"no scaler answers at {self._shown}; set SCALER_URL") from error
        except (requests.RequestException, ValueError) as error:
            raise ClientError(f"{self._shown}{path} gave no usable answer") from error
        if answer.status_code >= 400:
            detail = content.get("detail", "") if isinstance(content, dict) else ""
            raise ClientError(f"{answer.status_code}: {detail}")
        return content
