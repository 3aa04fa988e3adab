"""`DynamoGraphDeploymentScalingAdapter`: what an autoscaler scales in place of one component of a graph (SA-01).

Its versions differ in one name: v1alpha1 says `serviceName`, v1beta1 `componentName`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from armature.api.base import Int32, Model, Timestamp
from armature.api.meta import Metadata

__all__ = [
    "AdapterSpec",
    "AdapterStatus",
    "AlphaAdapter",
    "AlphaAdapterSpec",
    "AlphaGraphRef",
    "DynamoGraphDeploymentScalingAdapter",
    "GraphRef",
]


class GraphRef(Model):
    """A component of a graph in the adapter's namespace."""

    name: str = Field(min_length=1)
    component_name: str = Field(min_length=1)


class AlphaGraphRef(Model):
    """A service of a graph in the adapter's namespace."""

    name: str = Field(min_length=1)
    service_name: str = Field(min_length=1)


class AdapterSpec(Model):
    """`spec`: how many replicas the component is to have."""

    dgd_ref: GraphRef
    replicas: Int32 = Field(ge=0)


class AlphaAdapterSpec(Model):
    """`spec`: how many replicas the service is to have."""

    dgd_ref: AlphaGraphRef
    replicas: Int32 = Field(ge=0)


class AdapterStatus(Model):
    """`status`, as the scale subresource reads it; `selector` is the pods' label selector as text."""

    replicas: Int32 | None = None
    selector: str | None = None
    last_scale_time: Timestamp | None = None


class DynamoGraphDeploymentScalingAdapter(Model):
    """The scale of one component."""

    api_version: Literal["nvidia.com/v1beta1"] = "nvidia.com/v1beta1"
    kind: Literal["DynamoGraphDeploymentScalingAdapter"] = "DynamoGraphDeploymentScalingAdapter"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: AdapterSpec
    status: AdapterStatus | None = None


class AlphaAdapter(Model):
    """The scale of one service, in the older version."""

    api_version: Literal["nvidia.com/v1alpha1"] = "nvidia.com/v1alpha1"
    kind: Literal["DynamoGraphDeploymentScalingAdapter"] = "DynamoGraphDeploymentScalingAdapter"
    metadata: Metadata = Field(default_factory=Metadata)
    spec: AlphaAdapterSpec
    status: AdapterStatus | None = None
