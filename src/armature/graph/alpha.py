"""The v1alpha1 form of what this room writes, and of the partial graphs that users put into `overrides.dgd`.

Only the shapes we generate go down to v1alpha1 (`dgd_to_v1alpha1`), and only partial components come up
(`component_from_service`); whole foreign objects are the `api` room's conversion.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from armature.errors import Problem
from armature.graph.names import did_you_mean

__all__ = ["V1ALPHA1", "V1BETA1", "component_from_service", "dgd_to_v1alpha1"]

V1ALPHA1 = "nvidia.com/v1alpha1"
V1BETA1 = "nvidia.com/v1beta1"

_PLAIN = ("replicas", "multinode", "modelRef", "eppConfig", "topologyConstraint", "globalDynamoNamespace")
_SERVICE_KEYS = frozenset(
    (
        "annotations",
        "labels",
        "componentType",
        "subComponentType",
        "resources",
        "envs",
        "envFromSecret",
        "volumeMounts",
        "sharedMemory",
        "extraPodMetadata",
        "extraPodSpec",
        "livenessProbe",
        "readinessProbe",
        "scalingAdapter",
        *_PLAIN,
    )
)
_NATIVE_RESOURCES = ("cpu", "memory")


def dgd_to_v1alpha1(dgd: Mapping[str, Any]) -> dict[str, Any]:
    """A v1beta1 graph of ours as v1alpha1: services, per-node GPU strings, PVCs by `pvcs` and `volumeMounts`
    (MC-04), the rest of the pod under `extraPodSpec`. PVC mounts lose `readOnly`, which v1alpha1 cannot say."""
    spec = dgd["spec"]
    services: dict[str, Any] = {}
    claims: list[str] = []
    for component in spec["components"]:
        service, used = _service(component)
        services[component["name"]] = service
        claims.extend(used)
    out: dict[str, Any] = {}
    if "backendFramework" in spec:
        out["backendFramework"] = spec["backendFramework"]
    for key in ("annotations", "labels", "priorityClassName"):
        if key in spec:
            out[key] = copy.deepcopy(spec[key])
    if claims:
        out["pvcs"] = [{"name": name, "create": False} for name in dict.fromkeys(claims)]
    if spec.get("env"):
        out["envs"] = copy.deepcopy(spec["env"])
    out["services"] = services
    return {
        "apiVersion": V1ALPHA1,
        "kind": dgd["kind"],
        "metadata": copy.deepcopy(dict(dgd["metadata"])),
        "spec": out,
    }


def _service(component: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    template = component.get("podTemplate") or {}
    pod = copy.deepcopy(dict(template.get("spec") or {}))
    containers = pod.pop("containers", [])
    main: dict[str, Any] = next((item for item in containers if item.get("name") == "main"), {})
    others = [item for item in containers if item.get("name") != "main"]
    service: dict[str, Any] = {}
    role = component.get("type")
    if role in ("prefill", "decode"):
        service |= {"componentType": "worker", "subComponentType": role}
    elif role:
        service["componentType"] = role
    for key in _PLAIN:
        if key in component:
            service[key] = copy.deepcopy(component[key])
    if "scalingAdapter" in component:
        service["scalingAdapter"] = {"enabled": True}
    if (size := component.get("sharedMemorySize")) is not None:
        service["sharedMemory"] = {"disabled": True} if str(size) == "0" else {"size": str(size)}
    if metadata := template.get("metadata"):
        service["extraPodMetadata"] = copy.deepcopy(dict(metadata))
    if resources := _alpha_resources(main.pop("resources", None)):
        service["resources"] = resources
    if env := main.pop("env", None):
        service["envs"] = env
    if (secret := _only_secret(main)) is not None:
        service["envFromSecret"] = secret
        del main["envFrom"]
    mounts, claims = _pvc_mounts(pod, main)
    if mounts:
        service["volumeMounts"] = mounts
    main.pop("name", None)
    if main:
        pod["mainContainer"] = main
    if others:
        pod["containers"] = others
    if pod:
        service["extraPodSpec"] = pod
    return service, claims


def _alpha_resources(resources: Mapping[str, Any] | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for side, amounts in (resources or {}).items():
        if not isinstance(amounts, Mapping):
            continue
        plain: dict[str, Any] = {}
        custom: dict[str, str] = {}
        for name, amount in amounts.items():
            if name == "nvidia.com/gpu":
                plain["gpu"] = str(amount)
            elif name in _NATIVE_RESOURCES:
                plain[name] = str(amount)
            else:
                custom[name] = str(amount)
        out[side] = plain | ({"custom": custom} if custom else {})
    return out


def _only_secret(container: Mapping[str, Any]) -> str | None:
    """Name of the one secret that `envFrom` names; v1alpha1's `envFromSecret` is optional by itself."""
    sources = container.get("envFrom") or []
    if len(sources) == 1 and set(sources[0]) == {"secretRef"}:
        return str(sources[0]["secretRef"]["name"])
    return None


def _pvc_mounts(pod: dict[str, Any], main: dict[str, Any]) -> tuple[list[dict[str, str]], list[str]]:
    """Moves PVC volumes and their mounts out of pod and container: (service mounts, claim names)."""
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    mounts = [
        {"name": claims[mount["name"]], "mountPoint": mount["mountPath"]}
        for mount in main.get("volumeMounts", [])
        if mount["name"] in claims
    ]
    for holder, key, named in ((pod, "volumes", "name"), (main, "volumeMounts", "name")):
        left = [item for item in holder.get(key, []) if item[named] not in claims]
        holder.pop(key, None)
        if left:
            holder[key] = left
    return mounts, list(claims.values())


def component_from_service(service: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[Problem]]:
    """A partial v1alpha1 service as a partial v1beta1 component without a name, and what is wrong with it.

    Only what was set appears, so that merging it changes nothing else.
    """
    problems = [
        Problem(f"{path}.{key}", "cannot be overridden in this form", mend=_service_hint(key))
        for key in service
        if key not in _SERVICE_KEYS
    ]
    component: dict[str, Any] = {key: copy.deepcopy(service[key]) for key in _PLAIN if key in service}
    role = service.get("subComponentType") or service.get("componentType")
    if role is not None:
        component["type"] = role
    if isinstance(adapter := service.get("scalingAdapter"), Mapping):
        component["scalingAdapter"] = {} if adapter.get("enabled") else None
    if isinstance(memory := service.get("sharedMemory"), Mapping):
        component["sharedMemorySize"] = "0" if memory.get("disabled") else memory.get("size")
    pod: dict[str, Any] = copy.deepcopy(dict(service.get("extraPodSpec") or {}))
    main: dict[str, Any] = {"name": "main"} | (pod.pop("mainContainer", None) or {})
    main["name"] = "main"
    for key in ("livenessProbe", "readinessProbe"):
        if key in service:
            main[key] = copy.deepcopy(service[key])
    if service.get("envs"):
        main["env"] = [*(main.get("env") or []), *copy.deepcopy(list(service["envs"]))]
    if secret := service.get("envFromSecret"):
        main["envFrom"] = [*(main.get("envFrom") or []), {"secretRef": {"name": secret}}]
    if isinstance(resources := service.get("resources"), Mapping):
        main["resources"] = _beta_resources(resources)
    for at, mount in enumerate(service.get("volumeMounts") or []):
        _add_mount(mount, f"{path}.volumeMounts[{at}]", main, pod, component, problems)
    if len(main) > 1:
        pod["containers"] = [main, *(pod.get("containers") or [])]
    template: dict[str, Any] = {}
    metadata: dict[str, Any] = copy.deepcopy(dict(service.get("extraPodMetadata") or {}))
    for key in ("annotations", "labels"):
        if isinstance(extra := service.get(key), Mapping):
            metadata[key] = {**(metadata.get(key) or {}), **extra}
    if metadata:
        template["metadata"] = metadata
    if pod:
        template["spec"] = pod
    if template:
        component["podTemplate"] = template
    return component, problems


def _beta_resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for side in ("limits", "requests"):
        amounts = resources.get(side)
        if not isinstance(amounts, Mapping):
            continue
        flat = {
            "nvidia.com/gpu" if name == "gpu" else name: value
            for name, value in amounts.items()
            if name != "custom"
        }
        flat |= amounts.get("custom") or {}
        out[side] = {name: value if value is None else str(value) for name, value in flat.items()}
    return out


def _add_mount(
    mount: Mapping[str, Any],
    path: str,
    main: dict[str, Any],
    pod: dict[str, Any],
    component: dict[str, Any],
    problems: list[Problem],
) -> None:
    name, point = mount.get("name"), mount.get("mountPoint")
    if not name:
        problems.append(Problem(f"{path}.name", "is required", mend="name the PVC to mount"))
        return
    if mount.get("useAsCompilationCache"):
        component["compilationCache"] = {"pvcName": name} | ({"mountPath": point} if point else {})
        return
    if not point:
        problems.append(Problem(f"{path}.mountPoint", "is required", mend="say where to mount the PVC"))
        return
    main.setdefault("volumeMounts", []).append({"name": name, "mountPath": point})
    pod.setdefault("volumes", []).append({"name": name, "persistentVolumeClaim": {"claimName": name}})


def _service_hint(key: str) -> str:
    close = did_you_mean(key, _SERVICE_KEYS)
    return f"did you mean {close}?" if close else "write the override as nvidia.com/v1beta1, or remove it"
