"""`DynamoGraphDeployment`, `nvidia.com/v1alpha1`: a serving graph as a map of services."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Crd, EnvVars, Int32, Int64, Model, Quantity, Timestamp, keyed_by
from armature.api.meta import Condition, Metadata
from armature.api.v1alpha1.service import AlphaScalingAdapter, Service
from armature.api.v1beta1.component import COMPONENT_NAME_PATTERN, DOMAIN_PATTERN, ProviderOverride
from armature.api.v1beta1.dgd import (
    CheckpointStatus,
    Framework,
    GraphState,
    GroupMember,
    KvTransferPolicy,
    Placement,
    Restart,
    RestartStatus,
)

__all__ = [
    "AlphaComponentGroup",
    "AlphaGraphExperimental",
    "AlphaGraphSpec",
    "AlphaGraphStatus",
    "AlphaRollingUpdateStatus",
    "AlphaTopology",
    "DynamoGraphDeployment",
    "Pvc",
    "ServiceStatus",
]


class Pvc(Model):
    """A PersistentVolumeClaim the services may mount; made by the operator when `create` is true."""

    create: bool | None = None
    name: str
    storage_class: str | None = None
    size: Quantity | None = None
    volume_access_mode: str | None = None


class AlphaTopology(Model):
    """Pack the graph. `topology_profile` is the name the field's documents use for `cluster_topology_name` (A1-03)."""

    cluster_topology_name: str | None = Field(default=None, min_length=1)
    topology_profile: str | None = Field(default=None, min_length=1)
    pack_domain: str | None = Field(default=None, pattern=DOMAIN_PATTERN)


class AlphaComponentGroup(Model):
    """Services that scale together."""

    name: str = Field(min_length=1, max_length=63, pattern=COMPONENT_NAME_PATTERN)
    replicas: Int32 = Field(ge=1)
    scaling_adapter: AlphaScalingAdapter | None = None
    components: Annotated[list[GroupMember], keyed_by("name")] = Field(min_length=1, max_length=16)


class AlphaGraphExperimental(Model):
    """Fields outside the compatibility promise."""

    kv_transfer_policy: KvTransferPolicy | None = None
    component_groups: Annotated[list[AlphaComponentGroup], keyed_by("name")] | None = Field(
        default=None, max_length=16
    )


class AlphaGraphSpec(Model):
    """`spec`: services by name, and what all of them share."""

    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    priority_class_name: str | None = None
    pvcs: list[Pvc] | None = Field(default=None, max_length=100)
    services: dict[str, Service] = Field(default_factory=dict, max_length=25)
    envs: EnvVars | None = None
    backend_framework: Framework | None = None
    restart: Restart | None = None
    topology_constraint: AlphaTopology | None = None
    provider_override: ProviderOverride | None = None
    experimental: AlphaGraphExperimental | None = None


class ServiceStatus(Model):
    """Replicas of one service."""

    component_kind: Literal["PodClique", "PodCliqueScalingGroup", "Deployment", "LeaderWorkerSet"]
    component_name: str
    component_names: list[str] | None = None
    runtime_namespace: str | None = None
    replicas: Int32 = Field(ge=0)
    updated_replicas: Int32 = Field(ge=0)
    ready_replicas: Int32 | None = Field(default=None, ge=0)
    available_replicas: Int32 | None = Field(default=None, ge=0)


class AlphaRollingUpdateStatus(Model):
    """Where a rolling update stands."""

    phase: Literal["Pending", "InProgress", "Completed", "Failed", ""] | None = None
    start_time: Timestamp | None = None
    end_time: Timestamp | None = None
    updated_services: list[str] | None = None


class AlphaGraphStatus(Model):
    """`status`, written by the operator."""

    observed_generation: Int64 | None = None
    state: Annotated[GraphState, Crd({}, required=True)] = "initializing"
    conditions: list[Condition] | None = None
    services: dict[str, ServiceStatus] | None = None
    restart: RestartStatus | None = None
    checkpoints: dict[str, CheckpointStatus] | None = None
    rolling_update: AlphaRollingUpdateStatus | None = None
    placement: Placement | None = None


class DynamoGraphDeployment(Model):
    """A serving graph in the older version."""

    api_version: Literal["nvidia.com/v1alpha1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoGraphDeployment"] = "DynamoGraphDeployment"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: AlphaGraphSpec
    status: AlphaGraphStatus | None = None
