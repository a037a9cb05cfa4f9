"""What the API says of a controller, and what orders come to."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from common.http import HttpSettings
from scaler.external.answers import of_target
from scaler.external.decisions import ControllerDecisions
from scaler.external.errors import UnknownValueError
from scaler.external.metadata import parse
from scaler.loop.controller import Controller
from scaler.orchestrators.base import FleetHandle, OrchestratorError
from scaler.policy.memory import Memory
from scaler.policy.observation import Known, Worker
from scaler.policy.schedule import Bounds
from scaler.policy.target import Schedule, Target
from scaler.web.access import Access
from scaler.web.app import create_app
from scaler.web.events import stream
from scaler.web.feed import Feed, Pulse
from scaler.web.scale_events import changes
from scaler.web.verdict import verdict
from tests.support.crew import START, Crew, board_of, controller_of

LOOK = {"Authorization": "Bearer look-token-of-tests"}
ACT = {"Authorization": "Bearer act-token-of-tests"}


def order(client: TestClient, name: str, what: str, body: dict[str, object]) -> dict[str, object]:
    nonce = client.get("/api/nonce", headers=ACT).json()["nonce"]
    headers = {**ACT, "X-Action-Nonce": nonce}
    answer = client.post(f"/api/targets/{name}/{what}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_dashboard_has_the_plans_four_parts(client: TestClient) -> None:
    content = client.get("/metrics/dashboard", headers=LOOK).json()
    assert set(content) == {
        "current_status",
        "scaling_history",
        "performance_metrics",
        "worker_health",
    }
    status = content["current_status"]["video-creator"]
    assert status["in_flight"] == 1
    assert status["target_workers"] == status["active_workers"] == 2
    assert status["scaling_recommendation"] == "maintain"
    busy, idle = content["worker_health"]["video-creator"]
    assert (busy["id"], busy["job_id"]) == ("w-1", "job-of-w-1")
    assert (idle["id"], idle["job_id"]) == ("w-2", None)
    (decision,) = content["scaling_history"]["video-creator"]
    assert decision["inputs"]["waiting"]["query"]


def test_openapi_is_valid_and_names_every_route(client: TestClient) -> None:
    spec = client.get("/api/openapi.json", headers=LOOK).json()
    validate(spec)
    assert "/metrics/dashboard" in spec["paths"]
    assert "/api/targets/{name}/override" in spec["paths"]


def test_the_metrics_are_prometheus(client: TestClient) -> None:
    answer = client.get("/metrics", headers=LOOK)
    assert "autoscaler_target_replicas" in answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_an_unknown_target_names_those_there_are(client: TestClient) -> None:
    answer = client.get("/api/targets/nobody", headers=LOOK)
    assert answer.status_code == 404
    assert "video-creator, other" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("until=x", "until"), ("limit=9999", "limit")]
)
def test_a_wrong_query_is_named(client: TestClient, query: str, field: str) -> None:
    answer = client.get(f"/api/targets/other/decisions?{query}", headers=LOOK)
    assert answer.status_code == 422
    assert field in answer.json()["detail"]
    assert "allowed" in answer.json()["detail"]


def test_a_pause_holds_and_ends_by_itself(
    client: TestClient, crew: Crew, controller: Controller
) -> None:
    order(client, "video-creator", "pause", {"reason": "a deploy", "for_seconds": 60})
    crew.waiting["video-creator"] = 4
    crew.now += 1
    controller.cycle()
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert status["verdict"]["level"] == "paused"
    assert status["order"] == {
        "order": "pause",
        "reason": "a deploy",
        "until": START + 60,
        "replicas": None,
    }
    assert len(crew.states["video-creator"]) == 2
    crew.now += 60
    controller.cycle()
    assert len(crew.states["video-creator"]) == 5


def test_an_override_sets_the_number_until_its_end(
    client: TestClient, crew: Crew, controller: Controller
) -> None:
    body = {"reason": "a launch", "replicas": 4, "for_seconds": 60}
    order(client, "video-creator", "override", body)
    crew.now += 1
    controller.cycle()
    assert len(crew.states["video-creator"]) == 4
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert status["bound"] == "override"
    assert "a launch" in status["reason"]
    crew.now += 60
    controller.cycle()
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert status["order"] is None


def test_an_override_never_goes_below_the_busy(
    client: TestClient, crew: Crew, controller: Controller
) -> None:
    crew.states["video-creator"] = {"a": "busy", "b": "busy", "c": "idle"}
    order(client, "video-creator", "override", {"reason": "x", "replicas": 0, "for_seconds": 60})
    crew.now += 1
    controller.cycle()
    latest = controller.latest("video-creator")
    assert latest is not None
    assert latest.decision.replicas == 2


def test_an_override_above_the_maximum_is_refused(client: TestClient) -> None:
    nonce = client.get("/api/nonce", headers=ACT).json()["nonce"]
    answer = client.post(
        "/api/targets/video-creator/override",
        json={"reason": "x", "replicas": 6, "for_seconds": 60},
        headers={**ACT, "X-Action-Nonce": nonce},
    )
    assert answer.status_code == 422
    assert "at most max_workers, which is 5" in answer.json()["detail"]


@pytest.mark.parametrize(("opened_at", "most"), [(3, 3), (12, 12)])
def test_an_override_may_be_as_high_as_the_schedule_in_force_lets_it(
    client: TestClient, crew: Crew, controller: Controller, opened_at: int, most: int
) -> None:
    night = Schedule(name="night", start="0 22 * * *", end="0 6 * * *", max_workers=opened_at)
    target = Target(max_workers=5, schedules=(night,))
    controller.reconfigure([target], {"process": crew})
    nonce = client.get("/api/nonce", headers=ACT).json()["nonce"]
    body = {"reason": "x", "replicas": most + 1, "for_seconds": 60}
    answer = client.post(
        "/api/targets/video-creator/override",
        json=body,
        headers={**ACT, "X-Action-Nonce": nonce},
    )
    assert answer.status_code == 422
    assert f"which is {most} by the schedule night" in answer.json()["detail"]
    order(client, "video-creator", "override", {**body, "replicas": most})
    crew.now += 1
    controller.cycle()
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert (status["target_workers"], status["max_workers"]) == (most, most)


def test_a_resume_ends_either(client: TestClient, crew: Crew, controller: Controller) -> None:
    for what in ("pause", "override"):
        body: dict[str, object] = {"reason": "x", "for_seconds": 600}
        if what == "override":
            body["replicas"] = 3
        order(client, "video-creator", what, body)
        crew.now += 1
        order(client, "video-creator", "resume", {"reason": "done"})
        status = client.get("/api/targets/video-creator", headers=LOOK).json()
        assert status["order"] is None
        crew.now += 1
    kept = client.get("/api/targets/video-creator/orders", headers=LOOK).json()
    assert [each["order"] for each in kept] == ["resume", "override", "resume", "pause"]


def test_orders_outlive_a_restart(client: TestClient, controller: Controller, crew: Crew) -> None:
    order(client, "video-creator", "override", {"reason": "x", "replicas": 3, "for_seconds": 60})
    kept = controller.history.memory("video-creator")
    assert kept is not None
    memory = Memory.from_json(json.loads(json.dumps(kept[1])))
    assert memory.order is not None
    assert memory.order.replicas == 3


def test_an_order_that_cannot_be_kept_is_refused_with_the_reason(
    client: TestClient, controller: Controller, tmp_path: Path
) -> None:
    nonce = client.get("/api/nonce", headers=ACT).json()["nonce"]
    with closing(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = client.post(
            "/api/targets/video-creator/pause",
            json={"reason": "x"},
            headers={**ACT, "X-Action-Nonce": nonce},
        )
        other.execute("ROLLBACK")
    assert answer.status_code == 503
    assert "database is locked" in answer.json()["detail"]
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert status["order"] is None
    assert client.get("/api/targets/video-creator/orders", headers=LOOK).json() == []
    order(client, "video-creator", "pause", {"reason": "again"})
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert status["order"]["reason"] == "again", "a later try is as good as a first"


def test_blindness_is_told_with_its_begin(
    client: TestClient, crew: Crew, controller: Controller
) -> None:
    client.get("/api/system", headers=LOOK)
    crew.blind = True
    crew.now += 60
    controller.cycle()
    system = client.get("/api/system", headers=LOOK).json()
    assert system["prometheus_silent_since"] == START
    assert "not reachable" in system["prometheus_error"]
    status = client.get("/api/targets/video-creator", headers=LOOK).json()
    assert status["verdict"]["since"] == START
    assert status["verdict"]["text"] == "Signals are unknown: holding 2 workers"
    assert status["queue_depth"] is None


@pytest.mark.parametrize(
    ("waiting", "hold", "obstacle", "level", "words"),
    [
        (0, None, None, "good", "Keeping up"),
        (9, None, None, "warning", "At the maximum of 5: 9 jobs wait"),
        (3, None, None, "busy", "Growing to 4 workers"),
        (3, "an update runs", None, "warning", "Held: an update runs"),
        (3, None, "no node is fit", "bad", "Workers do not start: no node is fit"),
    ],
)
def test_the_verdict_says_what_matters_first(
    *,
    crew: Crew,
    controller: Controller,
    waiting: int,
    hold: str | None,
    obstacle: str | None,
    level: str,
    words: str,
) -> None:
    crew.waiting["video-creator"], crew.hold, crew.obstacle = waiting, hold, obstacle
    crew.now += 1
    controller.cycle()
    cycle, memory = controller.latest("video-creator"), controller.memory("video-creator")
    found = verdict(cycle, memory, Bounds(1, 5, "", ""))
    assert (found.level, found.text) == (level, words)


def test_scale_events_are_where_the_number_changed() -> None:
    times = count(0.0)
    decisions = [{"at": next(times), "replicas": n, "reason": "r"} for n in (1, 1, 5, 5, 2)]
    events = changes(decisions)
    assert [(e.at, e.before, e.after) for e in events] == [(2.0, 1, 5), (4.0, 5, 2)]


def test_the_chart_covers_its_range(client: TestClient) -> None:
    chart = client.get("/api/targets/video-creator/chart?range=1h", headers=LOOK).json()
    assert chart["step"] == 15
    assert len(chart["series"]["waiting"]) == 241


def test_known_signals_come_with_their_query(controller: Controller) -> None:
    latest = controller.latest("video-creator")
    assert latest is not None
    assert isinstance(latest.decision.observation.waiting, Known)


class Away(Crew):
    """Neither Prometheus nor the engine ever answered."""

    def __init__(self) -> None:
        super().__init__()
        self.blind = True

    def fleet(self, target: Target, workers: Sequence[Worker] | None) -> FleetHandle:
        raise OrchestratorError("the engine is not reachable")


def test_where_no_number_was_ever_known_it_is_null_and_said_why(tmp_path: Path) -> None:
    away = Away()
    controller = controller_of(away, [Target()], tmp_path)
    with closing(controller.history):
        board = board_of(away, controller)
        app = create_app(board, Access(HttpSettings(), None), health_check=lambda: None)
        client = TestClient(app)
        status = client.get("/api/targets/video-creator").json()
        assert status["target_workers"] is None
        assert status["active_workers"] is None
        assert "no number is given, as none was ever known" in status["verdict"]["text"]
        (summary,) = client.get("/api/summary").json()
        assert (summary["target_workers"], summary["level"]) == (None, "bad")
        newest = client.get("/api/targets/video-creator/explanation").json()
        assert newest["decision"]["replicas"] is None
        assert "No number was ever known" in newest["text"]
        assert "null" not in newest["text"]
        said = client.get("/metrics/dashboard").json()
        assert said["current_status"]["video-creator"]["target_workers"] is None
        trigger, decisions = parse({"target": "video-creator"}), ControllerDecisions(controller)
        cycle = controller.latest("video-creator")
        assert cycle is not None
        with pytest.raises(UnknownValueError, match="no number is known for video-creator"):
            of_target(trigger, decisions, now=cycle.made_at, max_age_s=120)


def test_what_fails_beside_the_deciding_is_told(client: TestClient, controller: Controller) -> None:
    assert client.get("/api/system", headers=LOOK).json()["problems"] == []

    def fails() -> None:
        raise OSError("no such pod")

    controller.subscribe(fails, "a listener")
    controller.cycle()
    (problem,) = client.get("/api/system", headers=LOOK).json()["problems"]
    assert "a listener" in problem
    assert "no such pod" in problem


def test_of_a_thousand_targets_a_few_are_named(tmp_path: Path) -> None:
    crew = Crew()
    targets = [Target(name=f"t{n:04}", queue=f"q{n}", service=f"s{n}") for n in range(1_000)]
    controller = controller_of(crew, targets[:1], tmp_path)
    app = create_app(
        board_of(crew, controller), Access(HttpSettings(), None), health_check=lambda: None
    )
    client = TestClient(app)
    assert client.get("/-/ready").status_code == 200
    controller.reconfigure(targets, {"process": crew})
    ready = client.get("/-/ready")
    assert ready.status_code == 503
    assert "t0001" in ready.text
    assert len(ready.text) < 200
    assert "990 more" in client.get("/api/targets/nobody").json()["detail"]
    controller.cycle()
    assert client.get("/-/ready").status_code == 200
    assert len(client.get("/api/targets").json()) == len(client.get("/api/summary").json()) == 1_000
    history = client.get("/metrics/dashboard").json()["scaling_history"]
    assert max(map(len, history.values())) <= 2
    controller.history.close()


def test_a_section_that_fails_leaves_the_others(
    crew: Crew, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = board_of(crew, controller)

    def fails(_: Target) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(board, "explanation", fails)

    async def sections() -> set[str]:
        pulse, found = Pulse(), set[str]()
        feed = Feed(pulse, lambda: 5.0)
        async for event in stream(board, feed, controller.targets[0], "1h"):
            found |= {event.splitlines()[0].removeprefix("event: ")} - {": still here"}
            if found == others:
                pulse.end()
        return found

    others = {
        *("system", "names", "targets", "alerts"),
        *("status", "fleet", "decisions", "orders"),
        *("chart", "events"),
    }
    assert asyncio.run(sections()) == others
