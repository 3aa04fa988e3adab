"""One component of a graph, `nvidia.com/v1beta1`: a frontend, a kind of worker, the planner, an endpoint picker."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Crd, Int32, Model, OpenMap, Quantity, keyed_by
from armature.api.checkpoint import CONTAINER_NAME_PATTERN, CheckpointIdentity, ContainerName
from armature.api.v1beta1.dgdr import SEMVER_PATTERN

__all__ = [
    "COMPONENT_NAME_PATTERN",
    "DOMAIN_PATTERN",
    "Checkpoint",
    "CheckpointJob",
    "CompilationCache",
    "Component",
    "ComponentExperimental",
    "ComponentRole",
    "ComponentTopology",
    "ComponentType",
    "ConfigMapKey",
    "EppConfig",
    "ExtraClientPod",
    "Failover",
    "GpuMemoryService",
    "ModelRef",
    "Multinode",
    "ProviderOverride",
    "ScalingAdapter",
]

ComponentType = Literal["frontend", "worker", "prefill", "decode", "planner", "epp"]
COMPONENT_NAME_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$"
_SET = Crd({"x-kubernetes-list-type": "set"})
DOMAIN_PATTERN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"


class ProviderOverride(Model):
    """A patch for the object of one workload provider (Grove, LeaderWorkerSet)."""

    api_version: str | None = None
    target: str | None = None
    value: OpenMap | None = None


class Multinode(Model):
    """A replica that spans nodes; GPU counts in the pod template are per node."""

    node_count: Int32 = Field(default=2, ge=2)


class ComponentRole(Model):
    """Leader or worker of a multinode replica."""

    name: Literal["leader", "worker"]
    replicas: Int32 | None = None
    provider_override: ProviderOverride | None = None


class ModelRef(Model):
    """The model a component serves, for DynamoModel to find it."""

    name: str = Field(min_length=1)
    revision: str | None = None


class ScalingAdapter(Model):
    """Its presence asks for a scaling adapter."""


class ConfigMapKey(Model):
    """One key of a ConfigMap."""

    name: str | None = None
    key: str
    optional: bool | None = None


class EppConfig(Model):
    """Configuration of the endpoint picker: from a ConfigMap or inline."""

    config_map_ref: ConfigMapKey | None = None
    config: OpenMap | None = None


class CompilationCache(Model):
    """A PersistentVolumeClaim for compiled kernels."""

    pvc_name: str = Field(min_length=1)
    mount_path: str | None = None


class ComponentTopology(Model):
    """Pack the component's pods into one topology domain."""

    pack_domain: str = Field(pattern=DOMAIN_PATTERN)


class ExtraClientPod(Model):
    """Reserved by the API; refused by validation."""

    name: str = Field(min_length=1, max_length=63, pattern=CONTAINER_NAME_PATTERN)
    pod_template: OpenMap


class GpuMemoryService(Model):
    """Weights held by a service outside the engine process."""

    mode: Literal["IntraPod", "InterPod"] = "IntraPod"
    device_class_name: str = "gpu.nvidia.com"
    extra_client_containers: Annotated[list[ContainerName], _SET] | None = None
    extra_client_pods: Annotated[list[ExtraClientPod], keyed_by("name")] | None = None


class Failover(Model):
    """A shadow engine that takes over."""

    mode: Literal["IntraPod", "InterPod"] = "IntraPod"
    num_shadows: Int32 = Field(default=1, ge=1, le=1)


class CheckpointJob(Model):
    """The Job that makes an automatic checkpoint."""

    gms_client_containers: Annotated[list[ContainerName], _SET] | None = None
    pod_template: OpenMap | None = None


class Checkpoint(Model):
    """Start from a checkpoint of a warm process."""

    enabled: bool
    mode: Literal["Auto", "Manual"] | None = None
    startup_policy: Literal["Immediate", "WaitForCheckpoint"] = "Immediate"
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    checkpoint_ref: str | None = None
    identity: CheckpointIdentity | None = None
    target_container_name: str = Field(
        default="main", min_length=1, max_length=63, pattern=CONTAINER_NAME_PATTERN
    )
    job: CheckpointJob | None = None


class ComponentExperimental(Model):
    """Fields outside the compatibility promise of v1beta1 (B1-05)."""

    gpu_memory_service: GpuMemoryService | None = None
    failover: Failover | None = None
    checkpoint: Checkpoint | None = None


class Component(Model):
    """One entry of `spec.components`. `pod_template` is a PodTemplateSpec; the engine's container is `main`.

    `shared_memory_size`: absent means 8Gi, "0" turns it off (dynamo-operator API, shared component spec).
    """

    name: str = Field(min_length=1, max_length=63, pattern=COMPONENT_NAME_PATTERN)
    type: ComponentType | None = None
    replicas: Int32 = Field(default=1, ge=0)
    min_available: Int32 | None = Field(default=None, ge=1)
    multinode: Multinode | None = None
    roles: Annotated[list[ComponentRole], keyed_by("name")] | None = None
    shared_memory_size: Quantity | None = None
    model_ref: ModelRef | None = None
    scaling_adapter: ScalingAdapter | None = None
    epp_config: EppConfig | None = None
    frontend_sidecar: str | None = None
    dynamo_sidecar: str | None = None
    compilation_cache: CompilationCache | None = None
    topology_constraint: ComponentTopology | None = None
    runtime_version_override: str | None = Field(default=None, pattern=SEMVER_PATTERN)
    global_dynamo_namespace: bool | None = None
    pod_template: OpenMap = Field(default_factory=dict)
    provider_override: ProviderOverride | None = None
    experimental: ComponentExperimental | None = None
