"""Triggers as they are allowed here, each read and checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from common.errors import InvalidInputError, shorten
from scaler.external.answers import check_target
from scaler.external.decisions import Decisions
from scaler.external.errors import NotAllowedError
from scaler.external.metadata import Trigger, parse
from scaler.external.settings import ExternalScalerSettings

_KEPT = 50_000
_LONGEST_NAME = 253


class Reference(Protocol):
    """A ScaledObjectRef."""

    @property
    def name(self) -> str:
        """The ScaledObject's name."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def scalerMetadata(self) -> Mapping[str, str]:  # noqa: N802 - the wire's name
        """The trigger's metadata."""


class Triggers:
    """Reads triggers. What was read is kept by its content."""

    def __init__(self, settings: ExternalScalerSettings, decisions: Decisions) -> None:
        self._settings = settings
        self._decisions = decisions
        pattern = settings.grpc_query_pattern
        self._pattern = re.compile(pattern) if pattern is not None else None
        self._kept: dict[frozenset[tuple[str, str]], Trigger] = {}

    def of(self, ref: Reference) -> Trigger:
        """The trigger of `ref`. Raises InvalidInputError or NotAllowedError."""
        key = frozenset(ref.scalerMetadata.items())
        trigger = self._kept.get(key)
        if trigger is None:
            trigger = self._read(ref)
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = trigger
        if trigger.target is not None:
            check_target(trigger.target, self._decisions)
        return trigger

    def _read(self, ref: Reference) -> Trigger:
        for field, name in (("name", ref.name), ("namespace", ref.namespace)):
            if len(name) > _LONGEST_NAME:
                raise InvalidInputError(field, name, f"at most {_LONGEST_NAME} characters")
        trigger = parse(ref.scalerMetadata, max_bytes=self._settings.grpc_max_metadata_bytes)
        if self._settings.grpc_targets_only and trigger.target is None:
            names = ", ".join(sorted(self._decisions.names())) or "(none)"
            raise NotAllowedError(f"this server answers for configured targets only: {names}")
        if self._pattern is not None:
            for query in filter(None, (trigger.query, trigger.in_flight_query)):
                if not self._pattern.fullmatch(query):
                    raise NotAllowedError(
                        f"query {shorten(query)} does not match GRPC_QUERY_PATTERN"
                    )
        return trigger
