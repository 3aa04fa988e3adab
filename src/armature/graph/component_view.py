"""A graph's components as those who judge or run them need them: role, GPUs, pod and the engine's flags, read once.

Works on any v1beta1 graph, generated or foreign, and never fails on one that loads.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from armature.graph.engine_flags import EngineFlags, read_container

__all__ = ["ComponentView", "gpu_count", "views"]

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
WORKER_TYPES = ("worker", "prefill", "decode")
Role = Literal["agg", "prefill", "decode"]


@dataclass(frozen=True, slots=True)
class ComponentView:
    """One component. `path` is where it stands (`spec.components[1]`); `container` is the one whose command runs
    the engine (`main`, or the first that runs a known module); `gpus_per_pod` counts all its containers' GPUs.
    role: None for what is not a worker. files: texts of the ConfigMap files that the container sees, by path, where
    the graph came with its ConfigMaps."""

    index: int
    name: str
    type: str
    replicas: int
    nodes: int
    pod: Mapping[str, Any]
    container: Mapping[str, Any]
    container_path: str
    flags: EngineFlags
    gpus_per_pod: int
    role: Role | None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"spec.components[{self.index}]"

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.gpus_per_pod * self.nodes

    @property
    def mounts(self) -> dict[str, str]:
        """Volume names by mount path, normalised."""
        return {
            posixpath.normpath(str(mount.get("mountPath"))): str(mount.get("name"))
            for mount in self.container.get("volumeMounts") or []
            if isinstance(mount, Mapping) and mount.get("mountPath")
        }

    @property
    def volumes(self) -> dict[str, Mapping[str, Any]]:
        return {
            str(volume.get("name")): volume
            for volume in self.pod.get("volumes") or []
            if isinstance(volume, Mapping)
        }


def views(dgd: Mapping[str, Any], extras: Sequence[Mapping[str, Any]] = ()) -> list[ComponentView]:
    """The components of a v1beta1 graph in order; `extras` are its ConfigMaps, whose files the flags may name."""
    spec = dgd.get("spec") or {}
    data = {
        str((extra.get("metadata") or {}).get("name")): extra.get("data") or {}
        for extra in extras
        if extra.get("kind") == "ConfigMap"
    }
    components = [item for item in spec.get("components") or [] if isinstance(item, Mapping)]
    found = [_view(index, item, spec.get("env") or [], data) for index, item in enumerate(components)]
    split = any(view.role == "prefill" for view in found)
    return [replace(view, role=_settled(view, split)) for view in found]


def gpu_count(dgd: Mapping[str, Any]) -> int:
    """GPUs that a v1beta1 graph asks for: per pod, times nodes, times replicas, over its components."""
    return sum(view.gpus for view in views(dgd))


def _view(
    index: int,
    component: Mapping[str, Any],
    env: Sequence[Mapping[str, Any]],
    data: Mapping[str, Mapping[str, str]],
) -> ComponentView:
    template = component.get("podTemplate") or {}
    pod = template.get("spec") or {}
    containers = [item for item in pod.get("containers") or [] if isinstance(item, Mapping)]
    flags, at = EngineFlags(""), 0
    files: Mapping[str, str] = {}
    container: Mapping[str, Any] = {}
    for number, item in enumerate(containers):
        seen = _mounted(item, pod, data)
        read = read_container(item, env, files=seen)
        if item.get("name") == "main" or (not container and len(containers) == number + 1):
            flags, container, at, files = read, item, number, seen
    kind = str(component.get("type") or "")
    return ComponentView(
        index=index,
        name=str(component.get("name") or ""),
        type=kind,
        replicas=1 if component.get("replicas") is None else int(component["replicas"]),
        nodes=int(
            (component.get("multinode") or {}).get("nodeCount") or (2 if "multinode" in component else 1)
        ),
        pod=pod,
        container=container,
        container_path=f"spec.components[{index}].podTemplate.spec.containers[{at}]",
        flags=flags,
        gpus_per_pod=sum(_gpus(item) for item in containers),
        role=_role(kind, flags),
        files=files,
    )


def _settled(view: ComponentView, split: bool) -> Role | None:
    """The role in its graph. Where nothing prefills for it, a worker typed `decode` does both; where something does,
    a worker that says nothing decodes (as the field's older samples have it)."""
    if view.role is None or view.flags.role is not None or view.role == "prefill":
        return view.role
    return "decode" if split else "agg"


def _role(kind: str, flags: EngineFlags) -> Role | None:
    """What the flags say counts; else the type (C-42)."""
    if kind not in WORKER_TYPES:
        return None
    if flags.role is not None:
        return flags.role
    return {"prefill": "prefill", "decode": "decode"}.get(kind, "agg")  # type: ignore[return-value]


def _gpus(container: Mapping[str, Any]) -> int:
    """GPUs that a container asks for; a request counts where no limit is written."""
    resources = container.get("resources") or {}
    for side in ("limits", "requests"):
        for name in GPU_RESOURCES:
            amount = (resources.get(side) or {}).get(name)
            if amount is not None and str(amount).isdigit():
                return int(amount)
    return 0


def _mounted(
    container: Mapping[str, Any], pod: Mapping[str, Any], data: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Contents of the ConfigMap files that the container sees, by path."""
    maps = {
        volume.get("name"): data.get(str((volume.get("configMap") or {}).get("name")), {})
        for volume in pod.get("volumes") or []
        if isinstance(volume, Mapping) and volume.get("configMap")
    }
    return {
        posixpath.join(str(mount["mountPath"]), name): text
        for mount in container.get("volumeMounts") or []
        if isinstance(mount, Mapping) and mount.get("name") in maps and mount.get("mountPath")
        for name, text in maps[mount["name"]].items()
    }
