"""`DynamoComponentDeployment`, `nvidia.com/v1alpha1`: one service, deployed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from armature.api.base import Crd, Int64, Model
from armature.api.meta import Condition, Metadata
from armature.api.v1alpha1.dgd import ServiceStatus
from armature.api.v1alpha1.service import Service
from armature.api.v1beta1.dgd import Framework

__all__ = ["AlphaComponentDeploymentSpec", "AlphaComponentDeploymentStatus", "DynamoComponentDeployment"]


class AlphaComponentDeploymentSpec(Service):
    """`spec`: the service's own fields, and its engine."""

    backend_framework: Framework | None = None


class AlphaComponentDeploymentStatus(Model):
    """`status`, written by the operator."""

    observed_generation: Int64 | None = None
    conditions: Annotated[list[Condition], Crd({}, required=True)] = Field(default_factory=list)
    pod_selector: dict[str, str] | None = None
    service: ServiceStatus | None = None


class DynamoComponentDeployment(Model):
    """One service of a graph, in the older version."""

    api_version: Literal["nvidia.com/v1alpha1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoComponentDeployment"] = "DynamoComponentDeployment"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: AlphaComponentDeploymentSpec
    status: AlphaComponentDeploymentStatus | None = None
