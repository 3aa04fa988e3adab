"""Pod templates: what every component's pod needs besides its engine's own words; pure dicts in camelCase.

GPUs, shared memory, the model cache, RDMA and secrets are the same for every backend, so they are written here
once. The engine container is called `main`, as the operator demands.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

import msgspec

from armature.graph.backends.base import EngineContainer
from armature.hardware.products import usual_products
from armature.search.profile import Group, InventoryPool

__all__ = [
    "EFA_RESOURCE",
    "ModelCache",
    "Rdma",
    "gpu_resource",
    "gpus_per_pod",
    "main_container",
    "model_cache_for",
    "worker_pod",
]

TOKEN_SECRET = "hf-token-secret"  # MC-10
EFA_RESOURCE = "vpc.amazonaws.com/efa"
_AKS_RESOURCE = "rdma/hca_shared_devices_a"
_CACHE_VOLUME = "model-cache"
_FILES_VOLUME = "engine-files"
_EPHEMERAL_STORAGE = "2Gi"  # B1-03
_PRODUCT_LABELS = {"nvidia.com/gpu": "nvidia.com/gpu.product", "amd.com/gpu": "amd.com/gpu.product-name"}
_UCX_ENV = {  # GEN-16
    "UCX_TLS": "rc_x,rc,dc_x,dc,cuda_copy,cuda_ipc",
    "UCX_RNDV_SCHEME": "get_zcopy",
    "UCX_RNDV_THRESH": "0",
}
_EFA_ENV = {  # COM-13
    "FI_PROVIDER": "efa",
    "FI_EFA_USE_DEVICE_RDMA": "1",
    "FI_EFA_ENABLE_SHM_TRANSFER": "0",
}


class ModelCache(msgspec.Struct, frozen=True):
    """A PVC with the model. `model_dir` is the model's directory under `mount_path`, None for a Hugging Face cache
    (then `HF_HOME` is the mount, which must be writable)."""

    pvc: str
    mount_path: str
    model_dir: str | None

    @property
    def volume(self) -> dict[str, Any]:
        return {"name": _CACHE_VOLUME, "persistentVolumeClaim": {"claimName": self.pvc}}

    @property
    def mount(self) -> dict[str, Any]:
        mount: dict[str, Any] = {"name": _CACHE_VOLUME, "mountPath": self.mount_path}
        return mount | {"readOnly": True} if self.model_dir else mount

    @property
    def env(self) -> dict[str, str]:
        return {} if self.model_dir else {"HF_HOME": self.mount_path}


class Rdma(msgspec.Struct, frozen=True):
    """What a worker's pod needs to move KV over RDMA; empty where there is no fabric or its name is not known."""

    resource: str | None = None

    @property
    def efa(self) -> bool:
        return self.resource == EFA_RESOURCE

    @property
    def env(self) -> dict[str, str]:
        if self.resource is None:
            return {}
        return _EFA_ENV if self.efa else _UCX_ENV

    @property
    def security_context(self) -> dict[str, Any] | None:
        """EFA needs a privileged pod (C-37), InfiniBand and RoCE `IPC_LOCK`, AKS's shared devices neither."""
        if self.resource is None or self.resource == _AKS_RESOURCE:
            return None
        return {"privileged": True} if self.efa else {"capabilities": {"add": ["IPC_LOCK"]}}


def model_cache_for(pvc: str, mount_path: str, model_path: str | None) -> ModelCache:
    """Joins mount and model path. A path already under the mount is kept as it is, never joined twice; any other
    absolute path is taken from the root of the PVC."""
    mount = posixpath.normpath(mount_path)
    if not model_path or posixpath.normpath(model_path) in (".", "/", mount):
        return ModelCache(pvc, mount, None if not model_path else mount)
    path = posixpath.normpath(model_path)
    if path.startswith(mount.rstrip("/") + "/"):
        return ModelCache(pvc, mount, path)
    return ModelCache(pvc, mount, posixpath.join(mount, path.lstrip("/")))


def gpu_resource(sku: str) -> str:
    """The extended resource of a GPU; AMD's SKUs are the `mi...` ones."""
    return "amd.com/gpu" if sku.startswith("mi") else "nvidia.com/gpu"


def main_container(
    image: str,
    *,
    command: tuple[str, ...],
    args: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    cache: ModelCache | None = None,
    working_dir: str = "",
    token: bool = True,
) -> dict[str, Any]:
    """Container `main` without resources; the token secret is optional, so a public model needs none."""
    container: dict[str, Any] = {"name": "main", "image": image}
    if working_dir:
        container["workingDir"] = working_dir
    container["command"] = list(command)
    if args:
        container["args"] = list(args)
    variables = {**(env or {}), **(cache.env if cache else {})}
    if variables:
        container["env"] = [{"name": name, "value": value} for name, value in variables.items()]
    if token:
        container["envFrom"] = [{"secretRef": {"name": TOKEN_SECRET, "optional": True}}]
    if cache:
        container["volumeMounts"] = [cache.mount]
    return container


def worker_pod(
    engine: EngineContainer,
    *,
    image: str,
    group: Group,
    pool: InventoryPool | None,
    cache: ModelCache | None,
    rdma: Rdma,
    gpus: bool,
    choose_node: bool,
    config_map: str | None,
    spread: str | None,
) -> dict[str, Any]:
    """Pod template of one worker (one node of it, when it spans several).

    gpus: False for mockers. choose_node: select nodes by GPU product, the pool's own or, where that is not known, the
    ones that nodes of its SKU usually carry. config_map: name of the ConfigMap that
    holds the engine's files. spread: lower-case name of the component whose nodes to avoid (COM-09).
    """
    env = {**dict(engine.env), **(rdma.env if gpus else {})}
    container = main_container(
        image,
        command=engine.command,
        args=engine.args,
        env=env,
        cache=cache,
        working_dir=engine.working_dir,
    )
    spec: dict[str, Any] = {"containers": [container]}
    volumes = [cache.volume] if cache else []
    if engine.files and config_map:
        volumes.append({"name": _FILES_VOLUME, "configMap": {"name": config_map}})
        container.setdefault("volumeMounts", []).append(
            {"name": _FILES_VOLUME, "mountPath": engine.files_path, "readOnly": True}
        )
    if volumes:
        spec["volumes"] = volumes
    if gpus:
        per_node = str(gpus_per_pod(group))
        resource = gpu_resource(group.sku)
        limits = {resource: per_node} | ({rdma.resource: per_node} if rdma.resource else {})
        requests = {"ephemeral-storage": _EPHEMERAL_STORAGE} | (
            {rdma.resource: per_node} if rdma.resource else {}
        )
        container["resources"] = {"limits": limits, "requests": requests}
        if (context := rdma.security_context) is not None:
            container["securityContext"] = context
        spec["tolerations"] = [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
        affinity = _apart_from(spread) if rdma.efa and spread else {}
        if choose_node and pool is not None:
            label = _PRODUCT_LABELS[resource]
            if pool.product:
                spec["nodeSelector"] = {label: pool.product}
            elif usual := usual_products(pool.sku):
                affinity |= _on_nodes_with(label, usual)
        if affinity:
            spec["affinity"] = affinity
    return {"spec": spec}


def _on_nodes_with(label: str, values: tuple[str, ...]) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": label, "operator": "In", "values": list(values)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def gpus_per_pod(group: Group) -> int:
    """GPUs of one node of a worker (B1-02, GEN-17): attention-DP ranks are among them, not on top of them."""
    return -(-group.gpus_per_worker // group.nodes_per_worker)


def _apart_from(component: str) -> dict[str, Any]:
    term = {
        "labelSelector": {"matchLabels": {"nvidia.com/dynamo-component": component}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
