"""Tells Kubernetes what removing each worker's pod would cost, so that idle ones go first.

A ReplicaSet that shrinks removes pods of a lower `controller.kubernetes.io/pod-deletion-cost`
first (among pods that are ready). A busy worker's pod gets a high cost when its job begins and
loses it when the job ends: two small requests a job. Only pods are patched, by name; nothing is
read, so the service account needs the verb `patch` and no other.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated

import requests
from pydantic import Field

from common.errors import ConfigError
from common.logs import get
from common.secret_files import read_secret
from common.settings import Settings
from scaler.policy.observation import Worker, WorkerCondition

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
# Pods without the annotation, such as those of other programs, count as 0.
BUSY, IDLE = 1_000, 0
_CHEAP = (WorkerCondition.IDLE, WorkerCondition.STARTING, WorkerCondition.UNHEALTHY)
_TIMEOUT_S = 5.0
_POD_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_log = get("pod-deletion-cost")

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


class Pods:
    """Pods of the service account's own namespace."""

    def __init__(self, settings: PodDeletionCostSettings) -> None:
        """Raises ConfigError outside of a cluster."""
        if not settings.kubernetes_service_host:
            raise ConfigError("POD_DELETION_COST", True, "false outside of Kubernetes")
        self._account = settings.service_account_path
        host = settings.kubernetes_service_host
        host = f"[{host}]" if ":" in host else host
        namespace = self._read("namespace")
        self._url = (
            f"https://{host}:{settings.kubernetes_service_port}/api/v1/namespaces/{namespace}/pods"
        )
        self._session = requests.Session()
        # Neither a proxy nor a .netrc of the environment has a part in this.
        self._session.trust_env = False
        self._session.verify = str(self._account / "ca.crt")

    def annotate(self, pod: str, cost: int) -> bool:
        """Set the annotation; False when there is no such pod. Raises KubernetesError."""
        try:
            answer = self._session.patch(
                f"{self._url}/{pod}",
                json={"metadata": {"annotations": {ANNOTATION: str(cost)}}},
                headers={
                    # The token is replaced every hour, so it is read each time.
                    "Authorization": f"Bearer {self._read('token')}",
                    "Content-Type": "application/merge-patch+json",
                },
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise KubernetesError(f"{type(error).__name__}: {error}") from error
        if answer.status_code == requests.codes.not_found:
            return False
        if answer.status_code != requests.codes.ok:
            raise KubernetesError(f"HTTP {answer.status_code} for pod {pod}: {answer.text[:200]}")
        return True

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def _read(self, name: str) -> str:
        return read_secret("SERVICE_ACCOUNT_PATH", self._account / name)


class PodDeletionCost:
    """Keeps the annotation in step with the workers' states, on a thread of its own."""

    def __init__(self, pods: Pods, workers: Workers, *, interval_s: float) -> None:
        self._pods = pods
        self._workers = workers
        self._interval_s = interval_s
        self._known: dict[str, int] = {}
        self._failing = False
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
        """Write what has changed, busy pods first. What fails is tried again at the next step."""
        wanted = costs(self._workers())
        self._known = {pod: cost for pod, cost in self._known.items() if pod in wanted}
        changed = [pod for pod, cost in wanted.items() if self._known.get(pod) != cost]
        try:
            for pod in sorted(changed, key=lambda pod: -wanted[pod]):
                # A pod that is not there is not asked for again until its worker changes.
                self._pods.annotate(pod, wanted[pod])
                self._known[pod] = wanted[pod]
        except (KubernetesError, ConfigError) as error:
            if not self._failing:
                _log.error("pods are not annotated", error=str(error))
            self._failing = True
        else:
            if self._failing:
                _log.info("pods are annotated again")
            self._failing = False

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self.step()
            except Exception as error:
                _log.exception("step failed", error=repr(error))


def costs(workers: Iterable[Worker]) -> Mapping[str, int]:
    """The cost of each worker's pod; a worker's `task` is its pod's name."""
    return {
        worker.task: IDLE if worker.state in _CHEAP else BUSY
        for worker in workers
        if _POD_NAME.fullmatch(worker.task)
    }
