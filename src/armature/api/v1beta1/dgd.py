"""`DynamoGraphDeployment`, `nvidia.com/v1beta1`: a serving graph as a list of components."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Crd, EnvVars, Int32, Int64, Model, Timestamp, keyed_by
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
    "GraphState",
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

_PREFIX_RULE = {
    "rule": "!self.contains('/') || self.split('/')[0].size() <= 253",
    "message": "labelKey prefix must be 253 characters or less",
}
_COMPONENT_RULES = [
    {
        "rule": "self.filter(c, has(c.type) && c.type == 'epp').size() <= 1",
        "message": "at most one component may have type epp",
    },
    {
        "rule": "self.all(c1, !has(c1.name) || self.filter(c2, has(c2.name) && "
        "c2.name.lowerAscii() == c1.name.lowerAscii()).size() == 1)",
        "message": "component names must be unique case-insensitively",
    },
]
Components = Annotated[list[Component], keyed_by("name"), Crd({"x-kubernetes-validations": _COMPONENT_RULES})]
LabelKey = Annotated[
    str,
    Field(min_length=1, max_length=317, pattern=LABEL_KEY_PATTERN),
    Crd({"x-kubernetes-validations": [_PREFIX_RULE]}),
]
GraphState = Literal["initializing", "pending", "successful", "failed"]


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
    label_key: LabelKey | None = None
    domain: str = Field(pattern=DOMAIN_PATTERN)
    enforcement: Literal["required", "preferred"] = "required"
    preferred_weight: Annotated[float, Crd({"format": "float"})] | None = Field(default=None, ge=0, le=1)


class GroupMember(Model):
    """A component of a group."""

    name: str = Field(min_length=1)


class ComponentGroup(Model):
    """Components that scale together."""

    name: str = Field(min_length=1, max_length=63, pattern=COMPONENT_NAME_PATTERN)
    replicas: Int32 = Field(ge=1)
    scaling_adapter: ScalingAdapter | None = None
    components: Annotated[list[GroupMember], keyed_by("name")] = Field(min_length=1, max_length=16)


class GraphExperimental(Model):
    """Fields outside the compatibility promise of v1beta1."""

    kv_transfer_policy: KvTransferPolicy | None = None
    component_groups: Annotated[list[ComponentGroup], keyed_by("name")] | None = Field(
        default=None, max_length=16
    )


class GraphSpec(Model):
    """`spec`. Annotations and labels go to every child; a component's own win."""

    annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    priority_class_name: str | None = None
    backend_framework: Framework | None = None
    env: EnvVars = Field(default_factory=list)
    components: Components = Field(default_factory=list, max_length=25)
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
    start_time: Timestamp | None = None
    end_time: Timestamp | None = None
    updated_components: list[str] | None = None


class Placement(Model):
    """How well the scheduler could place the graph."""

    score: float | None = Field(default=None, ge=0, le=1)
    state: Literal["Reported", "Partial", "Unsupported", "Unknown"] | None = None


class GraphStatus(Model):
    """`status`, written by the operator."""

    observed_generation: Int64 | None = None
    state: Annotated[GraphState, Crd({}, required=True)] = "initializing"
    conditions: Annotated[list[Condition], keyed_by("type")] | None = None
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
