"""`DynamoGraphDeployment`, `nvidia.com/v1beta1`: a serving graph as a list of components."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from armature.api.base import Int32, Int64, Model, OpenMap
from armature.api.meta import Condition, Metadata
from armature.api.v1beta1.component import (
    COMPONENT_NAME_PATTERN,
    DOMAIN_PATTERN,
    Component,
    ProviderOverride,
    ScalingAdapter,
)

__all__ = [
    "CheckpointStatus",
    "ComponentGroup",
    "ComponentStatus",
    "DynamoGraphDeployment",
    "Framework",
    "GraphExperimental",
    "GraphSpec",
    "GraphStatus",
    "GraphTopology",
    "GroupMember",
    "KvTransferPolicy",
    "Placement",
    "Restart",
    "RestartStatus",
    "RestartStrategy",
    "RollingUpdateStatus",
]

Framework = Literal["sglang", "vllm", "trtllm"]
LABEL_KEY_PATTERN = (
    r"^(([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?"
    r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)$"
)


class RestartStrategy(Model):
    """How a requested restart goes through the components."""

    type: Literal["Sequential", "Parallel"] = "Sequential"
    order: list[str] | None = None


class Restart(Model):
    """A restart request; may be set only after creation."""

    id: str = Field(min_length=1)
    strategy: RestartStrategy | None = None


class GraphTopology(Model):
    """Pack the graph by a cluster topology."""

    cluster_topology_name: str = Field(min_length=1)
    pack_domain: str | None = Field(default=None, pattern=DOMAIN_PATTERN)


class KvTransferPolicy(Model):
    """Keep KV transfers inside a topology domain."""

    cluster_topology_name: str | None = Field(default=None, min_length=1)
    label_key: str | None = Field(default=None, min_length=1, max_length=317, pattern=LABEL_KEY_PATTERN)
    domain: str = Field(pattern=DOMAIN_PATTERN)
    enforcement: Literal["required", "preferred"] = "required"
    preferred_weight: float | None = Field(default=None, ge=0, le=1)


class GroupMember(Model):
    """A component of a group."""

    name: str = Field(min_length=1)


class ComponentGroup(Model):
    """Components that scale together."""

    name: str = Field(min_length=1, max_length=63, pattern=COMPONENT_NAME_PATTERN)
    replicas: Int32 = Field(ge=1)
    scaling_adapter: ScalingAdapter | None = None
    components: list[GroupMember] = Field(min_length=1, max_length=16)


class GraphExperimental(Model):
    """Fields outside the compatibility promise of v1beta1."""

    kv_transfer_policy: KvTransferPolicy | None = None
    component_groups: list[ComponentGroup] | None = Field(default=None, max_length=16)


class GraphSpec(Model):
    """`spec`. Annotations and labels go to every child; a component's own win."""

    annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    priority_class_name: str | None = None
    backend_framework: Framework | None = None
    env: list[OpenMap] = Field(default_factory=list)
    components: list[Component] = Field(default_factory=list, max_length=25)
    restart: Restart | None = None
    topology_constraint: GraphTopology | None = None
    provider_override: ProviderOverride | None = None
    experimental: GraphExperimental | None = None


class ComponentStatus(Model):
    """Replicas of one component."""

    component_kind: Literal["PodClique", "PodCliqueScalingGroup", "Deployment", "LeaderWorkerSet"]
    component_names: list[str] | None = None
    runtime_namespace: str | None = None
    replicas: Int32 = Field(ge=0)
    updated_replicas: Int32 = Field(ge=0)
    ready_replicas: Int32 | None = Field(default=None, ge=0)
    available_replicas: Int32 | None = Field(default=None, ge=0)


class RestartStatus(Model):
    """Where a restart stands."""

    observed_id: str | None = None
    phase: str | None = None
    in_progress: list[str] | None = None


class CheckpointStatus(Model):
    """The checkpoint of one component."""

    checkpoint_name: str | None = None
    checkpoint_id: str | None = None
    identity_hash: str | None = None
    ready: bool | None = None


class RollingUpdateStatus(Model):
    """Where a rolling update stands."""

    phase: Literal["Pending", "InProgress", "Completed", "Failed", ""] | None = None
    start_time: str | None = None
    end_time: str | None = None
    updated_components: list[str] | None = None


class Placement(Model):
    """How well the scheduler could place the graph."""

    score: float | None = Field(default=None, ge=0, le=1)
    state: Literal["Reported", "Partial", "Unsupported", "Unknown"] | None = None


class GraphStatus(Model):
    """`status`, written by the operator."""

    observed_generation: Int64 | None = None
    state: Literal["initializing", "pending", "successful", "failed"] = "initializing"
    conditions: list[Condition] | None = None
    components: dict[str, ComponentStatus] | None = None
    restart: RestartStatus | None = None
    checkpoints: dict[str, CheckpointStatus] | None = None
    rolling_update: RollingUpdateStatus | None = None
    placement: Placement | None = None


class DynamoGraphDeployment(Model):
    """A serving graph."""

    api_version: Literal["nvidia.com/v1beta1"] = "nvidia.com/v1beta1"
    kind: Literal["DynamoGraphDeployment"] = "DynamoGraphDeployment"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: GraphSpec
    status: GraphStatus | None = None
