"""The profiling Job of a request and what it needs to speak: account, Role, RoleBinding and the ConfigMap it writes.

Pure. The Job runs the operator's own image and may do one thing: write that one ConfigMap, which is why the operator
makes it (RBAC cannot restrict `create` to a name).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from armature.graph.merge import strategic_merge
from armature.hardware.inventory import Inventory
from armature.hardware.inventory_json import inventory_to_json
from armature.operator.names import (
    PROFILER_ACCOUNT,
    job_name,
    output_name,
    owner_of,
    profiler_labels,
    profiler_role_name,
    request_labels,
)
from armature.operator.settings import Settings

__all__ = ["CONTAINER", "DEFAULT_MOUNT", "output_map", "profiling_objects"]

CONTAINER = "profiler"
DEFAULT_MOUNT = "/opt/model-cache"
_TOKEN_SECRET, _TOKEN_KEY = "hf-token-secret", "HF_TOKEN"  # MC-10
_TRACE_DIR, _CONFIG_DIR, _DATA_DIR = "/trace", "/config", "/data"
_UID = 1000
_CONFIG_MAP_REF, _OUTPUT_PVC = (
    "nvidia.com/dgdr-config-map-ref",
    "nvidia.com/dgdr-output-pvc",
)  # of v1alpha1 requests


def profiling_objects(
    request: Mapping[str, Any], found: Inventory | None, settings: Settings
) -> list[dict[str, Any]]:
    """Everything to create, in order, the Job last. request: v1beta1; found: the GPUs that were discovered."""
    name, namespace = request["metadata"]["name"], request["metadata"]["namespace"]
    role = profiler_role_name(name)
    owned = {
        "namespace": namespace,
        "labels": request_labels(request),
        "ownerReferences": [owner_of(request)],
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": PROFILER_ACCOUNT, "namespace": namespace, "labels": _shared_labels(request)},
    }
    rules = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [output_name(name)],
            "verbs": ["get", "patch", "update"],
        }
    ]
    permission = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": role, **owned},
        "rules": rules,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": role, **owned},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": PROFILER_ACCOUNT, "namespace": namespace}],
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name(name), **owned, "labels": profiler_labels(request)},
        "spec": _job_spec(request, found, settings),
    }
    return [account, permission, binding, output_map(request), job]


def output_map(request: Mapping[str, Any]) -> dict[str, Any]:
    """The ConfigMap that the Job writes, as it is before the Job has said anything."""
    metadata = request["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": output_name(metadata["name"]),
            "namespace": metadata["namespace"],
            "labels": request_labels(request),
            "ownerReferences": [owner_of(request)],
        },
        "data": {},
    }


def _shared_labels(request: Mapping[str, Any]) -> dict[str, str]:
    """Labels of what several requests of a namespace share, so without the name of one."""
    return {key: value for key, value in request_labels(request).items() if key.endswith("managed-by")}


def _job_spec(request: Mapping[str, Any], found: Inventory | None, settings: Settings) -> dict[str, Any]:
    spec: Mapping[str, Any] = request["spec"]
    metadata = request["metadata"]
    args = ["--config", msgspec.json.encode(spec).decode(), "--output-dir", _DATA_DIR]
    args += ["--output-configmap", output_name(metadata["name"])]
    if found is not None:
        args += ["--inventory", inventory_to_json(found)]
    volumes, mounts, cache = _volumes(request)
    if cache:
        args += ["--model-cache", cache]
    trace = _trace_file(spec)
    if trace:
        args += ["--trace", trace]
    token = {"secretKeyRef": {"name": _TOKEN_SECRET, "key": _TOKEN_KEY, "optional": True}}
    container = {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", "armature", "profile"],
        "args": args,
        "env": [
            {"name": "HF_TOKEN", "valueFrom": token},
            {"name": "HUGGING_FACE_HUB_TOKEN", "valueFrom": token},
            {"name": "DGDR_NAME", "value": metadata["name"]},
            {"name": "DGDR_NAMESPACE", "value": metadata["namespace"]},
            {"name": "DGDR_UID", "value": metadata["uid"]},
            {"name": "HOME", "value": "/tmp"},
        ],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    pod: dict[str, Any] = {
        "serviceAccountName": PROFILER_ACCOUNT,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": _UID, "runAsGroup": _UID, "fsGroup": _UID},
        "containers": [container],
        "volumes": volumes,
    }
    if settings.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    job = {
        "backoffLimit": 0,
        "template": {"metadata": {"labels": profiler_labels(request)}, "spec": pod},
    }
    overrides = (spec.get("overrides") or {}).get("profilingJob")
    return strategic_merge(job, overrides) if overrides else job


def _volumes(request: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]:
    """(volumes, mounts, where the model or a cache of models is mounted)."""
    annotations = request["metadata"].get("annotations") or {}
    output = annotations.get(_OUTPUT_PVC)
    data = {"persistentVolumeClaim": {"claimName": output}} if output else {"emptyDir": {}}
    volumes: list[dict[str, Any]] = [{"name": "profiling-output", **data}]
    mounts: list[dict[str, Any]] = [{"name": "profiling-output", "mountPath": _DATA_DIR}]

    def mount(name: str, source: dict[str, Any], path: str) -> None:
        volumes.append({"name": name, **source})
        mounts.append({"name": name, "mountPath": path, "readOnly": True})

    cache: str | None = None
    wanted = request["spec"].get("modelCache") or {}
    if wanted.get("pvcName"):
        path = wanted.get("pvcMountPath") or DEFAULT_MOUNT
        mount(
            "model-cache", {"persistentVolumeClaim": {"claimName": wanted["pvcName"], "readOnly": True}}, path
        )
        inside = str(wanted.get("pvcModelPath") or "")
        cache = (
            inside
            if inside.startswith("/")
            else "/".join(part for part in (path.rstrip("/"), inside) if part)
        )
    ref = annotations.get(_CONFIG_MAP_REF)
    if ref:
        named = msgspec.json.decode(ref, type=dict[str, str])
        items = [{"key": named.get("key", "disagg.yaml"), "path": "disagg.yaml"}]
        mount("profiling-config", {"configMap": {"name": named["name"], "items": items}}, _CONFIG_DIR)
    trace = (request["spec"].get("workload") or {}).get("traceRef") or {}
    if trace.get("configMap"):
        mount("trace", {"configMap": {"name": trace["configMap"]["name"]}}, _TRACE_DIR)
    elif trace.get("pvc"):
        claim = {"claimName": trace["pvc"]["name"], "readOnly": True}
        mount("trace", {"persistentVolumeClaim": claim}, _TRACE_DIR)
    return volumes, mounts, cache


def _trace_file(spec: Mapping[str, Any]) -> str | None:
    """Where the request's trace is in the pod."""
    trace = (spec.get("workload") or {}).get("traceRef") or {}
    inside = (trace.get("configMap") or {}).get("key") or (trace.get("pvc") or {}).get("path")
    return f"{_TRACE_DIR}/{inside}" if inside else None
