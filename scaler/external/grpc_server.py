"""The gRPC server: starts and stops it, in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from common.errors import ConfigError
from common.logs import get
from common.outgoing import NO_SETTINGS, ClientPolicy
from scaler.external.access_log import AccessLog
from scaler.external.decisions import Decisions
from scaler.external.grpc_service import NAME, Service, handlers
from scaler.external.instant_queries import InstantQueries
from scaler.external.interceptor import CallInterceptor
from scaler.external.metrics import Objects, ServerMetrics
from scaler.external.settings import ExternalScalerSettings
from scaler.external.streams import Streams
from scaler.external.tls import credentials
from scaler.external.triggers import Triggers
from scaler.external.upstream import Upstream

_START_TIMEOUT_S = 10.0
_GRACE_S = 5.0
_KEEPALIVE_S = 30
_NEVER_S = 1e9
_log = get("external-scaler")


class ExternalScalerServer:
    """Serves `decisions`, and PromQL of `prometheus_url`, to KEDA."""

    def __init__(
        self,
        settings: ExternalScalerSettings,
        decisions: Decisions,
        prometheus_url: str,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.time,
        policy: ClientPolicy = NO_SETTINGS,
    ) -> None:
        self._settings = settings
        self._decisions = decisions
        self._prometheus_url = prometheus_url
        self._policy = policy
        self._clock = clock
        self._metrics = ServerMetrics(registry)
        self._objects = Objects(settings.grpc_max_objects, clock)
        registry.register(self._objects)
        self._credentials = credentials(settings)
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self.port = 0
        """Where it listens, once started."""

    def start(self) -> ExternalScalerServer:
        """Serve from now on. Raises ConfigError when the address can't be had."""
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S):
            raise ConfigError("GRPC_PORT", self._settings.grpc_port, "an address that answers")
        if self._error is not None:
            raise self._error
        return self

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End every stream with OK, let calls finish, free the port. May be called twice."""
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            # Where it was stopped before, its loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_GRACE_S * 2)

    def __enter__(self) -> ExternalScalerServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            if self._ready.is_set():
                _log.error("gRPC server ended", error=repr(error))
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        settings = self._settings
        loop = self._loop = asyncio.get_running_loop()
        async with InstantQueries(
            self._prometheus_url,
            timeout_s=settings.grpc_query_timeout_s,
            max_bytes=settings.grpc_max_response_bytes,
            max_connections=settings.grpc_max_upstream,
            policy=self._policy,
        ) as queries:
            upstream = self._upstream(queries)
            streams = Streams(
                self._metrics,
                age_s=settings.grpc_max_connection_age_s or _NEVER_S,
                limit=settings.grpc_max_streams,
            )
            server, healthy = await self._serve(upstream, streams)

            def decided() -> None:
                # A decision in the very moment of stopping finds the loop closed.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(streams.wake)

            unsubscribe = self._decisions.subscribe(decided)
            refresher = loop.create_task(upstream.run())
            _log.info("serving", port=self.port, tls=self._credentials is not None)
            self._ready.set()
            try:
                await self._stopping.wait()
            finally:
                unsubscribe()
                await healthy.enter_graceful_shutdown()
                streams.end()
                await server.stop(_GRACE_S)
                refresher.cancel()

    def _upstream(self, queries: InstantQueries) -> Upstream:
        settings = self._settings
        return Upstream(
            queries,
            clock=self._clock,
            monotonic=time.monotonic,
            tick_s=settings.grpc_tick_s,
            stream_tick_s=min(settings.grpc_stream_tick_s, settings.grpc_tick_s),
            max_queries=settings.grpc_max_queries,
            max_parallel=settings.grpc_max_upstream,
            # Between the two, so that a value can still be held before the deadline.
            patience_s=(settings.grpc_query_timeout_s + settings.grpc_deadline_s) / 2,
            report=self._metrics.report,
        )

    async def _serve(
        self, upstream: Upstream, streams: Streams
    ) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
        settings = self._settings
        server = grpc.aio.server(
            interceptors=[CallInterceptor(self._metrics, settings.grpc_deadline_s)],
            options=_options(settings),
            maximum_concurrent_rpcs=settings.grpc_max_streams + settings.grpc_max_calls,
        )
        service = Service(
            triggers=Triggers(settings, self._decisions),
            decisions=self._decisions,
            upstream=upstream,
            streams=streams,
            access_log=AccessLog(self._objects, settings.grpc_access_log),
            decision_max_age_s=settings.grpc_decision_max_age_s,
            heartbeat_s=settings.grpc_heartbeat_s,
        )
        server.add_generic_rpc_handlers((handlers(service),))
        healthy = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        for name in ("", NAME):
            await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
        names = (NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        self.port = self._bind(server)
        await server.start()
        return server, healthy

    def _bind(self, server: grpc.aio.Server) -> int:
        address = f"{self._settings.grpc_host}:{self._settings.grpc_port}"
        try:
            if self._credentials is not None:
                return server.add_secure_port(address, self._credentials)
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError("GRPC_PORT", address, "an address that is free here") from error


def _options(settings: ExternalScalerSettings) -> list[tuple[str, int]]:
    most = settings.grpc_max_streams + settings.grpc_max_calls
    options = [
        # Two servers on one port would answer in turn, and nobody would know.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.grpc_max_metadata_bytes + 8_192),
        ("grpc.max_concurrent_streams", most),
        # Calls that came while this process had no turn wait; by default the core drops them.
        ("grpc.server.max_pending_requests", most),
        ("grpc.server.max_pending_requests_hard_limit", 2 * most),
        ("grpc.keepalive_time_ms", _KEEPALIVE_S * 1_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]
    age_ms = round(settings.grpc_max_connection_age_s * 1_000)
    if age_ms:
        # A stream lives for less than the grace, so that each ends by itself.
        options += [
            ("grpc.max_connection_age_ms", age_ms),
            ("grpc.max_connection_age_grace_ms", age_ms),
        ]
    return options
