"""Builds what `kubectl kustomize` builds, of the few features that deploy/kubernetes uses."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
_CLUSTER_WIDE = {"Namespace"}
# Keys by which lists of objects are merged in a pod, as Kubernetes' own types say.
_MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
_KNOWN = {
    "apiVersion",
    "kind",
    "namespace",
    "resources",
    "components",
    "configMapGenerator",
    "patches",
    "images",
    "replacements",
}
_LOCAL = "config.kubernetes.io/local-config"


def build(folder: Path) -> list[Resource]:
    """The resources of the kustomization in `folder`."""
    resources, generated = _accumulate(folder, [])
    for resource in generated:
        _add_hash(resource, resources)
    return resources


def load(path: Path) -> list[Resource]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _accumulate(folder: Path, given: list[Resource]) -> tuple[list[Resource], list[Resource]]:
    content = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(content) - _KNOWN
    assert not unknown, f"this builder does not know {unknown}"
    resources, generated = list(given), []
    for name in content.get("resources", []):
        path = folder / name
        if path.is_dir():
            more, made = _accumulate(path, [])
            resources += more
            generated += made
        else:
            resources += load(path)
    for each in content.get("configMapGenerator", []):
        files = {Path(name).name: (folder / name).read_text() for name in each["files"]}
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": each["name"]},
            "data": files,
        }
        resources.append(config_map)
        generated.append(config_map)
    for name in content.get("components", []):
        resources, made = _accumulate(folder / name, resources)
        generated += made
    _transform(content, folder, resources)
    return resources, generated


def _transform(content: dict[str, Any], folder: Path, resources: list[Resource]) -> None:
    for patch in content.get("patches", []):
        if "path" in patch:
            for change in load(folder / patch["path"]):
                _merge(_find(resources, change), change)
        else:
            _apply(patch, resources)
    if "namespace" in content:
        _set_namespace(content["namespace"], resources)
    for image in content.get("images", []):
        for container in _containers(resources):
            if container["image"] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    for replacement in content.get("replacements", []):
        _replace(replacement, resources)
    resources[:] = [one for one in resources if not _is_local(one)]


def _is_local(resource: Resource) -> bool:
    annotations: dict[str, str] = resource["metadata"].get("annotations", {})
    return annotations.get(_LOCAL) == "true"


def _replace(replacement: dict[str, Any], resources: list[Resource]) -> None:
    """Sets fields of one kind to what a field of another resource is."""
    source = replacement["source"]
    like = {"kind": source["kind"], "metadata": {"name": source["name"]}}
    value: Any = _find(resources, like)
    for part in source["fieldPath"].split("."):
        value = value[part]
    for target in replacement["targets"]:
        assert set(target["select"]) == {"kind"}
        for resource in resources:
            if resource["kind"] != target["select"]["kind"]:
                continue
            for path in target["fieldPaths"]:
                *way, last = path.split(".")
                place = resource
                for part in way:
                    place = place[part]
                assert last in place or target["options"]["create"]
                place[last] = copy.deepcopy(value)


def _find(resources: list[Resource], like: Resource) -> Resource:
    [found] = [
        one
        for one in resources
        if one["kind"] == like["kind"] and one["metadata"]["name"] == like["metadata"]["name"]
    ]
    return found


def _merge(into: dict[str, Any], change: dict[str, Any]) -> None:
    """A strategic merge."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif key in _MERGE_KEYS and key in into:
            by = _MERGE_KEYS[key]
            old = {item[by]: item for item in into[key]}
            for item in reversed(value):
                if item[by] in old:
                    _merge(old[item[by]], item)
                else:
                    into[key].insert(0, copy.deepcopy(item))
        else:
            into[key] = copy.deepcopy(value)


def _apply(patch: dict[str, Any], resources: list[Resource]) -> None:
    """A JSON patch that adds or replaces."""
    target = patch["target"]
    for resource in resources:
        group = resource["apiVersion"].rpartition("/")[0]
        if not re.fullmatch(target["kind"], resource["kind"]) or group != target["group"]:
            continue
        for step in yaml.safe_load(patch["patch"]):
            *way, last = step["path"].strip("/").split("/")
            place: Any = resource
            for part in way:
                place = place[int(part) if isinstance(place, list) else part]
            assert step["op"] == ("replace" if last in place else "add")
            place[last] = copy.deepcopy(step["value"])


def _set_namespace(namespace: str, resources: list[Resource]) -> None:
    for resource in resources:
        if resource["kind"] == "Namespace":
            resource["metadata"]["name"] = namespace
        if resource["kind"] not in _CLUSTER_WIDE:
            resource["metadata"]["namespace"] = namespace
        for subject in resource.get("subjects", []):
            subject["namespace"] = namespace


def _add_hash(config_map: Resource, resources: list[Resource]) -> None:
    """A name that changes with the content, and the references to it."""
    old = config_map["metadata"]["name"]
    # As kustomize takes it: of the content without the name, spelt without look-alikes.
    content = {"data": config_map["data"], "kind": "ConfigMap", "name": ""}
    text = json.dumps(content, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    new = f"{old}-{digest.translate(str.maketrans('013ae', 'ghkmt'))}"
    config_map["metadata"]["name"] = new
    for resource in resources:
        for volume in (_pod(resource) or {}).get("volumes", []):
            if volume.get("configMap", {}).get("name") == old:
                volume["configMap"]["name"] = new


def _pod(resource: Resource) -> dict[str, Any] | None:
    spec = resource.get("spec", {})
    template = spec.get("jobTargetRef", spec).get("template", {})
    return template.get("spec") if isinstance(template, dict) else None


def _containers(resources: list[Resource]) -> list[dict[str, Any]]:
    return [container for one in resources for container in (_pod(one) or {}).get("containers", [])]


def pods(resources: list[Resource]) -> dict[str, dict[str, Any]]:
    """The pod of each resource that has one, by the resource's name."""
    found = [(one["metadata"]["name"], _pod(one)) for one in resources]
    return {name: pod for name, pod in found if pod is not None}
