"""The annotation that has idle pods removed first, against a small API server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from common.errors import ConfigError
from common.settings import load
from scaler.external.pod_deletion_cost import (
    ANNOTATION,
    KubernetesError,
    PodDeletionCost,
    PodDeletionCostSettings,
    Pods,
    costs,
)
from scaler.loop.containment import Containment
from scaler.policy.observation import Worker, WorkerCondition
from tests.support.kubernetes_api import ApiServer
from tests.support.waiting import until


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path / "account")
    try:
        yield server
    finally:
        server.close()


def settings(api: ApiServer) -> PodDeletionCostSettings:
    return load(
        PodDeletionCostSettings,
        environ={
            "POD_DELETION_COST": "true",
            "POD_DELETION_COST_INTERVAL_S": "0.1",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api.port),
            "SERVICE_ACCOUNT_PATH": str(api.account),
        },
    )


def worker(pod: str, state: str) -> Worker:
    return Worker(id=pod, state=WorkerCondition(state), since=0.0, task=pod)


def test_costs_follow_the_workers_and_only_changes_are_written(api: ApiServer) -> None:
    api.pods = {"a": {"keep": "this"}, "b": {}, "c": {}}
    workers = [worker("a", "busy"), worker("b", "idle"), worker("c", "draining")]
    keeper = PodDeletionCost(Pods(settings(api)), lambda: workers, interval_s=1)
    keeper.step()
    assert api.pods["a"] == {"keep": "this", ANNOTATION: "1000"}
    assert (api.cost_of("b"), api.cost_of("c")) == ("0", "1000")
    before = len(api.requests)
    keeper.step()
    assert len(api.requests) == before, "nothing has changed"
    workers[0] = worker("a", "idle")
    workers[1] = worker("b", "busy")
    keeper.step()
    assert (api.cost_of("a"), api.cost_of("b")) == ("0", "1000")
    busy_first = [path.rpartition("/")[2] for path in api.requests[before:]]
    assert busy_first == ["b", "a"]


def test_a_pod_that_is_gone_and_one_of_a_strange_name_stop_nobody(api: ApiServer) -> None:
    api.pods = {"b": {}}
    strange = [worker("../secrets/x", "busy"), worker("", "busy"), worker("A_B", "busy")]
    assert costs(strange) == {}
    workers = [worker("gone", "busy"), worker("b", "busy"), *strange]
    keeper = PodDeletionCost(Pods(settings(api)), lambda: workers, interval_s=1)
    keeper.step()
    keeper.step()
    assert api.cost_of("b") == "1000"
    assert sorted(path.rpartition("/")[2] for path in api.requests) == ["b", "gone"]


def test_one_pod_that_is_refused_keeps_no_other_waiting_and_is_told(api: ApiServer) -> None:
    api.pods, api.forbidden = {"a": {}, "b": {}, "c": {}}, {"a"}
    workers, contained = [worker(name, "busy") for name in "abc"], Containment()
    keeper = PodDeletionCost(
        Pods(settings(api)), lambda: workers, interval_s=1, contained=contained
    )
    keeper.step()
    assert (api.cost_of("b"), api.cost_of("c")) == ("1000", "1000")
    (said,) = contained.sentences()
    assert "HTTP 403 for pod a" in said
    api.forbidden.clear()
    keeper.step()
    assert api.cost_of("a") == "1000"
    assert not contained.sentences()


def test_an_outage_is_made_up_for_and_a_new_token_is_taken(api: ApiServer) -> None:
    api.pods = {"a": {}}
    workers = [worker("a", "busy")]
    keeper = PodDeletionCost(Pods(settings(api)), lambda: workers, interval_s=0.1).start()
    try:
        until(lambda: api.cost_of("a") == "1000")
        api.broken = True
        workers[0] = worker("a", "idle")
        time.sleep(0.3)
        assert api.cost_of("a") == "1000"
        api.broken = False
        api.token("second")
        until(lambda: api.cost_of("a") == "0")
    finally:
        keeper.stop()


def test_another_authority_is_not_trusted(api: ApiServer) -> None:
    (api.account / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    with pytest.raises(KubernetesError, match="a certificate that is not trusted"):
        Pods(settings(api)).annotate("a", 1)
    assert api.requests == []


def test_outside_of_a_cluster_it_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"POD_DELETION_COST.*false outside of Kubernetes"):
        Pods(PodDeletionCostSettings(pod_deletion_cost=True))
