"""The routes, typed, with OpenAPI at /api/openapi.json."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.responses import StreamingResponse

from common.bounded import a_few
from common.errors import shorten
from common.http import exposition
from scaler.loop.history import HistoryError
from scaler.policy.orders import Order, OrderKind
from scaler.policy.schedule import bounds
from scaler.policy.target import Target
from scaler.web.access import Access, Nonces, Rates, Role
from scaler.web.events import stream
from scaler.web.feed import Feed, Pulse
from scaler.web.gate import Gate
from scaler.web.models import (
    Chart,
    Dashboard,
    DecisionRecord,
    Explanation,
    Nonce,
    OverrideRequest,
    PauseRequest,
    Problem,
    ResumeRequest,
    Session,
    System,
    TargetStatus,
    TargetSummary,
    WorkerHealth,
)
from scaler.web.page_data import RANGES
from scaler.web.status import StatusBoard

STATIC = Path(__file__).parent / "static"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (401, 403, 404, 422, 429)
}
_ACTION_REFUSALS: dict[int | str, dict[str, Any]] = {
    **_REFUSALS,
    **{status: {"model": Problem} for status in (411, 413, 415, 503)},
}
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    503: {"content": {"text/plain": {"schema": {"type": "string"}}}},
}
Moment = Annotated[
    float | None, Query(ge=0, le=1e11, allow_inf_nan=False, description="Epoch seconds.")
]
Limit = Annotated[int, Query(ge=1, le=500)]
Span = Annotated[str, Query(alias="range", pattern=f"^({'|'.join(RANGES)})$")]


def _chosen(name: str, request: Request) -> Target:
    board: StatusBoard = request.app.state.board
    target = board.target(name)
    if target is None:
        raise _no_target(name, board)
    return target


def _no_target(name: str, board: StatusBoard) -> HTTPException:
    known = a_few([each.name for each in board.controller.targets])
    detail = f"target: {shorten(name)} is not allowed; allowed: {known}"
    return HTTPException(HTTPStatus.NOT_FOUND, detail)


Chosen = Annotated[Target, Depends(_chosen)]


def create_app(
    board: StatusBoard,
    access: Access,
    *,
    health_check: Callable[[], str | None],
    rates: Rates | None = None,
) -> FastAPI:
    """The whole surface over a status board; `health_check` says what is wrong, or None."""
    app = FastAPI(
        title="Autoscaler",
        version=board.system().version,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        exception_handlers={
            RequestValidationError: _invalid,
            HistoryError: _not_ordered,
            500: _failed,
        },
    )
    app.state.board = board
    nonces, pulse = Nonces(), Pulse()
    app.state.pulse = pulse
    board.controller.subscribe(pulse.beat, "pages")
    app.include_router(_machine_routes(board, health_check))
    app.include_router(_own_routes(board, access, nonces))
    app.include_router(_target_routes(board))
    app.include_router(_event_routes(board, Feed(pulse, lambda: board.watch.refresh_s)))
    app.include_router(_act_routes(board))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Gate, access=access, nonces=nonces, rates=rates or Rates())
    return app


def _machine_routes(board: StatusBoard, health_check: Callable[[], str | None]) -> APIRouter:
    router = APIRouter(tags=["machines"])
    registry = board.controller.metrics.registry

    @router.get("/metrics", response_class=PlainTextResponse, responses=_REFUSALS)
    def metrics(request: Request) -> Response:
        """The scaler's own metrics, for Prometheus."""
        body, content_type = exposition(registry, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    # These two on the event loop itself: they are answered also while every thread is busy.

    @router.get("/-/healthy", response_class=PlainTextResponse, responses=_TEXT)
    async def healthy() -> Response:
        """200 while the loop comes round."""
        return _health(health_check())

    @router.get("/-/ready", response_class=PlainTextResponse, responses=_TEXT)
    async def ready() -> Response:
        """200 once the past is read and every target has had a decision."""
        return _health(board.controller.ready)

    return router


def _own_routes(board: StatusBoard, access: Access, nonces: Nonces) -> APIRouter:
    router = APIRouter(tags=["look"], responses=_REFUSALS, dependencies=[_CREDENTIALS])

    @router.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @router.get("/metrics/dashboard")
    def dashboard() -> Dashboard:
        """Everything at once, by target."""
        return board.dashboard()

    @router.get("/api/session")
    def session(request: Request) -> Session:
        """What these credentials allow."""
        return Session(role=request.state.role, acting=access.can_act)

    @router.get("/api/nonce")
    def nonce(request: Request) -> Nonce:
        """A nonce for one action; takes the act token."""
        if request.state.role is not Role.ACT:
            detail = "this takes the act token (HTTP_ACT_TOKEN)"
            raise HTTPException(HTTPStatus.FORBIDDEN, detail)
        return Nonce(nonce=nonces.issue())

    @router.get("/api/system")
    def system() -> System:
        """The scaler itself, and whether Prometheus answers it."""
        board.watch.alerts()
        return board.system()

    @router.get("/api/summary")
    def summary() -> list[TargetSummary]:
        """All targets now, in short."""
        return list(board.summaries().values())

    @router.get("/api/targets")
    def targets() -> list[TargetStatus]:
        """All targets now."""
        return board.statuses()

    return router


def _target_routes(board: StatusBoard) -> APIRouter:
    router = APIRouter(tags=["look"], responses=_REFUSALS, dependencies=[_CREDENTIALS])

    @router.get("/api/targets/{name}")
    def target(chosen: Chosen) -> TargetStatus:
        """One target now."""
        return board.status(chosen)

    @router.get("/api/targets/{name}/decisions")
    def decisions(chosen: Chosen, until: Moment = None, limit: Limit = 50) -> list[DecisionRecord]:
        """Recorded decisions, newest first: changes, and one a minute while nothing changes."""
        return board.decisions(chosen, until=until, limit=limit)

    @router.get("/api/targets/{name}/orders")
    def orders(chosen: Chosen, limit: Limit = 50) -> list[Order]:
        """What people ordered, newest first."""
        kept = board.controller.history.orders(chosen.name, limit=limit)
        return [Order.model_validate(each) for each in kept]

    @router.get("/api/targets/{name}/explanation")
    def explanation(chosen: Chosen, at: Moment = None) -> Explanation:
        """Why there are as many workers as there are, or were at a moment."""
        found = board.explained(chosen, at)
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no decision is kept of that moment")
        return found

    @router.get("/api/targets/{name}/workers")
    def workers(chosen: Chosen) -> list[WorkerHealth]:
        """The fleet."""
        return board.workers(chosen)

    @router.get("/api/targets/{name}/chart")
    def chart(chosen: Chosen, span: Span = "1h") -> Chart:
        """Queue, in-flight, fleet, target and bounds over a range, with scale events."""
        return board.chart(chosen, span)

    return router


def _event_routes(board: StatusBoard, feed: Feed) -> APIRouter:
    router = APIRouter(tags=["look"], responses=_REFUSALS, dependencies=[_CREDENTIALS])

    @router.get(
        "/api/targets/{name}/events",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        },
    )
    async def events(chosen: Chosen, span: Span = "1h") -> Response:
        """Server-sent events without end: sections of the page as they change."""
        if feed.full:
            detail = {"detail": "too many pages are open"}
            return JSONResponse(detail, HTTPStatus.TOO_MANY_REQUESTS)
        content = stream(board, feed, chosen, span)
        return StreamingResponse(content, media_type="text/event-stream")

    return router


def _act_routes(board: StatusBoard) -> APIRouter:
    router = APIRouter(tags=["act"], responses=_ACTION_REFUSALS, dependencies=[_ACT_TOKEN])

    def ordered(
        chosen: Target,
        kind: OrderKind,
        body: PauseRequest | OverrideRequest | ResumeRequest,
        request: Request,
    ) -> TargetStatus:
        now, given = board.clock(), body.model_dump()
        span = given.pop("for_seconds", None)
        until = None if span is None else now + span
        order = Order(at=now, order=kind, by=_who(request), until=until, **given)
        try:
            board.controller.order(chosen.name, order)
        except KeyError:  # gone since it was looked up
            raise _no_target(chosen.name, board) from None
        return board.status(chosen)

    @router.post("/api/targets/{name}/pause")
    def pause(chosen: Chosen, order: PauseRequest, request: Request) -> TargetStatus:
        """Leave the fleet as it is."""
        return ordered(chosen, OrderKind.PAUSE, order, request)

    @router.post("/api/targets/{name}/resume")
    def resume(chosen: Chosen, order: ResumeRequest, request: Request) -> TargetStatus:
        """End a pause or an override."""
        return ordered(chosen, OrderKind.RESUME, order, request)

    @router.post("/api/targets/{name}/override")
    def override(chosen: Chosen, order: OverrideRequest, request: Request) -> TargetStatus:
        """Run so many workers until an end. Busy workers are never stopped by it."""
        limits = bounds(chosen, board.clock())
        if order.replicas > limits.high:
            by = f" by the schedule {limits.high_by}" if limits.high_by else ""
            allowed = f"at most max_workers, which is {limits.high}{by}"
            detail = f"replicas: {order.replicas} is not allowed; allowed: {allowed}"
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        return ordered(chosen, OrderKind.OVERRIDE, order, request)

    return router


_CREDENTIALS = Security(HTTPBearer(scheme_name="look", auto_error=False))
_ACT_TOKEN = Security(HTTPBearer(scheme_name="act", auto_error=False))


def _who(request: Request) -> str:
    """For the record of orders: the token's role and the address that it came from."""
    return f"act from {request.client.host if request.client else 'unknown'}"


def _health(problem: str | None) -> Response:
    if problem is None:
        return PlainTextResponse("ok\n")
    return PlainTextResponse(f"{problem}\n", HTTPStatus.SERVICE_UNAVAILABLE)


async def _invalid(_: Request, error: Exception) -> Response:
    """One line naming field, value and what is allowed."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this alone
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    allowed = str(problem["msg"]).removeprefix("Input should be ")
    detail = f"{field}: {shorten(problem.get('input'))} is not allowed; allowed: {allowed}"
    return JSONResponse({"detail": detail}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _not_ordered(_: Request, error: Exception) -> Response:
    """What could not be written down is not in force."""
    return JSONResponse({"detail": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE)


async def _failed(_: Request, __: Exception) -> Response:
    """Nothing of the inside is told; the log has it."""
    text = "internal error; see the log"
    return JSONResponse({"detail": text}, HTTPStatus.INTERNAL_SERVER_ERROR)
