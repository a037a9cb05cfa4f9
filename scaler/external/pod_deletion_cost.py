"""Tells Kubernetes what removing each worker's pod would cost, so that idle ones go first.

A ReplicaSet that shrinks removes pods of a lower `controller.kubernetes.io/pod-deletion-cost`
first (among pods that are ready). A busy worker's pod gets a high cost when its job begins and
loses it when the job ends: two small requests a job. Only pods are patched, by name; nothing is
read, so the service account needs the verb `patch` and no other.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.errors import ConfigError, cut, printable
from common.http_client import HttpClient, OutgoingError
from common.outgoing import ClientPolicy
from common.secret_files import read_secret
from common.settings import Settings
from scaler.loop.containment import Containment, LoopPart, sentence
from scaler.policy.observation import Worker, WorkerCondition

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
# Pods without the annotation, such as those of other programs, count as 0.
BUSY, IDLE = 1_000, 0
_CHEAP = (WorkerCondition.IDLE, WorkerCondition.STARTING, WorkerCondition.UNHEALTHY)
_TIMEOUT_S = 5.0
_POD_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

Workers = Callable[[], Iterable[Worker]]


class PodDeletionCostSettings(Settings):
    """Where the Kubernetes API is. The defaults are what every pod finds."""

    pod_deletion_cost: bool = False
    """Whether to keep the annotation."""
    pod_deletion_cost_interval_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """How often to look for changes."""
    kubernetes_service_host: str = ""
    kubernetes_service_port: Annotated[int, Field(ge=1, le=65_535)] = 443
    service_account_path: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Folder of `token`, `ca.crt` and `namespace`."""


class KubernetesError(Exception):
    """The Kubernetes API did not answer, or refused."""


class KubernetesAwayError(KubernetesError):
    """It did not answer: nor will it for the next pod."""


class Pods:
    """Pods of the service account's own namespace."""

    def __init__(self, settings: PodDeletionCostSettings) -> None:
        """Raises ConfigError outside of a cluster."""
        if not settings.kubernetes_service_host:
            raise ConfigError("POD_DELETION_COST", True, "false outside of Kubernetes")
        account = settings.service_account_path
        host = settings.kubernetes_service_host
        host = f"[{host}]" if ":" in host else host
        namespace = read_secret("SERVICE_ACCOUNT_PATH", account / "namespace")
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        # The token is replaced every hour, the authority now and then.
        files = {"CA_FILE": account / "ca.crt", "BEARER_TOKEN_FILE": account / "token"}
        policy = ClientPolicy("KUBERNETES", {f"KUBERNETES_{k}": str(v) for k, v in files.items()})
        self._client = HttpClient(
            "the Kubernetes API",
            f"https://{host}:{settings.kubernetes_service_port}",
            policy,
            timeout_s=_TIMEOUT_S,
        )

    def annotate(self, pod: str, cost: int) -> bool:
        """Set the annotation; False when there is no such pod. Raises KubernetesError."""
        change = {"metadata": {"annotations": {ANNOTATION: str(cost)}}}
        try:
            answer = self._client.request(
                "PATCH",
                f"{self._path}/{pod}",
                body=json.dumps(change).encode(),
                headers={"Content-Type": "application/merge-patch+json"},
            )
        except OutgoingError as error:
            raise KubernetesAwayError(str(error)) from None
        if answer.status == 404:
            return False
        if answer.status != 200:
            said = printable(cut(answer.body.decode("utf-8", "replace"), 200))
            raise KubernetesError(f"HTTP {answer.status} for pod {pod}: {said}")
        try:
            answer.json()
        except ValueError:
            said = f"HTTP {answer.status} with what is no answer of the Kubernetes API"
            raise KubernetesError(said) from None
        return True

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()


class PodDeletionCost:
    """Keeps the annotation in step with the workers' states, on a thread of its own."""

    def __init__(
        self,
        pods: Pods,
        workers: Workers,
        *,
        interval_s: float,
        contained: Containment | None = None,
    ) -> None:
        """What fails is told to `contained`."""
        self._pods = pods
        self._contained = contained or Containment()
        self._workers = workers
        self._interval_s = interval_s
        self._known: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pod-deletion-cost", daemon=True)

    def start(self) -> PodDeletionCost:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; the annotations stay as they are."""
        self._stop.set()
        self._thread.join(_TIMEOUT_S * 2)
        self._pods.close()

    def step(self) -> None:
        """Write what has changed, busy pods first. What fails for one pod keeps no other waiting,
        and is tried again at the next step."""
        wanted = costs(self._workers())
        self._known = {pod: cost for pod, cost in self._known.items() if pod in wanted}
        changed = [pod for pod, cost in wanted.items() if self._known.get(pod) != cost]
        failures = []
        for pod in sorted(changed, key=lambda pod: -wanted[pod]):
            try:
                # A pod that is not there is not asked for again until its worker changes.
                self._pods.annotate(pod, wanted[pod])
                self._known[pod] = wanted[pod]
            except KubernetesAwayError as error:
                failures.append(str(error))
                break
            except (KubernetesError, ConfigError) as error:
                failures.append(str(error))
        if failures:
            self._contained.failed(LoopPart.PODS, "", f"not annotated: {failures[0]}")
        else:
            self._contained.works(LoopPart.PODS)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.step()
            except Exception as error:  # a fault of ours must not end it
                self._contained.failed(LoopPart.PODS, "", sentence(error), error)


def costs(workers: Iterable[Worker]) -> Mapping[str, int]:
    """The cost of each worker's pod; a worker's `task` is its pod's name."""
    return {
        worker.task: IDLE if worker.state in _CHEAP else BUSY
        for worker in workers
        if _POD_NAME.fullmatch(worker.task)
    }
