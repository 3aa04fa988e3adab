"""The types of `nvidia.com/v1alpha1`: read at the edge and brought to v1beta1 by `convert`."""

from __future__ import annotations

from armature.api.v1alpha1.dgd import AlphaGraphSpec, DynamoGraphDeployment
from armature.api.v1alpha1.dgdr import AlphaRequestSpec, DynamoGraphDeploymentRequest
from armature.api.v1alpha1.service import Service

__all__ = [
    "AlphaGraphSpec",
    "AlphaRequestSpec",
    "DynamoGraphDeployment",
    "DynamoGraphDeploymentRequest",
    "Service",
]
