"""What the gRPC service refuses to start with."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings import load
from scaler.external.metrics import Objects
from scaler.external.settings import ExternalScalerSettings


def test_the_defaults_are_those_of_the_manual() -> None:
    chosen = load(ExternalScalerSettings, environ={})
    page = Path("docs/keda.md").read_text()
    for name, value in chosen.model_dump().items():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        shown = {"None": "", "False": "false"}.get(shown, shown)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name.upper()}`"))
        assert row.split("|")[2].strip().strip("`") == shown, row


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"GRPC_PORT": "70000"}, "GRPC_PORT: '70000' is not allowed"),
        ({"GRPC_TICK_S": "0"}, "GRPC_TICK_S: '0' is not allowed; allowed: greater than 0"),
        ({"GRPC_QUERY_PATTERN": "("}, r"GRPC_QUERY_PATTERN: '\(' .* a regular expression"),
        ({"GRPC_TLS_CERT_FILE": "/a"}, "GRPC_TLS_CERT_FILE and GRPC_TLS_KEY_FILE together"),
        ({"GRPC_CLIENT_CA_FILE": "/a"}, "GRPC_CLIENT_CA_FILE only with GRPC_TLS_CERT_FILE"),
        ({"GRPC_QUERY_TIMEOUT_S": "3"}, "GRPC_QUERY_TIMEOUT_S below GRPC_DEADLINE_S"),
        ({"GRPC_ACCESS_LOG": "some"}, "GRPC_ACCESS_LOG: 'some' is not allowed"),
    ],
)
def test_wrong_settings_are_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(ExternalScalerSettings, environ=environ)


def test_scaled_objects_that_fall_silent_make_room() -> None:
    now = 0.0
    objects = Objects(2, lambda: 0.0, lambda: now)
    assert objects.state(("n", "a", "m"))
    assert objects.state(("n", "b", "m"))
    assert objects.state(("n", "c", "m")) is None
    now = 601.0
    assert objects.state(("n", "c", "m"))
    assert objects.untracked == 1
