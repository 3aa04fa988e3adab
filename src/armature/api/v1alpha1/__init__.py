"""The types of `nvidia.com/v1alpha1`: read at the edge and brought to v1beta1 by `convert`.

Each is made when it is first asked for: most commands never meet this version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "AlphaGraphSpec": "dgd",
    "AlphaRequestSpec": "dgdr",
    "DynamoGraphDeployment": "dgd",
    "DynamoGraphDeploymentRequest": "dgdr",
    "Service": "service",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
