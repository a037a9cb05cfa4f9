"""Triggers as they are allowed here, each read and checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Protocol

from common.bounded import Recent, a_few
from common.errors import InvalidInputError, shorten
from scaler.external.answers import check_target
from scaler.external.decisions import Decisions
from scaler.external.errors import NotAllowedError
from scaler.external.metadata import Trigger, parse
from scaler.external.settings import ExternalScalerSettings

# ScaledObjects have more triggers than there are queries: those of targets, and shared ones.
_KEPT_PER_QUERY = 2
_KEPT_BYTES = 8_388_608
# What an object takes beside its metadata.
_OWN_BYTES = 2_048
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
    """Reads triggers. What was read is kept by its content, the most recent ones within a bound."""

    def __init__(self, settings: ExternalScalerSettings, decisions: Decisions) -> None:
        self._settings = settings
        self._decisions = decisions
        pattern = settings.grpc_query_pattern
        self._pattern = re.compile(pattern) if pattern is not None else None
        self.kept: Recent[bytes, Trigger] = Recent(
            _KEPT_PER_QUERY * settings.grpc_max_queries, most_size=_KEPT_BYTES
        )
        """By a digest of their metadata, sized in bytes."""

    def of(self, ref: Reference) -> Trigger:
        """The trigger of `ref`. Raises InvalidInputError or NotAllowedError."""
        for field, name in (("name", ref.name), ("namespace", ref.namespace)):
            if len(name) > _LONGEST_NAME:
                raise InvalidInputError(field, name, f"at most {_LONGEST_NAME} characters")
        key, size = _content(ref.scalerMetadata)
        trigger = self.kept.get(key)
        if trigger is None:
            trigger = self._read(ref)
            self.kept.put(key, trigger, size + _OWN_BYTES)
        if trigger.target is not None:
            check_target(trigger.target, self._decisions)
        return trigger

    def _read(self, ref: Reference) -> Trigger:
        trigger = parse(ref.scalerMetadata, max_bytes=self._settings.grpc_max_metadata_bytes)
        if self._settings.grpc_targets_only and trigger.target is None:
            known = a_few(sorted(self._decisions.names()))
            raise NotAllowedError(f"this server answers for configured targets only: {known}")
        if self._pattern is not None:
            for query in filter(None, (trigger.query, trigger.in_flight_query)):
                if not self._pattern.fullmatch(query):
                    raise NotAllowedError(
                        f"query {shorten(query)} does not match GRPC_QUERY_PATTERN"
                    )
        return trigger


def _content(metadata: Mapping[str, str]) -> tuple[bytes, int]:
    """What tells these metadata from others, and how many bytes they have."""
    digest, size = blake2b(digest_size=20), 0
    for pair in sorted(metadata.items()):
        for text in pair:
            piece = text.encode("utf-8", "surrogatepass")
            size += len(piece)
            # With its length, so that no two different ones read the same.
            digest.update(len(piece).to_bytes(8, "big") + piece)
    return digest.digest(), size
