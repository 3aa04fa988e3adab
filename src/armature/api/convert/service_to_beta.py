"""One v1alpha1 service as a v1beta1 component: its shorthand written out as a pod template.

Where the service's shorthand and `extraPodSpec.mainContainer` say different things, the container wins, as it
does in the operator of the field, which lays the user's container over the one it builds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["GPU_RESOURCE", "SAME_FIELDS", "SIDECAR_NAME", "convert_service"]

SIDECAR_NAME = "sidecar-frontend"
GPU_RESOURCE = "nvidia.com/gpu"

SAME_FIELDS = (
    "replicas",
    "multinode",
    "modelRef",
    "eppConfig",
    "topologyConstraint",
    "globalDynamoNamespace",
)
_TYPES = {"frontend", "worker", "prefill", "decode", "planner", "epp"}
_MODES = {"intraPod": "IntraPod", "interPod": "InterPod"}

# Path in the component -> path in the service, for errors; the longest match counts.
_ORIGINS = {
    "type": "componentType",
    "podTemplate": "extraPodSpec",
    "podTemplate.metadata": "extraPodMetadata",
    "podTemplate.spec": "extraPodSpec",
    "sharedMemorySize": "sharedMemory.size",
    "experimental.gpuMemoryService": "gpuMemoryService",
    "experimental.failover": "failover",
    "experimental.checkpoint": "checkpoint",
    "compilationCache": "volumeMounts",
}


def convert_service(
    name: str, service: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], list[str], dict[str, str]]:
    """(component, notes, path in the component -> path in the service). `where` is the service's own path."""
    notes: list[str] = []
    component: dict[str, Any] = {"name": name}
    kind = _component_type(service, where, notes)
    if kind:
        component["type"] = kind
    component.update({key: service[key] for key in SAME_FIELDS if key in service})
    if not service.get("modelRef", {"name": "m"}).get("name"):
        del component["modelRef"]  # v1beta1 demands a name
    memory = service.get("sharedMemory", {})
    if memory.get("disabled"):
        component["sharedMemorySize"] = "0"
    elif "size" in memory:
        component["sharedMemorySize"] = memory["size"]
    if service.get("scalingAdapter", {}).get("enabled"):
        component["scalingAdapter"] = {}
    for mount in service.get("volumeMounts", []):
        if mount.get("useAsCompilationCache") and mount["name"]:
            component["compilationCache"] = _dropping(
                pvcName=mount["name"], mountPath=mount.get("mountPoint")
            )
    experimental = _experimental(service)
    if experimental:
        component["experimental"] = experimental
    template = _pod_template(service)
    if "frontendSidecar" in service:
        component["frontendSidecar"] = SIDECAR_NAME
        pod = template.setdefault("spec", {})
        if isinstance(pod.setdefault("containers", []), list):
            pod["containers"] = [*pod["containers"], _sidecar(service["frontendSidecar"])]
    if template:
        component["podTemplate"] = template
    notes += _dropped(name, service, where)
    return component, notes, _origins(service, template)


def _origins(service: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, str]:
    """`_ORIGINS`, and each container's: the main one comes first in the pod template."""
    origins = dict(_ORIGINS)
    extra = service.get("extraPodSpec", {})
    written = extra.get("containers")
    count = len(written) if isinstance(written, list) else 0
    at = "podTemplate.spec.containers"
    containers = template.get("spec", {}).get("containers")
    shift = 1 if isinstance(containers, list) and len(containers) > count else 0
    if shift:
        origins[f"{at}[0]"] = "extraPodSpec.mainContainer"
        main = extra.get("mainContainer", {})
        if service.get("envs") and isinstance(main, Mapping) and "env" not in main:
            origins[f"{at}[0].env"] = "envs"
    for index in range(count):
        origins[f"{at}[{index + shift}]"] = f"extraPodSpec.containers[{index}]"
    return origins


def _component_type(service: Mapping[str, Any], where: str, notes: list[str]) -> str | None:
    kind, sub = service.get("componentType"), service.get("subComponentType")
    if kind in (None, "worker") and sub in ("prefill", "decode"):
        return str(sub)
    if sub is not None and sub != kind:
        notes.append(f"{where}.subComponentType ({sub}) has no counterpart in v1beta1 and is ignored")
    if kind in _TYPES:
        return str(kind)
    if kind:
        notes.append(f"{where}.componentType ({kind}) is no type of v1beta1: the component has none")
    return None


def _dropped(name: str, service: Mapping[str, Any], where: str) -> list[str]:
    notes = []
    if "autoscaling" in service:
        notes.append(
            f"{where}.autoscaling is deprecated and ignored: set scalingAdapter.enabled and an autoscaler"
        )
    if "dynamoNamespace" in service:
        notes.append(
            f"{where}.dynamoNamespace ({service['dynamoNamespace']}) is deprecated and ignored: "
            "the namespace is <namespace>-<graph name>"
        )
    if "ingress" in service:
        notes.append(
            f"{where}.ingress has no counterpart in v1beta1 and is ignored: create the Ingress yourself"
        )
    if service.get("serviceName") not in (None, name):
        notes.append(f"{where}.serviceName ({service['serviceName']}) is ignored: the component is {name}")
    return notes


def _experimental(service: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key in ("gpuMemoryService", "failover"):
        block = service.get(key, {})
        if block.get("enabled"):
            new = {name: value for name, value in block.items() if name != "enabled"}
            if "mode" in new:
                new["mode"] = _MODES.get(new["mode"], new["mode"])
            out[key] = new
    if "checkpoint" in service:
        out["checkpoint"] = {"enabled": False, **service["checkpoint"]}
    return out


def _pod_template(service: Mapping[str, Any]) -> dict[str, Any]:
    """A value of the wrong shape passes through as it is: the rules of v1beta1 name it."""
    extra = service.get("extraPodSpec", {})
    spec = {
        key: value for key, value in extra.items() if key not in ("mainContainer", "containers", "volumes")
    }
    template: dict[str, Any] = {}
    metadata = _metadata(service)
    if metadata:
        template["metadata"] = metadata
    containers = _containers(service)
    if containers:
        spec["containers"] = containers
    volumes = _prepended(_volumes(service), extra.get("volumes"))
    if volumes:
        spec["volumes"] = volumes
    if spec:
        template["spec"] = spec
    return template


def _containers(service: Mapping[str, Any]) -> Any:
    extra = service.get("extraPodSpec", {})
    written = extra.get("mainContainer", {})
    main = _main_container(service, written) if isinstance(written, Mapping) else written
    first = [{"name": "main", **main}] if main and isinstance(main, Mapping) else [main] if main != {} else []
    return _prepended(first, extra.get("containers"))


def _prepended(first: list[Any], written: Any) -> Any:
    """`first` before the entries of `written`; `written` alone where it is no list."""
    if written is None:
        return first
    return [*first, *written] if isinstance(written, list) else written


def _metadata(service: Mapping[str, Any]) -> dict[str, Any]:
    pod = service.get("extraPodMetadata", {})
    merged = {key: {**service.get(key, {}), **pod.get(key, {})} for key in ("labels", "annotations")}
    return {key: value for key, value in merged.items() if value}


def _main_container(service: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    main = {key: value for key, value in written.items() if key != "name"}
    env = main.get("env", [])
    if service.get("envs") and isinstance(env, list):
        main["env"] = merge_env(service["envs"], env)
    secret = service.get("envFromSecret")
    if secret:
        main["envFrom"] = _prepended([{"secretRef": {"name": secret}}], main.get("envFrom"))
    resources = _resources(service.get("resources", {}), main.get("resources", {}))
    if resources != {}:
        main["resources"] = resources
    mounts = [
        {"mountPath": mount["mountPoint"], "name": mount["name"]}
        for mount in service.get("volumeMounts", [])
        if not mount.get("useAsCompilationCache") and mount.get("mountPoint")
    ]
    if mounts:
        main["volumeMounts"] = _prepended(mounts, main.get("volumeMounts"))
    for probe in ("livenessProbe", "readinessProbe"):
        if probe in service:
            main.setdefault(probe, service[probe])
    return main


def merge_env(base: list[Any], over: list[Any]) -> list[Any]:
    """Env entries of both; an entry of `over` takes the place of the one of the same name."""
    mine = {entry["name"]: entry for entry in over if isinstance(entry, Mapping) and _named(entry)}
    kept = [mine.pop(entry["name"], entry) if _named(entry) else entry for entry in base]
    rest = [
        entry for entry in over if not (isinstance(entry, Mapping) and _named(entry)) or entry["name"] in mine
    ]
    return [*kept, *rest]


def _named(entry: Mapping[str, Any]) -> bool:
    return isinstance(entry.get("name"), str)


def _resources(shorthand: Mapping[str, Any], written: Any) -> Any:
    if not isinstance(written, Mapping):
        return written
    out = dict(written)
    for part in ("requests", "limits"):
        item = shorthand.get(part, {})
        amounts = {key: item[key] for key in ("cpu", "memory") if key in item}
        if "gpu" in item:
            amounts[item.get("gpuType") or GPU_RESOURCE] = item["gpu"]
        amounts.update(item.get("custom", {}))
        mine = written.get(part, {})
        if isinstance(mine, Mapping) and amounts:
            out[part] = {**amounts, **mine}
    if "claims" in shorthand:
        out.setdefault("claims", shorthand["claims"])
    return out


def _volumes(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A volume for each mounted PVC that `extraPodSpec.volumes` does not define itself."""
    written = service.get("extraPodSpec", {}).get("volumes")
    entries = written if isinstance(written, list) else []
    names = [volume.get("name") for volume in entries if isinstance(volume, Mapping)]
    claims = dict.fromkeys(
        mount["name"]
        for mount in service.get("volumeMounts", [])
        if not mount.get("useAsCompilationCache") and mount["name"] not in names
    )
    return [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]


def _sidecar(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    secret = sidecar.get("envFromSecret")
    return _dropping(
        name=SIDECAR_NAME,
        image=sidecar.get("image"),
        args=sidecar.get("args"),
        env=sidecar.get("envs"),
        envFrom=[{"secretRef": {"name": secret}}] if secret else None,
    )


def _dropping(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
