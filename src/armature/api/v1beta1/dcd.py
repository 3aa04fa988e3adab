"""`DynamoComponentDeployment`, `nvidia.com/v1beta1`: one component, deployed. The operator makes one per component."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Int64, Model, keyed_by
from armature.api.meta import Condition, Metadata
from armature.api.v1beta1.component import Component
from armature.api.v1beta1.dgd import ComponentStatus, Framework

__all__ = ["ComponentDeploymentSpec", "ComponentDeploymentStatus", "DynamoComponentDeployment"]


class ComponentDeploymentSpec(Component):
    """`spec`: the component's own fields, and its engine."""

    backend_framework: Framework | None = None


class ComponentDeploymentStatus(Model):
    """`status`, written by the operator."""

    observed_generation: Int64 | None = None
    conditions: Annotated[list[Condition], keyed_by("type")] | None = None
    component: ComponentStatus | None = None


class DynamoComponentDeployment(Model):
    """One component of a graph, or a component that stands alone (DCD-06)."""

    api_version: Literal["nvidia.com/v1beta1"] = "nvidia.com/v1beta1"
    kind: Literal["DynamoComponentDeployment"] = "DynamoComponentDeployment"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: ComponentDeploymentSpec
    status: ComponentDeploymentStatus | None = None
