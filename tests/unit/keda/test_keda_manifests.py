"""deploy/kubernetes, as it is built: valid, tight, and in step with the programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from common.settings import Settings
from exporter.settings import ExporterSettings
from scaler.config.load import ProgramSection, load_config
from scaler.external.metadata import parse
from scaler.external.pod_deletion_cost import PodDeletionCostSettings
from scaler.external.settings import ExternalScalerSettings
from scaler.run import RunSettings
from tests.support import kustomize
from tests.support.keda_schemas import SPECS
from tests.support.kustomize import Resource
from worker.settings import WorkerSettings

ROOT = Path("deploy/kubernetes")
VARIANTS = ("external-push", "external", "scaled-job")
COMPONENTS = ("pod-deletion-cost", "mutual-tls", "prometheus-operator")
KUBERNETES = ("1.29", "1.33", "1.37")


def overlay(folder: Path, variant: str, components: tuple[str, ...]) -> Path:
    """The shipped kustomization with another choice of variant and components."""
    content = yaml.safe_load((ROOT / "kustomization.yaml").read_text())
    way = Path(os.path.relpath(ROOT.resolve(), folder.resolve()))
    content["resources"] = [str(way / variant)]
    content["components"] = [str(way / "components" / name) for name in components]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(params=VARIANTS)
def resources(request: pytest.FixtureRequest, tmp_path: Path) -> list[Resource]:
    """Everything there is of one variant."""
    return kustomize.build(overlay(tmp_path, request.param, COMPONENTS))


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] == kind]


def check(resource: Resource, version: str) -> None:
    """Raises where the resource is not what Kubernetes, KEDA or the operator take."""
    schema = SPECS.get((resource["apiVersion"], resource["kind"]))
    if schema is None:
        kubernetes_validate.validate(resource, version, strict=True)
        return
    spec = resource["spec"]
    jsonschema.validate(spec, schema)
    metadata = resource["metadata"]
    if "jobTargetRef" in spec:
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": spec["jobTargetRef"],
        }
        kubernetes_validate.validate(job, version, strict=True)
    hpa = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig")
    if hpa:
        autoscaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {
                "maxReplicas": 1,
                "scaleTargetRef": {"kind": "Deployment", "name": "x"},
                "behavior": hpa["behavior"],
            },
        }
        kubernetes_validate.validate(autoscaler, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_resource_is_valid(resources: list[Resource], version: str) -> None:
    for resource in resources:
        check(resource, version)


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("Deployment", lambda spec: spec.update(replica=1)),
        ("Deployment", lambda spec: spec["template"]["spec"].update(volumes="none")),
        ("ScaledObject", lambda spec: spec.update(maxReplicas=3)),
        ("ScaledObject", lambda spec: spec["triggers"][0]["metadata"].update(threshold=5)),
        ("ScaledObject", lambda spec: spec["fallback"].update(behavior="hold")),
        (
            "ScaledObject",
            lambda spec: spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"].update(x=1),
        ),
        ("NetworkPolicy", lambda spec: spec.update(ingres=[])),
        ("ServiceMonitor", lambda spec: spec["endpoints"][0].update(interval="1 s")),
    ],
)
def test_the_check_sees_mistakes(kind: str, break_it: Any, tmp_path: Path) -> None:
    built = kustomize.build(overlay(tmp_path, "external-push", COMPONENTS))
    resource = of_kind(built, kind)[-1]
    break_it(resource["spec"])
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(resource, KUBERNETES[-1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_kubectl_where_there_is_one_builds_the_same(variant: str, tmp_path: Path) -> None:
    folder = overlay(tmp_path, variant, COMPONENTS)
    ours = keyed(kustomize.build(folder))
    assert len(ours) > 15
    for tool in filter(shutil.which, ["kubectl"]):
        command = [tool, "kustomize", str(folder)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert ours == keyed([one for one in yaml.safe_load_all(output) if one])


def keyed(built: list[Resource]) -> dict[tuple[str, str], Resource]:
    return {(one["kind"], one["metadata"]["name"]): one for one in built}


def test_what_is_shipped_is_the_first_variant_with_idle_pods_first() -> None:
    shipped = kustomize.build(ROOT)
    [scaled] = of_kind(shipped, "ScaledObject")
    assert scaled["spec"]["triggers"][0]["type"] == "external-push"
    assert of_kind(shipped, "Role")[0]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}
    ]


def test_triggers_say_what_the_scaler_understands(resources: list[Resource]) -> None:
    [config_map] = of_kind(resources, "ConfigMap")
    content = yaml.safe_load(config_map["data"]["scaling-config.yml"])
    names = [target["name"] for target in content["targets"]]
    [scaled] = of_kind(resources, "ScaledObject") + of_kind(resources, "ScaledJob")
    [trigger] = scaled["spec"]["triggers"]
    parsed = parse(trigger["metadata"])
    assert parsed.target in (None, *names)
    assert parsed.queue in (None, "video-queue")
    [service] = [
        one for one in of_kind(resources, "Service") if one["metadata"]["name"] == "scaler"
    ]
    namespace = service["metadata"]["namespace"]
    address = f"scaler.{namespace}.svc.cluster.local:6000"
    assert trigger["metadata"]["scalerAddress"] == address
    assert service["spec"]["clusterIP"] == "None", "KEDA's client balances by itself"
    assert 6000 in [port["port"] for port in service["spec"]["ports"]]


def test_the_configuration_is_accepted() -> None:
    config = load_config(ROOT / "base" / "scaling-config.yml", environ={})
    assert [target.orchestrator for target in config.targets] == ["dry_run"]


PROGRAMS: dict[str, tuple[type, ...]] = {
    "exporter": (ExporterSettings,),
    "scaler": (
        RunSettings,
        ProgramSection,
        ExternalScalerSettings,
        PodDeletionCostSettings,
    ),
    "video-creator": (WorkerSettings,),
}


def test_every_variable_is_one_that_the_program_reads(resources: list[Resource]) -> None:
    for name, pod in kustomize.pods(resources).items():
        known = {"SCALING_CONFIG"}
        for settings in PROGRAMS[name]:
            assert issubclass(settings, Settings)
            known |= {field.upper() for field in settings.model_fields}
        for container in pod["containers"]:
            for variable in container["env"]:
                plain = variable["name"].removesuffix("_FILE")
                assert {plain, variable["name"]} & known, f"{name} does not read {variable}"


def test_pods_are_locked_down(resources: list[Resource]) -> None:
    for name, pod in kustomize.pods(resources).items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is (name == "scaler")
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert {"readinessProbe", "livenessProbe"} <= set(container)
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_number_of_workers_is_kedas_and_they_have_time_to_finish(
    resources: list[Resource],
) -> None:
    pod = kustomize.pods(resources)["video-creator"]
    environment = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert (
        float(environment["GRACEFUL_SHUTDOWN_TIMEOUT"] or 0)
        == (pod["terminationGracePeriodSeconds"])
    )
    for deployment in of_kind(resources, "Deployment"):
        if deployment["metadata"]["name"] == "video-creator":
            assert "replicas" not in deployment["spec"]
    for scaled in of_kind(resources, "ScaledObject"):
        behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 0
        assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_both_pods_of_workers_are_alike() -> None:
    deployment = kustomize.pods(kustomize.build(ROOT / "worker"))["video-creator"]
    job = kustomize.pods(kustomize.build(ROOT / "scaled-job"))["video-creator"]
    assert job.pop("restartPolicy") == "Never"
    environment = job["containers"][0]["env"]
    environment.remove({"name": "MAX_JOBS", "value": "1"})
    assert job == deployment


def test_jobs_are_instead_of_the_deployment_and_not_beside_it() -> None:
    built = keyed(kustomize.build(ROOT / "scaled-job"))
    assert ("ScaledJob", "video-creator") in built
    assert ("Deployment", "video-creator") not in built


def test_polled_and_pushed_differ_by_the_trigger_alone() -> None:
    polled = keyed(kustomize.build(ROOT / "external"))
    pushed = keyed(kustomize.build(ROOT / "external-push"))
    [trigger] = polled["ScaledObject", "video-creator"]["spec"]["triggers"]
    assert trigger["type"] == "external"
    trigger["type"] = "external-push"
    assert polled == pushed
