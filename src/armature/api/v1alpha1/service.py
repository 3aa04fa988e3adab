"""One service of a graph, `nvidia.com/v1alpha1`: what v1beta1 calls a component."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Crd, EnvVars, Int32, Model, OpenMap
from armature.api.checkpoint import CheckpointIdentity, CheckpointMemoryService, SharedMemory
from armature.api.v1beta1.component import ComponentTopology, EppConfig

__all__ = [
    "AlphaCheckpoint",
    "AlphaFailover",
    "AlphaModelRef",
    "AlphaMultinode",
    "AlphaScalingAdapter",
    "Autoscaling",
    "FrontendSidecar",
    "Ingress",
    "IngressTls",
    "PodMetadata",
    "ResourceItem",
    "Resources",
    "Service",
    "VolumeMount",
]


class ResourceItem(Model):
    """Amounts, as strings. `gpu_type` is the resource's name when it is not `nvidia.com/gpu`."""

    cpu: str | None = None
    memory: str | None = None
    gpu: str | None = None
    gpu_type: str | None = None
    custom: dict[str, str] | None = None


class Resources(Model):
    """Requests, limits and DRA claims of the main container."""

    requests: ResourceItem | None = None
    limits: ResourceItem | None = None
    claims: EnvVars | None = None


class Autoscaling(Model):
    """Deprecated and without effect (A1-13)."""

    enabled: bool | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    behavior: OpenMap | None = None
    metrics: list[OpenMap] | None = None


class VolumeMount(Model):
    """A PVC of `spec.pvcs` in the main container."""

    name: str
    mount_point: str | None = None
    use_as_compilation_cache: bool = False


class IngressTls(Model):
    """The certificate's Secret."""

    secret_name: str | None = None


class Ingress(Model):
    """An Ingress or VirtualService for the service."""

    enabled: bool | None = None
    host: str | None = None
    use_virtual_service: bool | None = None
    virtual_service_gateway: str | None = None
    host_prefix: str | None = None
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    tls: IngressTls | None = None
    host_suffix: str | None = None
    ingress_controller_class_name: str | None = None


class AlphaModelRef(Model):
    """The model a service serves."""

    name: str
    revision: str | None = None


class PodMetadata(Model):
    """Annotations and labels of the pods."""

    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class AlphaMultinode(Model):
    """A replica that spans nodes."""

    node_count: Annotated[Int32, Crd({"default": 2})] = Field(ge=2)


class AlphaScalingAdapter(Model):
    """Asks for a scaling adapter."""

    enabled: bool = False


class AlphaCheckpoint(Model):
    """Start from a checkpoint. `startup_policy` is in the field's documents, not in the CRD (A1-15)."""

    enabled: bool = False
    mode: Literal["Auto", "Manual"] = "Auto"
    startup_policy: Literal["Immediate", "WaitForCheckpoint"] | None = None
    checkpoint_ref: str | None = None
    identity: CheckpointIdentity | None = None


class AlphaFailover(Model):
    """A shadow engine, in v1alpha1's spelling."""

    enabled: bool
    mode: Literal["intraPod", "interPod"] = "intraPod"
    num_shadows: Int32 = Field(default=1, ge=1, le=1)


class FrontendSidecar(Model):
    """A frontend beside the worker."""

    image: str | None = None
    args: list[str] | None = None
    env_from_secret: str | None = None
    envs: EnvVars | None = None


class Service(Model):
    """One entry of `spec.services`. `extra_pod_spec` is a PodSpec plus `mainContainer`."""

    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    service_name: str | None = None
    component_type: str | None = None
    sub_component_type: str | None = None
    dynamo_namespace: str | None = None
    global_dynamo_namespace: bool | None = None
    resources: Resources | None = None
    autoscaling: Autoscaling | None = None
    envs: EnvVars | None = None
    env_from_secret: str | None = None
    volume_mounts: list[VolumeMount] | None = None
    ingress: Ingress | None = None
    model_ref: AlphaModelRef | None = None
    shared_memory: SharedMemory | None = None
    extra_pod_metadata: PodMetadata | None = None
    extra_pod_spec: OpenMap | None = None
    liveness_probe: OpenMap | None = None
    readiness_probe: OpenMap | None = None
    replicas: Int32 | None = Field(default=None, ge=0)
    multinode: AlphaMultinode | None = None
    scaling_adapter: AlphaScalingAdapter | None = None
    epp_config: EppConfig | None = None
    checkpoint: AlphaCheckpoint | None = None
    topology_constraint: ComponentTopology | None = None
    gpu_memory_service: CheckpointMemoryService | None = None
    failover: AlphaFailover | None = None
    frontend_sidecar: FrontendSidecar | None = None
