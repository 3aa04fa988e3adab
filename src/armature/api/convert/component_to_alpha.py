"""One v1beta1 component as a v1alpha1 service: its pod template in the service's shorthand, where that can say it.

What the shorthand says is taken out of the pod; the rest of the pod stands under `extraPodSpec` as it is. A value of
an unexpected shape stays where it is. Converting the service back (`service_to_beta`) gives the component again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armature.api.convert.service_to_beta import GPU_RESOURCE, SAME_FIELDS, SIDECAR_NAME

__all__ = ["component_to_service"]

Object = dict[str, Any]
_CHECKPOINT = ("enabled", "mode", "startupPolicy", "checkpointRef", "identity")
_MODES = {"IntraPod": "intraPod", "InterPod": "interPod"}


def component_to_service(component: Mapping[str, Any], *, exact: bool = True) -> tuple[Object, list[str]]:
    """(service, the PersistentVolumeClaims that it mounts).

    exact: false also takes mounts into the shorthand that lose `readOnly` and the volume's own name by it.
    """
    template = component.get("podTemplate", {})
    service = _own_fields(component)
    metadata = template.get("metadata", {})
    texts = {key: metadata[key] for key in ("annotations", "labels") if _is_texts(metadata, key)}
    if texts:
        service["extraPodMetadata"] = texts
    written = template.get("spec")
    pod = dict(written) if isinstance(written, dict) else {}
    main, others = _containers(pod)
    _frontend_sidecar(component, others, service)
    resources = _resources(main)
    if resources:
        service["resources"] = resources
    if _are_named(main.get("env")):
        service["envs"] = main.pop("env")
    secret = _first_secret(main.get("envFrom"))
    if secret is not None:
        service["envFromSecret"] = secret
        main["envFrom"] = main["envFrom"][1:]
        if not main["envFrom"]:
            del main["envFrom"]
    mounts = _mounts(pod, main, others, exact)
    cache = component.get("compilationCache")
    if cache is not None:
        mounts.append(_dropping(name=cache.get("pvcName", ""), mountPoint=cache.get("mountPath")))
        mounts[-1]["useAsCompilationCache"] = True
    if mounts:
        service["volumeMounts"] = mounts
    main.pop("name", None)
    if main:
        pod["mainContainer"] = main
    if others:
        pod["containers"] = others
    if pod:
        service["extraPodSpec"] = pod
    return service, list(dict.fromkeys(mount["name"] for mount in mounts))


def _own_fields(component: Mapping[str, Any]) -> Object:
    service: Object = {}
    role = component.get("type")
    if role in ("prefill", "decode"):
        service |= {"componentType": "worker", "subComponentType": role}
    elif role:
        service["componentType"] = role
    service.update({key: component[key] for key in SAME_FIELDS if key in component})
    if "multinode" in service and "nodeCount" not in service["multinode"]:
        service["multinode"] = {
            "nodeCount": 2,
            **service["multinode"],
        }  # v1beta1's default; v1alpha1 demands it
    if "scalingAdapter" in component:
        service["scalingAdapter"] = {"enabled": True}
    size = component.get("sharedMemorySize")
    if size is not None:
        service["sharedMemory"] = {"disabled": True} if str(size) == "0" else {"size": size}
    experimental = component.get("experimental", {})
    for key, names in (
        ("gpuMemoryService", ("mode", "deviceClassName")),
        ("failover", ("mode", "numShadows")),
    ):
        if key in experimental:
            block = {name: experimental[key][name] for name in names if name in experimental[key]}
            if "mode" in block:
                block["mode"] = _MODES.get(block["mode"], block["mode"])
            service[key] = {"enabled": True, **block}
    if "checkpoint" in experimental:
        checkpoint = experimental["checkpoint"]
        service["checkpoint"] = {key: checkpoint[key] for key in _CHECKPOINT if key in checkpoint}
    return service


def _is_texts(metadata: Any, key: str) -> bool:
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _are_named(items: Any) -> bool:
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, dict) and isinstance(item.get("name"), str) for item in items)
    )


def _containers(pod: Object) -> tuple[Object, list[Any]]:
    """Takes the containers out of the pod: (the one called main, the others). What is no list stays."""
    written = pod.get("containers")
    if not isinstance(written, list):
        return {}, []
    del pod["containers"]
    main = next((item for item in written if isinstance(item, dict) and item.get("name") == "main"), {})
    return dict(main), [item for item in written if item is not main]


def _frontend_sidecar(component: Mapping[str, Any], others: list[Any], service: Object) -> None:
    """The sidecar of the shorthand's name, where the shorthand can say all of it."""
    if component.get("frontendSidecar") != SIDECAR_NAME:
        return
    sidecars = [item for item in others if isinstance(item, dict) and item.get("name") == SIDECAR_NAME]
    if len(sidecars) != 1 or not set(sidecars[0]) <= {"name", "image", "args", "env", "envFrom"}:
        return
    sidecar = sidecars[0]
    sources, args = sidecar.get("envFrom"), sidecar.get("args")
    secret = _first_secret(sources)
    sound = (
        isinstance(sidecar.get("image", ""), str)
        and (args is None or (isinstance(args, list) and all(isinstance(arg, str) for arg in args)))
        and ("env" not in sidecar or _are_named(sidecar["env"]))
        and (sources is None or (secret and len(sources) == 1))
    )
    if sound:
        others.remove(sidecar)
        service["frontendSidecar"] = _dropping(
            image=sidecar.get("image"), args=args, envFromSecret=secret, envs=sidecar.get("env")
        )


def _first_secret(sources: Any) -> str | None:
    """The name in a leading, plain `secretRef`; one that is `optional` is more than `envFromSecret` can say."""
    if not isinstance(sources, list) or not sources or not isinstance(sources[0], dict):
        return None
    reference = sources[0].get("secretRef")
    if set(sources[0]) != {"secretRef"} or not isinstance(reference, dict) or set(reference) != {"name"}:
        return None
    name = reference["name"]
    return name if isinstance(name, str) and name else None


def _resources(main: Object) -> Object:
    """Takes amounts and claims out of the container."""
    written = main.get("resources")
    if not isinstance(written, dict):
        return {}
    out: Object = {}
    rest = dict(written)
    for side, amounts in written.items():
        if side not in ("requests", "limits"):
            continue
        if isinstance(amounts, dict) and amounts and all(isinstance(each, str) for each in amounts.values()):
            out[side] = _amounts(rest.pop(side))
    if _are_named(rest.get("claims")):
        out["claims"] = rest.pop("claims")
    del main["resources"]
    if rest:
        main["resources"] = rest
    return out


def _amounts(amounts: Mapping[str, str]) -> Object:
    plain: Object = {}
    custom: dict[str, str] = {}
    for name, amount in amounts.items():
        if name == GPU_RESOURCE:
            plain["gpu"] = amount
        elif name in ("cpu", "memory"):
            plain[name] = amount
        else:
            custom[name] = amount
    return {**plain, "custom": custom} if custom else plain


def _mounts(pod: Object, main: Object, others: list[Any], exact: bool) -> list[Object]:
    """Takes out of pod and container the claims' volumes that the main container alone mounts, and their mounts."""
    volumes, mounted = pod.get("volumes"), main.get("volumeMounts")
    if not isinstance(volumes, list) or not isinstance(mounted, list):
        return []
    elsewhere = repr([others, pod.get("initContainers"), pod.get("ephemeralContainers")])
    claims: dict[str, str] = {}
    for volume in volumes:
        name, claim = _plain_claim(volume)
        mine = [mount for mount in mounted if isinstance(mount, dict) and mount.get("name") == name]
        sayable = all(_is_plain_mount(mount, exact) for mount in mine) and (name == claim or not exact)
        if name and mine and sayable and repr(name) not in elsewhere:
            claims[name] = claim
    kept = [item for item in volumes if not _is_of(item, claims)]
    taken = {item.get("name") for item in kept if isinstance(item, dict)}
    claims = {name: claim for name, claim in claims.items() if claim not in taken}
    out = [
        {"name": claims[mount["name"]], "mountPoint": mount["mountPath"]}
        for mount in mounted
        if _is_of(mount, claims)
    ]
    for holder, key, items in ((pod, "volumes", volumes), (main, "volumeMounts", mounted)):
        left = [item for item in items if not _is_of(item, claims)]
        if left != items:
            holder.pop(key)
            if left:
                holder[key] = left
    return out


def _is_of(item: Any, names: Mapping[str, str]) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str) and item["name"] in names


def _plain_claim(volume: Any) -> tuple[str, str]:
    """(volume, claim) of a volume that is a claim and nothing more; empty otherwise."""
    source = volume.get("persistentVolumeClaim") if isinstance(volume, dict) else None
    if not isinstance(source, dict) or set(volume) != {"name", "persistentVolumeClaim"}:
        return "", ""
    name, claim = volume["name"], source.get("claimName")
    if set(source) == {"claimName"} and isinstance(name, str) and isinstance(claim, str):
        return name, claim
    return "", ""


def _is_plain_mount(mount: Mapping[str, Any], exact: bool) -> bool:
    path = mount.get("mountPath")
    known = {"name", "mountPath"} if exact else {"name", "mountPath", "readOnly"}
    return set(mount) <= known and isinstance(path, str) and bool(path)


def _dropping(**values: Any) -> Object:
    return {key: value for key, value in values.items() if value is not None}
