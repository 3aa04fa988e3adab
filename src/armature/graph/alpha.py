"""The v1alpha1 form of the graphs this room writes.

Only the shapes we generate go down to v1alpha1 here; whatever comes up to v1beta1 is the `api` room's conversion.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

__all__ = ["V1ALPHA1", "V1BETA1", "dgd_to_v1alpha1"]

V1ALPHA1 = "nvidia.com/v1alpha1"
V1BETA1 = "nvidia.com/v1beta1"

_PLAIN = ("replicas", "multinode", "modelRef", "eppConfig", "topologyConstraint", "globalDynamoNamespace")
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
    if (secret := _required_secret(main)) is not None:
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


def _required_secret(container: Mapping[str, Any]) -> str | None:
    """Name of the one secret that `envFrom` demands. `envFromSecret` cannot say `optional`: an optional secret stays
    in the container, or pods would not start without it."""
    sources = container.get("envFrom") or []
    if len(sources) == 1 and set(sources[0]) == {"secretRef"} and not sources[0]["secretRef"].get("optional"):
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
